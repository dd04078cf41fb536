"""The manifest of a backup: what is in it, and the digest of each file. A folder without a whole one is no backup."""

import datetime as dt
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mailer.errors import BadInput, CannotDo

FILE = "manifest.json"
#: The rows of the home, as a SQLite file, whatever database they came from.
ROWS = "rows.sqlite3"
#: The files of the home.
HOME = "home"
#: Of the folder's layout and of the manifest itself.
FORMAT = 1
_BLOCK = 1024 * 1024
_REMEDY = "take another backup"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a backup: sha256 of its content, its size, and whether its owner may run it."""

    sha256: str
    size: int
    runs: bool = False


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself.

    Attributes:
        program: version of the program that made it.
        schema: revision of its rows.
        made_at: the moment that its rows show; aware.
        source: `sqlite` or `postgresql`.
        counts: rows of each table.
        heads: chain, number and hash of each chain's last link.
        faults: what does not fit in the register, as it was then.
        files: by path in the backup, with slashes.
        left_out: what of the home is not in it, with the reason.
    """

    program: str
    schema: str
    made_at: dt.datetime
    by: str
    source: str
    counts: Mapping[str, int]
    heads: tuple[tuple[str, int, str], ...]
    faults: tuple[str, ...]
    files: Mapping[str, Entry]
    left_out: tuple[str, ...]

    def as_json(self) -> str:
        """As the file has it."""
        said = {"format": FORMAT, **asdict(self), "made_at": self.made_at.isoformat()}
        return json.dumps(said, ensure_ascii=False, indent=1) + "\n"


def read(folder: Path) -> Manifest:
    """Read the manifest of a backup.

    Raises:
        BadInput: there is none, or it is not ours, or of a newer version.
    """
    path = folder / FILE
    where = str(folder)
    try:
        said = json.loads(path.read_text("utf-8"))
        number = said["format"]
    except FileNotFoundError:
        what = "there is no backup" if not folder.is_dir() else "it is no backup, or one that was broken off"
        raise BadInput(what, where=where, remedy=f"name a folder that holds a {FILE}") from None
    except OSError as error:
        raise CannotDo(f"it can't be read ({error.strerror})", where=str(path)) from error
    except (ValueError, LookupError, TypeError):
        raise BadInput("it is no manifest of ours, or damaged", where=str(path), remedy=_REMEDY) from None
    if number != FORMAT:
        raise BadInput(
            "it was made by another version of the program", where=where, remedy="restore it with that version"
        )
    try:
        return _manifest(said)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise BadInput("its manifest is damaged", where=str(path), remedy=_REMEDY) from None


def _manifest(said: Mapping[str, Any]) -> Manifest:
    made_at = dt.datetime.fromisoformat(said["made_at"])
    if made_at.tzinfo is None:
        raise ValueError
    return Manifest(
        program=str(said["program"]),
        schema=str(said["schema"]),
        made_at=made_at,
        by=str(said["by"]),
        source=str(said["source"]),
        counts={str(name): int(count) for name, count in said["counts"].items()},
        heads=tuple((str(chain), int(seq), str(digest)) for chain, seq, digest in said["heads"]),
        faults=tuple(map(str, said["faults"])),
        files={
            str(name): Entry(str(one["sha256"]), int(one["size"]), bool(one["runs"]))
            for name, one in said["files"].items()
        },
        left_out=tuple(map(str, said["left_out"])),
    )


def check_files(folder: Path, manifest: Manifest) -> None:
    """Hold every file against the manifest.

    Raises:
        BadInput: one is missing, changed, or not named in it.
    """
    there = {path.relative_to(folder).as_posix() for path in _files(folder)} - {FILE}
    for name in sorted(there - manifest.files.keys()):
        raise BadInput("this file is not in its manifest", where=str(folder / name), remedy=_REMEDY)
    for name, entry in manifest.files.items():
        if name not in there:  # a path that leads out of the folder is never there
            raise BadInput("this file is missing", where=str(folder / name), remedy=_REMEDY)
        if digest(folder / name) != (entry.sha256, entry.size):
            raise BadInput("this file was changed since the backup was made", where=str(folder / name), remedy=_REMEDY)


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        yield from (Path(place, name) for name in names)
        yield from (Path(place, name) for name in folders if Path(place, name).is_symlink())


def digest(path: Path) -> tuple[str, int]:
    """Sha256 and size of a file's content.

    Raises:
        CannotDo: it can't be read.
    """
    made, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                made.update(block)
                size += len(block)
    except OSError as error:
        raise CannotDo(f"it can't be read ({error.strerror})", where=str(path)) from error
    return made.hexdigest(), size


def copy(source: Path, target: Path, *, runs: bool) -> Entry:
    """Copy a file's content to a new file that only its owner can read, and on to the disk; says what was written.

    Raises:
        OSError: it can't be read or written.
    """
    missing = [folder for folder in target.parents if not folder.exists()]
    for folder in reversed(missing):  # `parents=True` would leave those above open to others
        folder.mkdir(mode=0o700)
    made, size = hashlib.sha256(), 0
    mode = 0o700 if runs else 0o600
    with source.open("rb") as file, os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
        while block := file.read(_BLOCK):
            made.update(block)
            size += len(block)
            out.write(block)
        out.flush()
        os.fsync(out.fileno())
    return Entry(made.hexdigest(), size, runs)
