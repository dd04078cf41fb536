"""Log lines: one per record, with the action's name first and its ids as fields; addresses shortened unless asked for."""

import io
import logging
import re
from collections.abc import Iterator

import pytest

from mailer import logs


@pytest.fixture
def restored() -> Iterator[None]:
    """Logging as it was, afterwards."""
    root = logging.getLogger()
    before = [(each, each.level) for each in (root, *map(logging.getLogger, logs.ROOTS))]
    handlers = root.handlers[:]
    yield
    root.handlers[:] = handlers
    for logger, level in before:
        logger.setLevel(level)


@pytest.fixture
def written(restored: None) -> io.StringIO:
    """Where log lines go."""
    stream = io.StringIO()
    logs.configure(stream=stream)
    return stream


def test_a_line_has_its_action_and_its_ids(written: io.StringIO):
    """A record is a line: time in UTC, level, name of the action, fields."""
    logging.getLogger("mailer.delivery").info("letter-accepted", extra={"letter": 12, "why": "it said: 250 ok"})
    line = written.getvalue()
    assert re.fullmatch(
        r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info letter-accepted letter=12 why="it said: 250 ok"\n', line
    )


@pytest.mark.parametrize("asked", [False, True])
def test_addresses_are_shortened_unless_asked_for(restored: None, asked: bool):
    """An address shows its domain only, wherever in the line it stands."""
    stream = io.StringIO()
    logs.configure(stream=stream, addresses=asked)
    logging.getLogger("lists").warning(
        "odd", extra={"to": "Name <jane.doe@mission.example>, x@y.example", "by": "a@b.example"}
    )
    assert ("jane.doe@mission.example" in stream.getvalue()) is asked
    assert ("x@y.example" in stream.getvalue()) is asked
    assert "@mission.example" in stream.getvalue()


def test_no_field_can_forge_a_line(written: io.StringIO):
    """Line ends and quotation marks of a relay's reply stay within their field."""
    logging.getLogger("mailer").error(
        "relay-held", extra={"reply": '535 no\n2026-01-01T00:00:00.000Z info all-well x="1"', "empty": ""}
    )
    assert written.getvalue().count("\n") == 1
    assert '"535 no\\n2026' in written.getvalue()
    assert written.getvalue().endswith(' empty=""\n')


def test_setting_up_twice_writes_once(written: io.StringIO):
    """A second set-up takes the place of the first; other libraries are heard from warnings on; debug only where asked for."""
    logs.configure(stream=written)
    logging.getLogger("mailer.x").info("once")
    logging.getLogger("mailer.x").debug("unheard")
    logging.getLogger("sqlalchemy").info("unheard")
    logging.getLogger("sqlalchemy").warning("heard")
    logs.configure(stream=written, level="debug")
    logging.getLogger("mailer.x").debug("asked-for")
    assert [line.split(" ", 2)[2] for line in written.getvalue().splitlines()] == [
        "once",
        "library-message logger=sqlalchemy text=heard",
        "asked-for",
    ]


def test_an_error_keeps_its_trace(written: io.StringIO):
    """What went wrong in the program is written whole."""
    try:
        int("odd")
    except ValueError:
        logging.getLogger("mailer").exception("turn-failed", extra={"batch": 3})
    assert "error turn-failed batch=3\n    Traceback" in written.getvalue()
    assert "ValueError: " in written.getvalue()
