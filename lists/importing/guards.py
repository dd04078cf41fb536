"""Looks at an xlsx or ods file before it is opened.

The reader lays a sheet out as a full rectangle in memory, so one cell at XFD1048576 in a file of 5 KB ends the process
(seen with python-calamine 0.5), and a ZIP can unpack to any size.
"""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from lists.errors import BadInput

#: Bytes on disk, bytes unpacked, cells of the rectangle from A1 to the last filled cell.
LARGEST_FILE = 50_000_000
_LARGEST_UNPACKED = 400_000_000
_MOST_CELLS = 5_000_000
_MOST_MEMBERS = 2_000
_CHUNK = 1 << 20
_TAIL = 400

_PLACE = re.compile(rb"""<(?:\w+:)?(?:c|row)\s[^<>]*?\br=["']([A-Z]{0,3})([0-9]{1,7})["']""")
_ODS_ROW = re.compile(rb"<(?:\w+:)?table-row\b")
_ODS_REPEATED = re.compile(rb"number-(rows|columns)-repeated=[\"']([0-9]{1,9})[\"']")
_ODS_CELL = re.compile(rb"<(?:\w+:)?(?:covered-)?table-cell\b[^<>]*>")


def check(path: Path) -> None:
    """Refuse a workbook that would not fit in memory.

    Raises:
        BadInput: it is too large, or no workbook.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > _MOST_MEMBERS or sum(one.file_size for one in members) > _LARGEST_UNPACKED:
                raise _too_large(path)
            for one in members:
                if one.filename.startswith("xl/worksheets/") and one.filename.endswith(".xml"):
                    _check_xlsx(path, archive, one)
                elif one.filename == "content.xml":
                    _check_ods(path, archive, one)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise BadInput(
            "it is damaged, protected by a password, or no workbook",
            where=str(path),
            remedy="open it in Excel and save it again as an xlsx without password",
        ) from error


def _too_large(path: Path) -> BadInput:
    return BadInput(
        "the workbook is too large to be read safely",
        where=str(path),
        remedy="copy the filled cells into a new workbook; a cell far below or far right makes a sheet large",
    )


def _chunks(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """The member in pieces that overlap, so that no tag is cut."""
    with archive.open(member) as file:
        tail = b""
        while piece := file.read(_CHUNK):
            yield tail + piece
            tail = piece[-_TAIL:]


def _check_xlsx(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    last_row = last_column = 1
    for piece in _chunks(archive, member):
        for letters, digits in _PLACE.findall(piece):
            last_row = max(last_row, int(digits))
            column = 0
            for letter in letters:
                column = column * 26 + letter - 64
            last_column = max(last_column, column)
    if last_row * last_column > _MOST_CELLS:
        raise _too_large(path)


def _check_ods(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    content = archive.read(member)
    starts = [match.start() for match in _ODS_ROW.finditer(content)]
    rows = filled_rows = columns = 0
    for start, end in zip(starts, [*starts[1:], len(content)], strict=True):
        piece = content[start:end]
        head = piece[: piece.find(b">") + 1]
        rows += _repeated(head, b"rows")
        width = filled = 0
        for cell in _ODS_CELL.finditer(piece):
            width += _repeated(cell[0], b"columns")
            if b"value-type" in cell[0]:
                filled = width
        if filled:
            filled_rows, columns = rows, max(columns, filled)
    if filled_rows * columns > _MOST_CELLS:
        raise _too_large(path)


def _repeated(tag: bytes, what: bytes) -> int:
    return next((int(number) for kind, number in _ODS_REPEATED.findall(tag) if kind == what), 1)
