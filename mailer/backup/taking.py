"""Taking a backup of a whole home while it is in use.

Rows first, as of one moment; then the files. All of it is written to a folder under another name, read back and checked, and only then
given its name: what is there under that name is whole. A process that dies leaves a folder `.NAME.*.part`, which `restore` refuses.
"""

import importlib.metadata
import os
from collections.abc import Iterator
from pathlib import Path

from mailer.app import App
from mailer.backup import manifest, rows
from mailer.backup.folders import refuse_within, whole
from mailer.backup.manifest import Entry, Manifest
from mailer.database import Database
from mailer.engine.lock import LOCK_FILE
from mailer.homes import DATABASE_FILE, write_private
from mailer.migrations import schema


async def take(app: App, folder: Path) -> Manifest:
    """Back the home up into *folder*, which must not exist or be empty; what was written has been read back.

    Raises:
        BadInput: *folder* holds something, or is in the home; or the rows are damaged.
        CannotDo: it can't be written.
        DatabaseError: the rows can't be read.
    """
    refuse_within(folder, app.home)
    with whole(folder) as part:
        made = await _write(app, part)
        manifest.check_files(part, made)
    return made


async def _write(app: App, part: Path) -> Manifest:
    made_at = app.clock.now()
    await rows.to_file(app.database, part / manifest.ROWS)
    files = {manifest.ROWS: Entry(*manifest.digest(part / manifest.ROWS))}
    left_out: list[str] = []
    for path in _files(app, left_out):
        name = f"{manifest.HOME}/{path.relative_to(app.home).as_posix()}"
        try:
            runs = bool(path.stat().st_mode & 0o100)
            files[name] = manifest.copy(path, part / name, runs=runs)
        except FileNotFoundError:  # it was there a moment ago: a file that somebody is writing anew
            (part / name).unlink(missing_ok=True)
            left_out.append(f"{path.relative_to(app.home)}: it went away meanwhile")
    copied = Database(f"sqlite:///{part / manifest.ROWS}")
    try:
        async with copied.read() as session:
            counted, heads = await rows.counts(session), await rows.last_links(session)
            await rows.refuse_damaged(session, part / manifest.ROWS)
            faults = await rows.faults(session)
    finally:
        await copied.close()
    made = Manifest(
        program=importlib.metadata.version("chancery-mail"),
        schema=schema.latest(),
        made_at=made_at,
        by=app.by,
        source="sqlite" if app.database.sqlite else "postgresql",
        counts=counted,
        heads=heads,
        faults=faults,
        files=files,
        left_out=tuple(left_out),
    )
    write_private(part / manifest.FILE, made.as_json())  # last: without it there is no backup
    return made


def _files(app: App, left_out: list[str]) -> Iterator[Path]:
    """The files of the home but for the database, the lock and the journals, which belong to the processes that run now."""
    database = app.database.file.resolve() if app.database.file else app.home / DATABASE_FILE
    ours = {database, *(database.with_name(database.name + more) for more in ("-wal", "-shm")), app.home / LOCK_FILE}
    journals = (app.home / app.settings.delivery.journal).resolve()
    for place, folders, names in os.walk(app.home):
        folders.sort()
        for name in list(folders):
            path = Path(place, name)
            if path.resolve() == journals:
                folders.remove(name)
            elif path.is_symlink():
                left_out.append(f"{path.relative_to(app.home)}: a link to another folder")
        for name in sorted(names):
            path = Path(place, name)
            if path.resolve() in ours or path in ours:
                continue
            if path.is_file():
                yield path
            else:
                left_out.append(f"{path.relative_to(app.home)}: no file")
