"""Restoring a home from a backup into an empty folder, and its rows into an empty database of either kind.

The backup is checked before anything is written. The home is put together in a folder under another name and gets its own when all
of it is there; its rows begin a new epoch (`backup.epoch`) before anybody can use them.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncSession

from mailer import settings_loader
from mailer.backup import epoch, manifest, rows
from mailer.backup.epoch import Begun
from mailer.backup.folders import whole
from mailer.backup.manifest import Manifest
from mailer.circulars import numbering
from mailer.clock import Clock
from mailer.database import Database
from mailer.errors import BadInput, CannotDo
from mailer.homes import FOLDERS, PASSWORD_FILE, database_url, network_file_system, write_private

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
        settings = settings_loader.load(part).settings
        target = Database(database_url(part, settings))
        try:
            _refuse_another(target, part)

            async def then(session: AsyncSession) -> Begun:
                begun = await epoch.begin(session, said, now=clock.now(), by=by)
                if last_reference is not None:
                    pattern = settings.approval.reference
                    await numbering.told_last(session, pattern, last_reference, by=by, at=clock.now())
                return begun

            begun = await rows.from_file(source / manifest.ROWS, target, then)
        finally:
            await target.close()
    return Restored(said, begun, last_reference is not None)


def _files(source: Path, part: Path, said: Manifest) -> None:
    inside = f"{manifest.HOME}/"
    for name, entry in said.files.items():
        if name.startswith(inside):
            manifest.copy(source / name, part / name.removeprefix(inside), runs=entry.runs)
    for name in FOLDERS:
        (part / name).mkdir(mode=0o700, exist_ok=True)


def _refuse_another(target: Database, part: Path) -> None:
    """Stop at a SQLite file that lies elsewhere and is somebody's."""
    if target.file is not None and not target.file.is_relative_to(part) and target.file.exists():
        raise BadInput(
            "this database is there already",
            where=str(target.file),
            remedy="name another one with --database, such as sqlite:///chancery.sqlite3",
        )


def _name_database(home: Path, url: str) -> None:
    """Have the settings name another database; its password goes into a file of its own."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise BadInput(
            "it names no database",
            where="--database",
            remedy="write it as postgresql://USER@HOST/NAME, or sqlite:///chancery.sqlite3",
        ) from None
    lines = ["[database]"]
    if parsed.password:
        (home / PASSWORD_FILE).unlink(missing_ok=True)
        write_private(home / PASSWORD_FILE, f"{parsed.password}\n")
        bare = URL.create(
            parsed.drivername, parsed.username, None, parsed.host, parsed.port, parsed.database, parsed.query
        )
        url = bare.render_as_string()
        lines.append(f"password_file = {json.dumps(PASSWORD_FILE)}")
    lines.insert(1, f"url = {json.dumps(url, ensure_ascii=False)}")
    file = home / settings_loader.FILE
    text = _DATABASE.sub("", file.read_text("utf-8-sig"))
    file.unlink()
    write_private(file, f"{text.rstrip()}\n\n" + "\n".join(lines) + "\n")
