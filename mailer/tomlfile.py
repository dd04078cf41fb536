"""TOML as people write it: read with a byte-order mark or without, mistakes told in plain words with the line they stand in.

`tomllib` says what the grammar expected; a coordinator wants to hear that a quotation mark is missing. So its message only gives
the place, and the sentence comes from looking at that line. Where the file is right, `lines` says in which line each key stands,
so that later checks can point at it too.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lists.records import record
from mailer.errors import BadInput

#: Larger than any settings or circular file; a spreadsheet named by mistake is not read into memory.
_LARGEST = 2_000_000
_PLACE = re.compile(r"^(?P<what>.*?) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$", re.DOTALL)
_PART = re.compile(r"""[ \t]*(?:([A-Za-z0-9_-]+)|"((?:[^"\\\n]|\\.)*)"|'([^'\n]*)')[ \t]*""")
_TOKEN = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'  # a text of several lines
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*|[\[\]{}\n]|[^\[\]{}\n\"'#]+|.",
    re.DOTALL,
)
_TYPOGRAPHIC = "“”„«»‘’‚"  # noqa: RUF001 - the very characters that word processors put in


@record
class TomlFile:
    """What a file says.

    Attributes:
        path: as it was named.
        data: the tables.
        lines: path of a key, such as ("relays", "main", "port") -> line, counted from 1. A table's line is its heading's;
            tables of an array have their index in the path.
    """

    path: Path
    data: dict[str, Any]
    lines: Mapping[tuple[str | int, ...], int]

    def line_of(self, key: Sequence[str | int]) -> int | None:
        """The line of *key*, else of the first key below it, else of the nearest table around it."""
        for length in range(len(key), 0, -1):
            upper = tuple(key[:length])
            if (line := self.lines.get(upper)) is not None:
                return line
            if length == len(key):
                below = [line for other, line in self.lines.items() if other[:length] == upper]
                if below:
                    return min(below)
        return None

    def where(self, key: Sequence[str | int] = ()) -> str:
        """`chancery.toml line 12`, as errors say it."""
        line = self.line_of(key)
        return f"{self.path.name} line {line}" if line else self.path.name


def read(path: Path, error: type[BadInput] = BadInput, *, octets: bool = False) -> TomlFile:
    """Read the TOML file *path*; *octets*: its texts may stand for any octets, the NUL too.

    Raises:
        BadInput: (or *error*) it is not there, not text in UTF-8, or not TOML; file, line and remedy are in the message.
    """
    text = text_of(path, error)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        line, what, remedy = explain(text, str(wrong))
        raise error(what, where=f"{path.name} line {line}", remedy=remedy) from wrong
    except RecursionError as deep:
        raise error("it nests brackets too deeply", where=path.name) from deep
    if not octets and re.search(r"\\u0000|\\U00000000", text) and _holds_nul(data):
        raise error("a text in it holds a NUL character", where=path.name, remedy="take \\u0000 out of it")
    return TomlFile(path, data, dict(_key_lines(text)))


def _holds_nul(value: Any) -> bool:
    """Whether some text holds the character that no database keeps in every text, written as an escape."""
    if isinstance(value, dict):
        return any(_holds_nul(key) or _holds_nul(each) for key, each in value.items())
    if isinstance(value, list):
        return any(map(_holds_nul, value))
    return isinstance(value, str) and "\0" in value


def text_of(path: Path, error: type[BadInput] = BadInput) -> str:
    """The text of the file *path*.

    Raises:
        BadInput: (or *error*) it is not there, too large, or not text in UTF-8.
    """
    try:
        if path.is_dir():
            raise error("this is a folder, not a file", where=str(path))
        with path.open("rb") as file:
            raw = file.read(_LARGEST + 1)
    except FileNotFoundError as missing:
        raise error("there is no such file", where=str(path)) from missing
    except OSError as refused:
        raise error(
            f"it can't be read ({refused.strerror})", where=str(path), remedy="check its owner and rights"
        ) from refused
    if len(raw) > _LARGEST:
        raise error(
            "it is too large for a text of settings", where=str(path), remedy="check that this is the right file"
        )
    return decode(raw, path.name, error)


def decode(raw: bytes, name: str, error: type[BadInput] = BadInput) -> str:
    """The text of *raw*, with LF line ends and without a byte-order mark.

    Raises:
        BadInput: (or *error*) it is not UTF-8, or holds a NUL character.
    """
    remedy = "save it again as UTF-8 (in Notepad: Save As, Encoding: UTF-8)"
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in raw[:200]:
        raise error("it is saved as UTF-16 (Windows calls it Unicode), or is no text", where=name, remedy=remedy)
    if raw.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise error("it is an office document, not a text file", where=name, remedy="save it as plain text in UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        line = raw.count(b"\n", 0, wrong.start) + 1
        raise error("it is not saved as UTF-8", where=f"{name} line {line}", remedy=remedy) from wrong
    if (nul := text.find("\0")) >= 0:
        line = text.count("\n", 0, nul) + 1
        raise error("it holds a NUL character", where=f"{name} line {line}", remedy="write that line anew")
    return text.replace("\r\n", "\n")


def explain(text: str, message: str) -> tuple[int, str, str | None]:
    """Put `tomllib`'s *message* about *text* in plain words.

    Returns:
        The line, what is wrong, and what to do.
    """
    lines = text.split("\n")
    found = _PLACE.match(message)
    technical = found["what"] if found else message
    if found is None or found["line"] is None:
        return _at_the_end(text, lines, technical)
    number, column = int(found["line"]), int(found["column"])
    line = lines[number - 1] if number <= len(lines) else ""
    if technical.startswith(("Cannot overwrite", "Cannot declare", "Duplicate", "Cannot redefine", "Cannot mutate")):
        if inner := re.fullmatch(r"Duplicate inline table key '(.*)'", technical):
            return number, f"{inner[1]} stands twice between the braces", "keep one of them"
        return number, *_twice(text, number, line)
    if technical.startswith("Illegal character '\\n'"):
        return number, "a quotation mark is missing at the end of the text", 'end the text with "'
    if technical.startswith("Illegal character"):
        return number, "it holds a character that can't be seen", "delete the line and type it again"
    if "table declaration" in technical or "array declaration" in technical:
        return number, "the heading's closing bracket is missing", "write it as [name] on a line of its own"
    if "Unescaped '\\'" in technical or "hex value" in technical:
        return (
            number,
            "a backslash has a meaning of its own between double quotes",
            "write \\\\, or use single quotes: 'C:\\folder'",
        )
    if technical.startswith(("Unclosed array", "Unclosed inline table")) and line[: column - 1].strip():
        return number, "a comma or a closing bracket is missing", None
    if "Expected '=' after a key" in technical or technical.startswith("Invalid statement"):
        return number, *_no_statement(line)
    return _value(lines, number, column, line)


def _at_the_end(text: str, lines: list[str], technical: str) -> tuple[int, str, str | None]:
    """What was open when the file ended."""
    opened = None
    for mark in ('"""', "'''"):
        if text.count(mark) % 2:
            opened = text.count("\n", 0, text.rindex(mark)) + 1
            return opened, f"the text that begins with {mark} has no end", f"write {mark} where it ends"
    last = len(lines)
    while last > 1 and not lines[last - 1].strip():
        last -= 1
    if technical.startswith('Expected "\'"'):
        return last, "a quotation mark is missing at the end of the text", "end the text with '"
    if technical.startswith("Expected '='"):
        return last, "the line is no setting", 'write it as name = "value"'
    return last, "the file ends in the middle of a value", "check for a missing quotation mark or closing bracket"


def _twice(text: str, number: int, line: str) -> tuple[str, str | None]:
    """A key or a heading that stands twice."""
    name = (
        line.split("=", 1)[0].strip()
        if "=" in line and not line.lstrip().startswith("[")
        else line.split("#", 1)[0].strip()
    )
    earlier = [n for n, other in enumerate(text.split("\n")[: number - 1], 1) if _same_start(other, name)]
    first = f" (first in line {earlier[-1]})" if earlier else ""
    return f"{name} stands twice{first}", "keep one of them"


def _same_start(line: str, name: str) -> bool:
    stripped = line.strip()
    return (
        stripped.split("#", 1)[0].strip() == name
        if name.startswith("[")
        else stripped.split("=", 1)[0].strip() == name and "=" in stripped
    )


def _no_statement(line: str) -> tuple[str, str]:
    name, colon, _ = line.partition(":")
    if colon and "=" not in line and re.fullmatch(r"\s*[\w.-]+\s*", name):
        return "a setting has an equals sign, not a colon", f"write {name.strip()} = ..."
    if "=" in line and " " in line.split("=", 1)[0].strip():
        return "a name of several words needs quotation marks", f'write "{line.split("=", 1)[0].strip()}" = ...'
    return "the line is no setting", 'write it as name = "value", or begin it with # if it is a remark'


def _value(lines: list[str], number: int, column: int, line: str) -> tuple[int, str, str | None]:
    """A value that is none, or something after a value."""
    name, equals, value = line.partition("=")
    begun = line[: column - 1].rstrip()
    if not equals or (not begun and number > 1):
        for back in range(number - 1, 0, -1):
            if lines[back - 1].count("[") + lines[back - 1].count("{") > lines[back - 1].count("]") + lines[
                back - 1
            ].count("}"):
                return back, "a bracket that opens here is not closed", "write ] where the list ends"
        return number, "the line is no setting", 'write it as name = "value"'
    word = value.split("#", 1)[0].strip()
    if not word:
        return number, f"{name.strip()} has no value", 'write it as name = "value", or delete the line'
    if any(mark in word for mark in _TYPOGRAPHIC) and not word.startswith(('"', "'")):
        return number, "typographic quotation marks can't be used around a value", 'use straight ones: "'
    if word.lower() in {"true", "false", "yes", "no", "on", "off"}:
        return number, f"{word} is no value here", "write true or false, in small letters and without quotation marks"
    if re.fullmatch(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}", word):
        return number, f"{word} is no date", "write a date as 2006-07-14, without quotation marks"
    if re.fullmatch(r"\d{1,2}[:h.]\d{2}(:\d{2})?", word):
        return number, f"{word} is no time", "write a time as 09:00:00, without quotation marks"
    if re.fullmatch(r"[+-]?[\d' ]+", word):
        return number, f"{word} is no number", "write a number without leading zeros and without blanks"
    if word.startswith(('"', "'")):
        return number, "something stands after the value", "check the quotation marks; a remark begins with #"
    return number, "a text has no quotation marks, or one is missing", f'write {name.strip()} = "..."'


def _key_lines(text: str) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """Each key of a right TOML text with its line, in the order of the file."""
    table: tuple[str | int, ...] = ()
    counts: dict[tuple[str | int, ...], int] = {}
    position, line = 0, 1
    while position < len(text):
        character = text[position]
        if character == "\n":
            position, line = position + 1, line + 1
        elif character in " \t":
            position += 1
        elif character == "#":
            position = _end_of_line(text, position)
        elif character == "[":
            double = text.startswith("[[", position)
            keys, position = _keys(text, position + 1 + double)
            table = _within(keys, counts)
            if double:
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            yield table, line
            position = _end_of_line(text, position)
        else:
            keys, position = _keys(text, position)
            yield (*table, *keys), line
            end = _end_of_value(text, position + 1)
            line += text.count("\n", position, end)
            position = end


def _within(keys: tuple[str, ...], counts: Mapping[tuple[str | int, ...], int]) -> tuple[str | int, ...]:
    """The path of a heading: below an array of tables it means the array's last table."""
    path: tuple[str | int, ...] = ()
    for number, key in enumerate(keys, 1):
        path = (*path, key)
        if number < len(keys) and path in counts:
            path = (*path, counts[path])
    return path


def _keys(text: str, position: int) -> tuple[tuple[str, ...], int]:
    parts: list[str] = []
    while found := _PART.match(text, position):
        parts.append(next(part for part in found.groups() if part is not None))
        position = found.end()
        if not text.startswith(".", position):
            break
        position += 1
    return tuple(parts), position


def _end_of_line(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _end_of_value(text: str, position: int) -> int:
    """Where the value that begins at *position* ends: at a line end outside all brackets and texts."""
    depth = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:  # can't be: the last alternative takes any character
            return len(text)
        piece = found.group()
        if piece == "\n" and depth == 0:
            return position
        depth += piece.count("[") + piece.count("{") - piece.count("]") - piece.count("}") if len(piece) == 1 else 0
        position = found.end()
    return position
