"""A folder that is there whole or not at all."""

import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mailer.errors import BadInput, CannotDo
from mailer.homes import sync_folder


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A new folder (0700) under another name, which is on the disk and has the name *folder* once the block has ended well.

    After an error it is gone; a process that dies leaves it, as `.NAME.*.part` beside *folder*, until the next one clears it away.

    Raises:
        BadInput: *folder* holds something.
        CannotDo: something can't be written.
    """
    folder = folder.absolute()
    refuse_full(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _clear(folder)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
        try:
            with _held(part):
                yield part
            for place, _, _ in os.walk(part):
                sync_folder(Path(place))
            part.rename(folder)  # onto nothing, or onto an empty folder
            sync_folder(folder.parent)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    except OSError as error:
        raise CannotDo(
            f"it can't be written ({error.strerror})", where=str(folder), remedy="make room, or name another folder"
        ) from error


@contextmanager
def _held(part: Path) -> Iterator[None]:
    """Keep a folder's lock, by which others know that its maker is alive."""
    opened = os.open(part, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # a file system without locks: then nobody clears it away
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(opened)


def _clear(folder: Path) -> None:
    """Clear away what others that died have left of the same folder."""
    for part in folder.parent.glob(f".{glob.escape(folder.name)}.*.part"):
        with suppress(OSError):
            opened = os.open(part, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(part, ignore_errors=True)
            finally:
                os.close(opened)


def refuse_full(folder: Path) -> None:
    """Stop at a folder that holds something.

    Raises:
        BadInput: it does, or it is a file.
        CannotDo: it can't be looked into.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise BadInput("this is a file, not a folder", where=str(folder), remedy="name a folder")
        if folder.is_dir() and any(folder.iterdir()):
            raise BadInput("the folder holds other things", where=str(folder), remedy="name an empty or a new folder")
    except OSError as error:
        raise CannotDo(f"it can't be looked into ({error.strerror})", where=str(folder)) from error


def refuse_within(folder: Path, home: Path) -> None:
    """Stop at a backup that would be a part of the next one.

    Raises:
        BadInput: *folder* is in *home*.
    """
    if folder.resolve().is_relative_to(home.resolve()):
        raise BadInput(
            "it is in the home, so that it would be a part of the next backup",
            where=str(folder),
            remedy="name a folder elsewhere, best on another disk",
        )
