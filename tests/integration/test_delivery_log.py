"""One log line per attempt, as a sending through real SMTP writes it, whatever a mail server says."""

import datetime as dt
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer import logs
from mailer.app import App
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery.batches import Batches
from mailer.delivery.due import Wanted
from mailer.delivery.journal import Journal, boot_id
from mailer.dispatch import sending
from mailer.rehearsal.faults import Faults
from mailer.rehearsal.server import Server
from mailer.settings import Log, LogForm, LogPlace, Relay, Tls
from mailer.transport.base import Fate, Reply, Result
from tests.support import approved
from tests.support.corpora import corpus
from tests.unit.test_home_logs import restored

__all__ = ["restored"]
MAILBOXES = [
    ["office001@org.example"],
    ["office002@org.example"],
    ["office003@org.example"],
    ["office004@org.example"],
    ["office005@org.example", "deputy005@org.example"],
    ["office006@org.example"],
]
#: What a hostile or clumsy server may say; each stands after a code.
HOSTILE = [
    "<office002@org.example>: no such user office002@org.example",
    '5.1.1 x" action=letter-accepted to="y',
    "5.1.1 \u202egnp.exe\u2066 turned \u200b\u2028 lines \u0085 \x1b[31mred\x07",
    "5.1.1 2026-01-01T00:00:00.000Z info letter-accepted letter=1",
    '5.1.1 {"at": "x"} \\ \\n %s {0} {{x}} $(id)',
    '5.1.1 mailto:office002@org.example,office002%40org.example;"office 002"@org.example',
    "5.1.1 " + "a" * 3000 + "@" + "b" * 500,
]
FAULTS = [
    {"at": "rcpt", "to": "office002@*", "reply": "550 5.1.1 No such user <office002@org.example>"},
    {"at": "rcpt", "to": "office003@*", "reply": "451 4.7.1 Later"},
    {"at": "reply", "to": "office004@*", "do": "drop"},
    {"at": "rcpt", "to": "deputy005@*", "reply": "550 5.1.1 Gone"},
]


@pytest.fixture(autouse=True)
def taken_down(restored: None) -> Iterator[None]:
    """Logging as it was, afterwards."""
    yield
    logs.unset()


@pytest.fixture
async def server(clock: ManualClock) -> AsyncIterator[Server]:
    """A relay with faults."""
    async with Server(faults=Faults.from_rules(FAULTS), clock=clock) as made:
        yield made


async def send(database: Database, clock: ManualClock, home: Path, server: Server) -> App:
    """Send a circular to that relay, as far as it goes now."""
    relay = Relay(host="127.0.0.1", port=server.port, tls=Tls.NONE)
    chosen = approved.SETTINGS.model_copy(update={"relays": {"main": relay}})
    app, number = await approved.office(database, clock, home, MAILBOXES, chosen)
    async with sending(app, what="test") as made:
        await made.delivery.start(number, by="anna")
        await made.work(until=lambda due: due is None or due > clock.now())
    return app


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of letters."""
    every = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
    return [line for line in every if line["action"].startswith("letter-")]


async def test_each_attempt_is_a_line(
    sqlite_database: Database, clock: ManualClock, tmp_path: Path, server: Server
) -> None:
    """Its action says what came of it; its fields say which letter, which try, which relay, and what the relay said."""
    logs.set_up(Log(to=LogPlace.FILE, format=LogForm.JSON), tmp_path)
    await send(sqlite_database, clock, tmp_path, server)
    lines = sorted(json_lines(tmp_path / "chancery.log"), key=lambda line: line["letter"])
    assert [line["action"] for line in lines] == [
        "letter-accepted",
        "letter-refused",
        "letter-deferred",
        "letter-uncertain",
        "letter-partly",
        "letter-accepted",
    ]
    assert [line["level"] for line in lines] == ["info", "warning", "info", "warning", "warning", "info"]
    accepted, refused, deferred, uncertain, partly, _ = lines
    assert accepted["circular"] == "TEST/2006/001"
    assert (accepted["organization"], accepted["relay"], accepted["code"], accepted["tries"]) == (1, "main", 250, 1)
    assert accepted["at"] == "2006-07-07T08:00:00.000Z"
    assert accepted["ms"] >= 0
    assert accepted["size"] > 1000
    assert re.fullmatch("[0-9a-f]{32}", accepted["attempt"])
    assert (refused["code"], refused["enhanced"]) == (550, "5.1.1")
    assert deferred["next"].startswith("2006-07-07T08:")
    assert "code" not in uncertain
    assert "connection broke" in uncertain["why"]
    assert (partly["recipients"], partly["code"], partly["reply"]) == (2, 550, "5.1.1 Gone")
    on = [(line["connection"], line["nth"]) for line in lines]
    assert {one for one, _ in on} == set(range(1, len({one for one, _ in on}) + 1))
    for each in {one for one, _ in on}:  # letters of one connection are counted from 1, as the relay took them
        assert sorted(nth for one, nth in on if one == each) == list(range(1, [one for one, _ in on].count(each) + 1))


@pytest.mark.parametrize("form", list(LogForm))
@pytest.mark.parametrize("asked", [False, True])
async def test_addresses_are_shown_only_where_asked_for(
    sqlite_database: Database, clock: ManualClock, tmp_path: Path, server: Server, form: LogForm, asked: bool
) -> None:
    """Neither the recipient's field nor the relay's own words show who it is."""
    logs.set_up(Log(to=LogPlace.FILE, format=form, addresses=asked), tmp_path)
    await send(sqlite_database, clock, tmp_path, server)
    text = (tmp_path / "chancery.log").read_text(encoding="utf-8")
    assert ("No such user <office002@org.example>" in text) is asked
    assert ("deputy005" in text) is asked
    assert "@org.example" in text


async def test_a_later_try_is_a_line_of_its_own(
    sqlite_database: Database, clock: ManualClock, tmp_path: Path, server: Server
) -> None:
    """Tries are told apart by attempt and count."""
    logs.set_up(Log(to=LogPlace.FILE, format=LogForm.JSON), tmp_path)
    app = await send(sqlite_database, clock, tmp_path, server)
    clock.advance(30 * approved.MINUTES)
    async with sending(app, what="test") as made:
        await made.work(until=lambda due: due is None or due > clock.now())
    third = [line for line in json_lines(tmp_path / "chancery.log") if line["letter"] == 3]
    assert [line["tries"] for line in third] == [1, 2]
    assert third[0]["attempt"] != third[1]["attempt"]


async def test_a_log_that_can_not_be_written_stops_nothing(
    sqlite_database: Database, clock: ManualClock, tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a full disk under the log every letter is tried as if there were none."""
    logs.set_up(Log(to=LogPlace.FILE, file="/dev/full"), tmp_path)
    await send(sqlite_database, clock, tmp_path, server)
    assert list((await approved.states(sqlite_database, 1)).values()) == [
        "accepted",
        "refused",
        "deferred",
        "uncertain",
        "accepted",
        "refused",
        "accepted",
    ]
    assert len(capsys.readouterr().err.splitlines()) == 1


async def test_the_last_attempts_of_a_dead_process_have_their_lines(
    sqlite_database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """What its journal says is logged by whoever takes it in: a reply that came, content without one, and what never left."""
    app, number = await approved.office(sqlite_database, clock, tmp_path, approved.addresses(3))
    await app.delivery.start(number, by="anna")
    journal = Journal(tmp_path / "journal", "1")
    batches = Batches(sqlite_database, lease=dt.timedelta(seconds=120))
    run = await batches.take(number, 1, owner=journal.name, boot=boot_id(), now=clock.now())
    assert run is not None
    first, second, _ = await batches.turn(run, [], Wanted(3, "main"), now=clock.now())
    journal.begun(first.attempt, clock.now(), [], "0" * 64)
    said = Result(first.targets[0].id, Fate.ACCEPTED, reply=Reply(250, "2.0.0", "2.0.0 Ok"))
    journal.answered(first.attempt, clock.now(), [said])
    journal.begun(second.attempt, clock.now(), [], "0" * 64)
    journal.close(remove=False)
    logs.set_up(Log(to=LogPlace.FILE, format=LogForm.JSON), tmp_path)
    async with sending(app, what="test"):
        pass
    lines = {line["letter"]: line for line in json_lines(tmp_path / "chancery.log")}
    assert [lines[number]["action"] for number in (1, 2, 3)] == [
        "letter-accepted",
        "letter-uncertain",
        "letter-returned",
    ]
    assert (lines[1]["circular"], lines[1]["attempt"], lines[1]["reply"]) == (
        "TEST/2006/001",
        first.attempt,
        "2.0.0 Ok",
    )


def line_with(reply: str, form: LogForm, folder: Path) -> str:
    """What a slice with this reply writes."""
    path = folder / "chancery.log"
    path.unlink(missing_ok=True)
    logs.set_up(Log(to=LogPlace.FILE, format=form), folder)
    made = logs.lines()
    assert made is not None
    made.add(NOON, 30, "letter-refused", [("letter", 7), ("code", 550)], [("reply", reply), ("why", None)])
    made.write()
    return path.read_bytes().decode("utf-8")


NOON = dt.datetime(2006, 7, 7, 8, 0, tzinfo=dt.UTC)
HEAD = "2006-07-07T08:00:00.000Z warning letter-refused letter=7 code=550 reply="


def assert_harmless(reply: str, folder: Path) -> None:
    """Whatever was said is one field of one line, visible as it is, and names nobody."""
    text = line_with(reply, LogForm.TEXT, folder)
    assert text.startswith(HEAD)
    assert text.endswith("\n")
    assert text[:-1].isprintable()
    value = text[len(HEAD) : -1]
    if value.startswith('"') or " " in value:
        assert json.loads(value) == logs.redact(reply)
    else:
        assert value == logs.redact(reply)
    line = json.loads(line_with(reply, LogForm.JSON, folder))
    assert line == {
        "at": "2006-07-07T08:00:00.000Z",
        "level": "warning",
        "action": "letter-refused",
        "letter": 7,
        "code": 550,
        "reply": logs.redact(reply),
    }


@pytest.mark.parametrize("reply", HOSTILE)
def test_a_reply_can_not_forge_a_line(tmp_path: Path, reply: str) -> None:
    """No line end, quotation mark, control or bidi character of a reply gets beyond its field, or hides in it; nobody is named."""
    assert_harmless(reply, tmp_path)
    assert "office002@" not in logs.redact(reply)
    assert '002"@' not in logs.redact(reply)


@settings(max_examples=60)
@given(st.text())
def test_no_text_can_forge_a_line(tmp_path_factory: pytest.TempPathFactory, reply: str) -> None:
    """Nor any other text."""
    assert_harmless(reply, tmp_path_factory.getbasetemp())


@pytest.mark.corpora
def test_no_string_of_the_corpus_can_forge_a_line(tmp_path: Path) -> None:
    """Strings that broke other programs' headers stay in their field."""
    cases = json.loads((corpus("hostile") / "manifest.json").read_text(encoding="utf-8"))
    strings = [*cases["header_injection"], *cases["display_names"], *cases["envelope"]]
    assert len(strings) > 50
    for each in strings:
        assert_harmless(each, tmp_path)
