"""A rehearsal in this process: time that runs fast, silences, relays that stay away, and the circular that the rows hold."""

import datetime as dt
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from lists import contacts
from mailer.app import App
from mailer.circulars import service as circulars
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.rehearsal.faults import Faults
from mailer.rehearse import Rehearsed, rehearse
from mailer.settings import Relay, Tls
from tests.support import approved

HOUR = dt.timedelta(hours=1)


@pytest.fixture
async def office(sqlite_database: Database, clock: ManualClock, tmp_path: Path) -> App:
    """A home with an approved circular for six organizations."""
    app, _ = await approved.office(sqlite_database, clock, tmp_path, approved.addresses(6))
    return app


async def rehearsed(app: App, *rules: dict[str, Any], patience: float = 2.0) -> Rehearsed:
    """Rehearse the circular with these faults."""
    return await rehearse(app, "1", faults=Faults.from_rules(rules), patience=patience, hopeless=HOUR)


def states(done: Rehearsed) -> list[str]:
    """The state of each address, in order."""
    assert done.report is not None
    return [one.state.value for letter in done.report.letters for one in letter.recipients]


async def test_a_relay_that_is_slow_to_answer(office: App) -> None:
    """A silence that ends before we would stop waiting passes on the fast clock: all is accepted."""
    done = await rehearsed(office, {"at": "rcpt", "do": "stall", "seconds": "4m", "times": 2})
    assert states(done) == ["accepted"] * 6
    assert done.duration is not None
    assert done.duration.first >= dt.timedelta(minutes=4)


async def test_a_relay_that_falls_silent_after_a_letter(office: App) -> None:
    """A silence without end after the content leaves the letter in doubt, as it would in earnest; the others go on."""
    done = await rehearsed(office, {"at": "reply", "to": "office003@*", "do": "stall"})
    assert states(done) == ["accepted", "accepted", "uncertain", "accepted", "accepted", "accepted"]


async def test_a_silence_longer_than_our_patience_is_one_for_ever(office: App) -> None:
    """Eleven minutes are more than we wait for a relay's last word: in doubt."""
    done = await rehearsed(office, {"at": "reply", "to": "office003@*", "do": "stall", "seconds": "11m"})
    assert states(done)[2] == "uncertain"


async def test_what_is_put_off_for_ever_is_given_up(office: App) -> None:
    """The clock goes through all waits up to `give_up_after`."""
    done = await rehearsed(office, {"at": "rcpt", "to": "office002@*", "reply": "451 4.7.1 Later"})
    assert states(done)[1] == "expired"
    assert done.duration is not None
    assert dt.timedelta(days=3) < done.duration.all <= dt.timedelta(days=4)


async def test_an_outage_passes(office: App) -> None:
    """A relay that is away for a time is waited for."""
    done = await rehearsed(office, {"at": "connect", "reply": "421 4.3.2 Closed", "per": "all", "for": "30m"})
    assert states(done) == ["accepted"] * 6
    assert done.trouble is None


async def test_a_relay_that_never_comes_back_ends_it(office: App) -> None:
    """Where no letter was tried for long, waiting is no use: they are not yet sent, and the trouble is named."""
    retry = office.settings.delivery.model_copy(update={"longest_retry": 60.0})
    office.settings = office.settings.model_copy(update={"delivery": retry})
    done = await rehearsed(office, {"at": "connect", "reply": "421 4.3.2 Closed"})
    assert states(done) == ["queued"] * 6
    assert "421 4.3.2 Closed" in (done.trouble or "")
    assert done.letters == 6


@pytest.mark.parametrize("tls", list(Tls))
async def test_it_goes_by_the_relay_s_own_kind_of_connection(office: App, tls: Tls) -> None:
    """TLS and login are rehearsed as the relay has them, with a certificate and a password of the rehearsal's own."""
    relay = Relay(
        host="mail.far-away.example", tls=tls, username="circulars", password_file="gone", allow_clear_text=True
    )
    office.settings = office.settings.model_copy(update={"relays": {"main": relay}})
    assert states(await rehearsed(office)) == ["accepted"] * 6


async def test_a_corrected_mailbox_is_rehearsed_as_it_would_be_sent(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Contacts are those of today, as for the sending; nothing is written, whichever database the rows are in."""
    app, number = await approved.office(database, clock, tmp_path, approved.addresses(6))
    async with database.write() as session:
        await contacts.correct(session, 1, "new001@org.example")
    before = await approved.states(database, number)
    done = await rehearsed(app, {"at": "rcpt", "to": "office002@*", "reply": "550 5.1.1 Gone"})
    assert done.report is not None
    assert next(iter(done.report.letters)).recipients[0].address == "new001@org.example"
    assert states(done) == ["accepted", "refused", *["accepted"] * 4]
    assert await approved.states(database, number) == before


async def test_colleagues_whose_addresses_are_not_alike(
    sqlite_database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A letter in two versions, one for addresses beyond ASCII, is rehearsed like any other and leaves one file."""
    mailboxes = [["registry@first.example", "zoë@first.example"], ["office@second.example"]]
    app, _ = await approved.office(sqlite_database, clock, tmp_path, mailboxes)
    done = await rehearsed(app)
    assert states(done) == ["accepted"] * 3
    assert done.unwritten is None
    assert done.letters == 2


async def test_a_journal_elsewhere_is_left_alone(office: App, tmp_path: Path) -> None:
    """What a dead process has left in the home's journal folder waits for the home's own sending, wherever that folder is."""
    folder = tmp_path / "journals"
    folder.mkdir()
    relic = folder / "1-0123456789abcdef.flight"
    relic.write_text('["D", "00000000000000000000000000000000", "2006-07-07T08:00:00+00:00", []]\n')
    before = relic.read_text()
    away = office.settings.delivery.model_copy(update={"journal": str(folder)})
    office.settings = office.settings.model_copy(update={"delivery": away})
    assert states(await rehearsed(office)) == ["accepted"] * 6
    assert [path.name for path in folder.iterdir()] == [relic.name]
    assert relic.read_text() == before


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"at": "connect", "do": "stall"}, "queued"),
        ({"at": "ehlo", "do": "early", "then": "250 ok"}, "queued"),
        ({"at": "mail", "do": "garbage", "bytes": "no line end"}, "queued"),
        ({"at": "content", "do": "half"}, "uncertain"),
    ],
    ids=lambda value: f"{value['at']} {value['do']}" if isinstance(value, dict) else value,
)
async def test_it_ends_whatever_the_relay_does(office: App, rule: dict[str, Any], expected: str) -> None:
    """A relay that answers nobody, or nonsense, does not keep a person waiting."""
    assert states(await rehearsed(office, rule, patience=0.5)) == [expected] * 6


async def test_two_people_are_not_asked_for(sqlite_database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """Whoever drafted may rehearse the draft, though somebody else has to approve it; no reference is used up."""
    app, _ = await approved.office(sqlite_database, clock, tmp_path, approved.addresses(2))
    two = app.settings.approval.model_copy(update={"two_people": True})
    app.settings = app.settings.model_copy(update={"approval": two})
    for folder, reference in (("second", "TEST/2006/002"), ("third", "TEST/2006/003")):
        shutil.copytree(tmp_path / "meeting", tmp_path / folder)
        drafted = await circulars.new(app.desk, tmp_path / folder, by="anna")
        assert drafted.reference == reference
        assert states(await rehearse(app, str(drafted.id))) == ["accepted"] * 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may try to make a folder there")
async def test_the_report_stands_where_the_letters_can_not_be_written(office: App) -> None:
    """A disk that fails at the letters does not take the report with it."""
    done = await rehearse(office, "1", out=Path("/proc/letters"))
    assert states(done) == ["accepted"] * 6
    assert "/proc/letters" in str(done.unwritten)
