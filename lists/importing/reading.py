"""From a file to a grid of cells: csv of any make, xlsx and ods by calamine. The only door to calamine."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from lists.errors import BadInput, CannotDo
from lists.findings import Finding
from lists.importing import guards
from lists.importing.columns import column_of
from lists.importing.sheet import Grid, Value, warning

MOST_ROWS = 100_000
#: Excel has no more.
_MOST_COLUMNS = 16_384
_DELIMITERS = ",;\t"
_SEP = re.compile(r"\A[\s\u180e\u200b-\u200d\u2060\ufeff]*sep=(.)\r?\n", re.IGNORECASE)
_UNSEEN = " \t\r\n\u180e\u200b\u200c\u200d\u2060\ufeff"
_OLE = b"\xd0\xcf\x11\xe0"


def read(path: Path) -> Grid:
    """Read the first sheet of a file.

    Raises:
        BadInput: there is no such file, it is too large, or it is no csv, xlsx or ods.
        CannotDo: it can't be read.
    """
    try:
        if path.is_dir():
            raise BadInput("it is a folder", where=str(path), remedy="name the sheet in it")
        if not path.is_file():
            raise BadInput("there is no such file", where=str(path), remedy="check the name and the folder")
        if path.stat().st_size > guards.LARGEST_FILE:
            raise BadInput(
                f"the file is larger than {guards.LARGEST_FILE // 1_000_000} MB", where=str(path), remedy="split it"
            )
        data = path.read_bytes()
    except OSError as error:
        raise CannotDo(f"it can't be read ({error.strerror})", where=str(path)) from error
    suffix = path.suffix.lower()
    if data.startswith(b"PK"):
        return _workbook(path, data)
    if data.startswith(_OLE) or suffix in {".xls", ".doc", ".pdf", ".docx", ".xlsx", ".ods", ".numbers"}:
        raise BadInput(
            "it is no sheet that can be read (an old xls, one with a password, or another kind of file)",
            where=str(path),
            remedy="open it in Excel and save it as xlsx without password, or as CSV UTF-8",
        )
    return _csv(path, data)


def _kept(path: Path, rows: Iterable[tuple[int, Sequence[Value]]]) -> list[tuple[int, Sequence[Value]]]:
    """The rows that hold anything, without the empty cells at their ends."""
    kept: list[tuple[int, Sequence[Value]]] = []
    for number, cells in rows:
        width = len(cells)
        while width and (cells[width - 1] is None or _blank(cells[width - 1])):
            width -= 1
        if width > _MOST_COLUMNS:
            raise BadInput(f"row {number} has {width} cells", where=str(path), remedy="see whether commas went astray")
        if width:
            kept.append((number, cells[:width]))
        if len(kept) > MOST_ROWS + 1:
            raise BadInput(
                f"it has more than {MOST_ROWS:,} rows", where=str(path), remedy="split it into several files"
            )
    return kept


def _blank(value: Value) -> bool:
    return isinstance(value, str) and not value.strip(_UNSEEN)


def _workbook(path: Path, data: bytes) -> Grid:
    guards.check(path)
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(data))
        names = workbook.sheet_names
        if not names:
            raise BadInput("the workbook has no sheet", where=str(path))
        cells: Sequence[Sequence[Value]] = workbook.get_sheet_by_index(0).to_python(skip_empty_area=False)
    except (CalamineError, OSError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(
            f"it is no workbook that can be read ({error})",
            where=str(path),
            remedy="open it in Excel and save it again as xlsx without password",
        ) from error
    return Grid(path.name, _kept(path, enumerate(cells, start=1)))


def _csv(path: Path, data: bytes) -> Grid:
    text, notes = _decoded(path, data)
    if "\0" in text:
        raise BadInput("it holds NUL characters, so it is no CSV", where=str(path), remedy="save it as CSV UTF-8")
    first = 1
    if told := _SEP.match(text):  # a line by which Excel is told the delimiter, and which it counts as no row
        text = text[told.end() :]
        delimiter = told[1]
    else:
        delimiter = _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = _kept(path, enumerate(reader, start=first))
    except csv.Error as error:
        raise BadInput(
            f"it is no proper CSV ({error})",
            where=f"{path} line {reader.line_num}",
            remedy='put quotes around the whole of a cell that holds quotes, commas or new lines, and write a quote in it as ""',
        ) from error
    return Grid(path.name, rows, quoted=True, notes=notes)


def _decoded(path: Path, data: bytes) -> tuple[str, tuple[Finding, ...]]:
    """The text of a file: by its byte-order mark, else UTF-8, else the code page of Western Windows, which is told."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return _decode(path, data, encoding), ()
    head = data[:2000]
    if head.count(0) * 3 > len(head) > 1:
        return _decode(path, data, "utf-16-be" if head[0] == 0 else "utf-16-le"), ()
    try:
        return data.decode("utf-8"), ()
    except UnicodeDecodeError:
        told = warning(
            "encoding",
            path.name,
            "it is not UTF-8; it was read in the code page of Western Windows (cp1252)",
            "look whether accents are right, or save it as CSV UTF-8",
        )
        return _decode(path, data, "cp1252"), (told,)


def _decode(path: Path, data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise BadInput("its characters can't be read", where=str(path), remedy="save it as CSV UTF-8") from error


def _delimiter(text: str) -> str:
    """The delimiter that makes the most known headings of the first line that holds anything."""
    head = next((line for line in text.splitlines() if line.strip(_UNSEEN + _DELIMITERS)), "")

    def score(delimiter: str) -> tuple[int, int]:
        try:
            cells = next(csv.reader([head.strip(_UNSEEN)], delimiter=delimiter), [])
        except csv.Error:
            return (0, 0)
        return (sum(column_of(cell) is not None for cell in cells), head.strip(_UNSEEN).count(delimiter))

    return max(_DELIMITERS, key=score)
