"""Logging, set up in one place: lines to standard error, each with a stable action name and its ids as fields.

A room writes `log.info("letter-accepted", extra={"letter": 12, "attempt": "7.12"})`: the message is the action's name and never
holds data; what varies stands in `extra`. So lines can be counted and searched by name. Addresses are shortened to their domain
unless they are asked for.
"""

import json
import logging
import re
import sys
import time
from typing import TextIO

ROOTS = ("mailer", "lists")
_OURS = "chancery"
#: What every record has; the rest came by `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_ADDRESS = re.compile(r"[^\s<>\"'(),:;@]+@(?=[^\s<>\"'(),:;@]+)")


def configure(*, debug: bool = False, addresses: bool = False, stream: TextIO | None = None) -> None:
    """Set up logging for this process; calling it again replaces what was set up before.

    Args:
        debug: lines of level DEBUG too.
        addresses: show mail addresses whole.
        stream: where lines go; default: standard error.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.set_name(_OURS)
    handler.setFormatter(Lines(addresses=addresses))
    root = logging.getLogger()
    for old in [each for each in root.handlers if each.get_name() == _OURS]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in ROOTS:
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.INFO)


def redact(text: str) -> str:
    """*text* with the part before each @ replaced by an ellipsis."""
    return _ADDRESS.sub("…@", text)


class Lines(logging.Formatter):
    """`2006-07-07T08:00:00.123Z info letter-accepted letter=12 attempt=7.12`: one line per record, whatever its fields hold."""

    def __init__(self, *, addresses: bool = False) -> None:
        super().__init__()
        self._addresses = addresses

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback follows on lines of its own."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = {key: value for key, value in vars(record).items() if key not in _STANDARD and not key.startswith("_")}
        line = f"{stamp}.{int(record.msecs):03}Z {record.levelname.lower()} {_one_line(record.getMessage())}"
        for key, value in fields.items():
            line += f" {key}={_field(value)}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line if self._addresses else redact(line)


def _one_line(text: str) -> str:
    return text if text.isprintable() else json.dumps(text, ensure_ascii=False)[1:-1]


def _field(value: object) -> str:
    """A value without blanks as it is, any other as a JSON text: no field can begin a line or another field."""
    text = str(value)
    return (
        text
        if text and text.isprintable() and " " not in text and '"' not in text
        else json.dumps(text, ensure_ascii=False)
    )
