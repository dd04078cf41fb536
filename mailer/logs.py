"""Logging, set up in one place: one line per record, for people or for machines, each with a stable action name and its ids as fields.

A room writes `log.info("run-fenced", extra={"circular": 12, "batch": 3})`: the message is the action's name and never holds data;
what varies stands in `extra`. So lines can be counted and searched by name; config/README.md has the names, and a test compares.
Addresses are shortened to their domain unless they are asked for. Whatever a field holds, it can't begin a line or another field,
nor turn the direction of the text around it: what can't be seen is written as its number.

`lines` is for the many lines of letters: they are made and written by the slice, past `logging`, which costs a letter ten times as much.
"""

import datetime as dt
import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from typing import TextIO

from mailer.log_places import Line, LogFile, Place, Stream, SystemLog
from mailer.settings import Log, LogForm, LogPlace

ROOTS = ("mailer", "lists")
_OURS = "chancery"
#: What every record has; the rest came by `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
#: The part of an address before its @, quoted or not; it begins where a run of its characters begins, so a long run costs one look.
_ADDRESS = re.compile(r"""(?:"(?:[^"\\]|\\.)*+"|(?<![^\s<>"(),:;@])[^\s<>"(),:;@]++)@(?=[^\s<>"'(),:;@])""")


def configure(
    *,
    level: str = "info",
    addresses: bool = False,
    form: LogForm = LogForm.TEXT,
    stream: TextIO | None = None,
    place: Callable[[Callable[[int], Line]], Place] | None = None,
) -> None:
    """Set up logging for this process; calling it again replaces what was set up before.

    Args:
        level: debug, info, warning or error: the least that is written.
        addresses: show mail addresses whole.
        form: text or json.
        stream: where lines go; default: standard error.
        place: makes another place than a stream; it is handed what makes the line about lost lines.
    """
    lines: logging.Formatter = Json(addresses=addresses) if form is LogForm.JSON else Lines(addresses=addresses)

    def lost(count: int) -> Line:
        record = logging.makeLogRecord({"name": __name__, "msg": "log-lost", "levelname": "WARNING"})
        record.lines = count
        return lines.format(record), "warning"

    handler = _Handler(Stream(stream or sys.stderr) if place is None else place(lost), form, addresses=addresses)
    handler.setFormatter(lines)
    unset()
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in ROOTS:
        logging.getLogger(name).setLevel(level.upper())


def set_up(settings: Log, home: Path, *, debug: bool = False, addresses: bool = False) -> None:
    """Set up logging as the home's settings say; *debug* and *addresses* ask for more than they do."""

    def place(lost: Callable[[int], Line]) -> Place:
        match settings.to:
            case LogPlace.FILE:
                return LogFile(home / settings.file, lost)
            case LogPlace.SYSLOG:
                return SystemLog(Path(settings.socket), lost)
            case _:
                return Stream(sys.stderr)

    configure(
        level="debug" if debug else settings.level.value,
        addresses=addresses or settings.addresses,
        form=settings.format,
        place=place,
    )


@contextmanager
def kept(settings: Log, home: Path, *, debug: bool = False, addresses: bool = False) -> Iterator[None]:
    """`set_up` until the block ends."""
    set_up(settings, home, debug=debug, addresses=addresses)
    try:
        yield
    finally:
        unset()


def unset() -> None:
    """Take down what was set up."""
    root = logging.getLogger()
    for old in [each for each in root.handlers if each.get_name() == _OURS]:
        root.removeHandler(old)
        old.close()


def redact(text: str) -> str:
    """*text* with the part before each @ replaced by an ellipsis."""
    return _ADDRESS.sub("…@", text) if "@" in text else text


class _Handler(logging.Handler):
    """Hands each record to a place."""

    def __init__(self, place: Place, form: LogForm, *, addresses: bool) -> None:
        super().__init__()
        self.set_name(_OURS)
        self.place, self.form, self.addresses = place, form, addresses

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; one that can't be formatted is told as that."""
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - a log line must never fail what it is about
            line = f"{_stamp(record)} error log-failed reason={_field(repr(error))}"
        self.place.write([(line, record.levelname.lower())])

    def close(self) -> None:
        """Let go of the place."""
        self.place.close()
        super().close()


class Lines(logging.Formatter):
    """`2006-07-07T08:00:00.123Z info letter-accepted letter=12 attempt=7.12`: one line per record, whatever its fields hold."""

    def __init__(self, *, addresses: bool = False) -> None:
        super().__init__()
        self._addresses = addresses

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback follows on lines of its own, set in, so that none of them looks like a record."""
        action, fields = _parts(record)
        line = f"{_stamp(record)} {record.levelname.lower()} {action}"
        for key, value in fields.items():
            line += f" {key}={_field(value)}"
        if record.exc_info:
            for each in self.formatException(record.exc_info).split("\n"):
                line += f"\n    {each if each.isprintable() else quoted(each)[1:-1]}"
        return line if self._addresses else redact(line)


class Json(logging.Formatter):
    """`{"at": "...", "level": "info", "action": "letter-accepted", "letter": 12}`: the same for machines, in ASCII."""

    def __init__(self, *, addresses: bool = False) -> None:
        super().__init__()
        self._addresses = addresses

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback is the field `trace`."""
        action, fields = _parts(record)
        made = {"at": _stamp(record), "level": record.levelname.lower(), "action": action, **fields}
        if record.exc_info:
            made["trace"] = self.formatException(record.exc_info)
        return json.dumps(_plain(made, str if self._addresses else redact))


def _parts(record: logging.LogRecord) -> tuple[str, dict[str, object]]:
    """The action and its fields; what another library says is the text of `library-message`."""
    fields = {key: value for key, value in vars(record).items() if key not in _STANDARD and not key.startswith("_")}
    if record.name != "root" and record.name.partition(".")[0] not in ROOTS:
        return "library-message", {"logger": record.name, "text": record.getMessage(), **fields}
    action = record.getMessage()
    return action if action.isprintable() else quoted(action)[1:-1], fields


def _plain(value: object, text: Callable[[str], str]) -> object:
    """A value as JSON has it, every text in it passed through *text*."""
    match value:
        case None | bool() | int() | float():
            return value
        case dict():
            return {str(key): _plain(each, text) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each, text) for each in value]
        case _:
            return text(str(value))


def _stamp(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03}Z"


def _field(value: object) -> str:
    """A value without blanks as it is, any other as a JSON text."""
    text = str(value)
    if not text.isprintable():
        return quoted(text)
    return text if text and " " not in text and '"' not in text else json.dumps(text, ensure_ascii=False)


# --- many lines at once -------------------------------------------------------------------------------------------------


class Slice:
    """Lines that are written together. Fields that are numbers or names of our own go in as they are, free texts are guarded."""

    def __init__(self, handler: _Handler, least: int) -> None:
        self._handler, self._least = handler, least
        self._json, self._addresses = handler.form is LogForm.JSON, handler.addresses
        self._lines: list[Line] = []

    def add(
        self,
        at: dt.datetime,
        level: int,
        action: str,
        own: Sequence[tuple[str, int | str | None]],
        free: Sequence[tuple[str, str | None]],
    ) -> None:
        """Add a line.

        Args:
            at: when it was.
            level: of `logging`.
            action: its name.
            own: numbers, and texts of our own making without blanks or quotation marks; None is left out.
            free: texts that others wrote; None is left out.
        """
        if level < self._least:
            return
        word = _LEVELS[level]
        stamp = f"{at.isoformat(timespec='milliseconds')[:23]}Z"
        if self._json:
            line = f'{{"at": "{stamp}", "level": "{word}", "action": "{action}"'
            for key, value in own:
                if value is not None:
                    line += f', "{key}": "{value}"' if isinstance(value, str) else f', "{key}": {value}'
            for key, text in free:
                if text is not None:
                    line += f', "{key}": {quoted(text if self._addresses else redact(text))}'
            line += "}"
        else:
            line = f"{stamp} {word} {action}"
            for key, value in own:
                if value is not None:
                    line += f" {key}={value}"
            for key, text in free:
                if text is not None:
                    line += f" {key}={_field(text if self._addresses else redact(text))}"
        self._lines.append((line, word))

    def write(self) -> None:
        """Write them all."""
        if self._lines:
            self._handler.place.write(self._lines)
            self._lines = []


_LEVELS = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error"}


def lines() -> Slice | None:
    """Where many lines go at once; None: logging is not set up, and nothing need be made."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Handler):
            return Slice(handler, logging.getLogger(ROOTS[0]).level)
    return None
