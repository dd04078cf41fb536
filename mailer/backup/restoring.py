"""Restoring a home from a backup into an empty folder, and its rows into an empty database of either kind.

The backup is checked before anything is written. The home is put together in a folder under another name and gets its own when all
of it is there; its rows begin a new epoch (`backup.epoch`) before anybody can use them.

Rows that are not in the folder are committed before it has its name. They say so (`facts.RESTORING`), and which backup and which folder
they belong to: a restore that died in between is run again and goes on with them.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import URL, inspect
from sqlalchemy.ext.asyncio import AsyncSession

from mailer import facts
from mailer.backup import epoch, manifest, rows
from mailer.backup.epoch import Begun
from mailer.backup.folders import whole
from mailer.backup.manifest import Manifest
from mailer.circulars import numbering
from mailer.clock import Clock
from mailer.database import Database
from mailer.errors import BadInput, CannotDo, DatabaseError
from mailer.homes import FOLDERS, PASSWORD_FILE, database_url, network_file_system, without_password, write_private
from mailer.settings import loader

_DATABASE = re.compile(r"^[ \t]*\[database\][^\n]*\n(?:(?![ \t]*\[)[^\n]*(?:\n|$))*", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Restored:
    """A restored home, and what a person must look at."""

    of: Manifest
    begun: Begun
    #: the reference that was used last has been told
    numbered: bool


async def restore(
    source: Path, folder: Path, *, clock: Clock, by: str, database: str | None = None, last_reference: str | None = None
) -> Restored:
    """Restore the backup in *source* into *folder*, which must not exist or be empty.

    Args:
        source: the folder that `backup` made.
        folder: the home to be.
        clock: says when.
        by: who restores.
        database: URL of the database for its rows; default: what the home's settings say.
        last_reference: the reference that was used last, or `none`; None: asked for when the next draft is made.

    Raises:
        BadInput: *source* is no backup, or was changed; *folder* or the database holds something.
        SchemaMismatch: another version made it.
        CannotDo: the home can't be written.
    """
    _refuse_inside(source, folder)
    with whole(folder) as part:
        said = manifest.read(source)
        manifest.check_files(source, said)
        await rows.check(source, said)
        if kind := network_file_system(part):
            raise CannotDo(
                f"it is on a network drive ({kind})", where=str(folder), remedy="restore to a disk of this machine"
            )
        _files(source, part, said)
        if database is not None:
            _name_database(part, database)
        settings = loader.load(part).settings
        url = database_url(part, settings)
        target = Database(url)
        inside = target.file is not None and target.file.is_relative_to(part)
        mark = _mark(source, folder)
        try:
            if not inside:
                await _refuse_another(target)

            async def numbered(session: AsyncSession) -> None:
                if last_reference is not None:
                    pattern = settings.approval.reference
                    await numbering.told_last(session, pattern, last_reference, by=by, at=clock.now())

            async def then(session: AsyncSession) -> Begun:
                begun = await epoch.begin(session, said, now=clock.now(), by=by)
                await numbered(session)
                await facts.drop(session, facts.RESTORING)  # of a restore before the backup
                if not inside:
                    await facts.put(session, facts.RESTORING, json.dumps(mark | {"begun": asdict(begun)}))
                return begun

            async def again(session: AsyncSession) -> Begun | None:
                begun = await _begun(session, mark)
                if begun is not None:
                    await numbered(session)
                return begun

            begun = await rows.from_file(source / manifest.ROWS, target, then, again)
        finally:
            await target.close()
    if not inside:
        await _finish(url)
    return Restored(said, begun, last_reference is not None)


def _refuse_inside(source: Path, folder: Path) -> None:
    if folder.resolve().is_relative_to(source.resolve()):
        raise BadInput("it is in the backup, which stays as it is", where=str(folder), remedy="name a folder elsewhere")


def _mark(source: Path, folder: Path) -> dict[str, str]:
    """Which backup goes to which folder."""
    return {"backup": manifest.digest(source / manifest.FILE)[0], "folder": str(folder.resolve())}


async def _begun(session: AsyncSession, mark: Mapping[str, str]) -> Begun | None:
    """What a restore of the same backup to the same folder that died has begun; None: these rows are no restore's.

    Raises:
        BadInput: they are those of another restore that died.
    """
    told = await facts.get(session, facts.RESTORING)
    if told is None:
        return None
    note = json.loads(told)
    if {key: note[key] for key in mark} != mark:
        raise BadInput(
            f"a restore to {note['folder']} was broken off when its rows were here already",
            where="database",
            remedy="run that again, from the same backup to that folder, or name an empty database with --database",
        )
    return Begun(**note["begun"])


async def _finish(url: URL | str) -> None:
    """Say that the folder has its name; where that can't be said, the home is whole all the same."""
    target = Database(url)
    with suppress(DatabaseError):
        async with target.write() as session:
            await facts.drop(session, facts.RESTORING)
    await target.close()


def _files(source: Path, part: Path, said: Manifest) -> None:
    inside = f"{manifest.HOME}/"
    for name, entry in said.files.items():
        if name.startswith(inside):
            manifest.copy(source / name, part / name.removeprefix(inside), runs=entry.runs)
    for name in FOLDERS:
        (part / name).mkdir(mode=0o700, exist_ok=True)


async def _refuse_another(target: Database) -> None:
    """Stop at a SQLite file that is somebody's; one without a row, or with those of a restore that died, is nobody's.

    Raises:
        BadInput: it is somebody's.
    """
    if target.file is None or not target.file.exists():
        return
    ours = False
    with suppress(DatabaseError):  # no database at all, or one without tables
        async with target.read() as session:
            tables = await (await session.connection()).run_sync(
                lambda connection: inspect(connection).get_table_names()
            )
            ours = not tables or (
                await facts.get(session, facts.RESTORING) is not None or not any((await rows.counts(session)).values())
            )
    if not ours:
        raise BadInput(
            "this database is there already",
            where=str(target.file),
            remedy="name another one with --database, such as sqlite:///chancery.sqlite3",
        )


def _name_database(home: Path, url: str) -> None:
    """Have the settings name another database; its password goes into a file of its own."""
    url, password = without_password(url)
    lines = ["[database]"]
    if password is not None:
        (home / PASSWORD_FILE).unlink(missing_ok=True)
        write_private(home / PASSWORD_FILE, f"{password}\n")
        lines.append(f"password_file = {json.dumps(PASSWORD_FILE)}")
    lines.insert(1, f"url = {json.dumps(url, ensure_ascii=False)}")
    file = home / loader.FILE
    text = _DATABASE.sub("", file.read_text("utf-8-sig"))
    file.unlink()
    write_private(file, f"{text.rstrip()}\n\n" + "\n".join(lines) + "\n")
