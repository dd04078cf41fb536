"""Sending again by a person's word: the failed ones, and one letter to a further address; never to who has it."""

import datetime as dt
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select, update

from lists.models import Contact
from mailer.app import App
from mailer.circulars.models import Circular, Recipient
from mailer.circulars.states import CircularState
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery import resend
from mailer.errors import BadInput, NotAllowedNow, NotFound
from mailer.register.models import Link
from mailer.reports.delivery import letter_lines
from mailer.transport.base import Envelope, Rcpt
from mailer.transport.memory import MemoryTransport
from mailer.transport.verdict import Gone, Phase
from tests.support.approved import addresses, again, letters, office, send, states
from tests.support.runs import faults


class _Relay:
    """What a relay says to each address at RCPT, by its first words; changed as a test goes on."""

    def __init__(self, **said: str) -> None:
        self.said = said
        self.memory = MemoryTransport(self._answer)

    def _answer(self, phase: Phase, _envelope: Envelope, to: Rcpt | None) -> str | None:
        if phase is not Phase.RCPT or to is None:
            return None
        return next((reply for name, reply in self.said.items() if to.address.startswith(name)), None)

    def reached(self) -> Counter[str]:
        """How often each address was sent the letter."""
        return Counter(each.address for one in self.memory.received if one.taken for each in one.recipients)


async def _resend(app: App, circular: int, expect: int, letter: int | None = None) -> int:
    return await resend.failed(app.database, app.clock, circular, by="dora", expect=expect, letter=letter)


async def _add(app: App, circular: int, letter: int, address: str, why: str = "they asked") -> str:
    return await resend.add(app.database, app.clock, circular, letter, address, why=why, by="dora")


async def _state(database: Database, circular: int) -> CircularState:
    async with database.read() as session:
        return (await session.get_one(Circular, circular)).state


async def test_what_failed_is_sent_again_with_the_same_bytes(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A refusal for policy beside a taken address goes again as it was; who has the letter gets no second one; it is sent at the end."""
    app, circular = await office(
        database, clock, tmp_path, [["good1@x.example", "late@x.example"], ["good2@x.example"]]
    )
    relay = _Relay(late="550 5.7.1 policy")
    await send(app, circular, relay.memory)
    assert await _state(database, circular) is CircularState.SENT
    relay.said.clear()
    clock.advance(dt.timedelta(days=1))
    assert await resend.look(database, circular) == resend.Failed(1, 1, 0)
    assert await _resend(app, circular, expect=1) == 1
    assert await _state(database, circular) is CircularState.SENDING
    await again(app, relay.memory)
    assert relay.reached() == {"good1@x.example": 1, "late@x.example": 1, "good2@x.example": 1}
    first, again_ = (
        [one.data for one in relay.memory.received if one.recipients[0].address == address]
        for address in ("good1@x.example", "late@x.example")
    )
    assert first == again_
    assert set((await states(database, circular)).values()) == {"accepted"}
    assert await _state(database, circular) is CircularState.SENT
    assert await faults(database) == []


async def test_the_register_says_who_had_it_sent_again(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """The entries name the coordinator and the time; the letter's attempts are counted on."""
    app, circular = await office(database, clock, tmp_path, [["dead@x.example"]])
    relay = _Relay(dead="550 5.1.1 no such user")
    await send(app, circular, relay.memory)
    clock.advance(dt.timedelta(hours=1))
    await _resend(app, circular, expect=1)
    await again(app, relay.memory)
    async with database.read() as session:
        entries = (
            await session.execute(
                select(Link.action, Link.by, Link.at).where(Link.action.in_(("recipients-resent", "circular-reopened")))
            )
        ).all()
        (line,) = await letter_lines(session, await session.get_one(Circular, circular))
    assert [(one.action, one.by) for one in entries] == [("recipients-resent", "dora"), ("circular-reopened", "dora")]
    assert {one.at for one in entries} == {clock.now()}
    assert line.attempts == 2
    assert await states(database, circular) == {"dead@x.example": "refused"}


async def test_a_doubt_is_not_sent_again_as_a_failure(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """`--failed` leaves alone what is in doubt: the relay may have it."""
    app, circular = await office(database, clock, tmp_path, [["doubt@x.example"]])
    await send(app, circular, MemoryTransport(lambda phase, _envelope, _to: Gone() if phase is Phase.FINAL else None))
    with pytest.raises(NotFound, match="nothing there has failed"):
        await _resend(app, circular, expect=1)
    assert await states(database, circular) == {"doubt@x.example": "uncertain"}


async def test_another_number_than_expected_changes_nothing(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Three letters have failed and one was expected: told, and all stays as it was."""
    app, circular = await office(database, clock, tmp_path, addresses(3))
    await send(app, circular, _Relay(office="550 5.1.1 no such user").memory)
    with pytest.raises(BadInput, match="1 letter was expected, and 3 have failed"):
        await _resend(app, circular, expect=1)
    assert set((await states(database, circular)).values()) == {"refused"}
    assert await _state(database, circular) is CircularState.SENT


async def test_one_letter_of_those_that_failed(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """With a letter's number only that letter is sent again."""
    app, circular = await office(database, clock, tmp_path, addresses(2))
    relay = _Relay(office="550 5.1.1 no such user")
    await send(app, circular, relay.memory)
    relay.said.clear()
    second = (await letters(database, circular))[1].id
    await _resend(app, circular, expect=1, letter=second)
    await again(app, relay.memory)
    assert await states(database, circular) == {"office001@org.example": "refused", "office002@org.example": "accepted"}


async def test_a_given_up_address_has_its_whole_time_again(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """What was given up after days of greylisting is tried anew, and is not given up at the first "later"."""
    app, circular = await office(database, clock, tmp_path, [["slow@x.example"]])
    relay = _Relay(slow="451 4.7.1 later")
    await send(app, circular, relay.memory)
    for _ in range(2):
        clock.advance(dt.timedelta(days=5))
        await again(app, relay.memory)
    assert await states(database, circular) == {"slow@x.example": "expired"}
    await _resend(app, circular, expect=1)
    await again(app, relay.memory)
    assert await states(database, circular) == {"slow@x.example": "deferred"}
    assert await faults(database) == []


async def test_a_corrected_mailbox_is_used_only_while_nothing_has_left(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """The refused address of a letter that never left follows its contact; that of a letter which left for others does not."""
    app, circular = await office(database, clock, tmp_path, [["old1@x.example"], ["old2@x.example", "good@x.example"]])
    relay = _Relay(old="550 5.1.1 no such user")
    await send(app, circular, relay.memory)
    async with database.write() as session:
        for number in (1, 2):
            await session.execute(
                update(Contact)
                .where(Contact.address == f"old{number}@x.example")
                .values(address=f"new{number}@x.example")
            )
    await _resend(app, circular, expect=2)
    await again(app, relay.memory)
    assert await states(database, circular) == {
        "new1@x.example": "accepted",
        "old2@x.example": "refused",
        "good@x.example": "accepted",
    }
    assert relay.reached() == {"new1@x.example": 1, "good@x.example": 1}
    assert await faults(database) == []


async def test_a_withheld_letter_goes_once_its_contact_is_right_again(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A contact that had ended is withheld again while it has ended, and written to once it has not."""
    app, circular = await office(database, clock, tmp_path, [["box@x.example"]])
    relay = _Relay()

    async def until(day: dt.date | None) -> None:
        async with database.write() as session:
            await session.execute(update(Contact).values(valid_until=day))

    await until(clock.now().date() - dt.timedelta(days=1))
    await send(app, circular, relay.memory)
    await _resend(app, circular, expect=1)
    await again(app, relay.memory)
    assert (await states(database, circular), relay.reached()) == ({"box@x.example": "withheld"}, {})
    await until(None)
    await _resend(app, circular, expect=1)
    await again(app, relay.memory)
    assert (await states(database, circular), relay.reached()) == ({"box@x.example": "accepted"}, {"box@x.example": 1})


async def test_a_withheld_address_of_a_letter_that_left_stays_withheld(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Nobody would look at its contact any more, so `--failed` passes it over and counts it for the person."""
    app, circular = await office(database, clock, tmp_path, [["good@x.example", "ended@x.example"]])
    past = clock.now().date() - dt.timedelta(days=1)
    async with database.write() as session:
        await session.execute(update(Contact).where(Contact.address == "ended@x.example").values(valid_until=past))
    await send(app, circular, _Relay().memory)
    assert await resend.look(database, circular) == resend.Failed(0, 0, 1)
    with pytest.raises(NotFound, match=r"only withheld addresses are left.*resend TEST/2006/001 --letter"):
        await _resend(app, circular, expect=0)


async def test_a_further_address_gets_the_letter_as_it_stands(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """It gets the same bytes, is named in no header, and stands with who and why in register and account."""
    app, circular = await office(database, clock, tmp_path, [["good@x.example"]])
    relay = _Relay()
    await send(app, circular, relay.memory)
    clock.advance(dt.timedelta(days=2))
    (letter,) = await letters(database, circular)
    assert await _add(app, circular, letter.id, " New@X.example ", "asked  by telephone") == "New@x.example"
    await again(app, relay.memory)
    first, second = relay.memory.received
    assert [one.address for one in second.recipients] == ["New@x.example"]
    assert first.data == second.data
    assert b"New@" not in second.data
    async with database.read() as session:
        (line,) = await letter_lines(session, await session.get_one(Circular, circular))
        entry = (await session.scalars(select(Link).where(Link.action == resend.ADDED))).one()
    assert [one.added for one in line.recipients] == ["", "dora: asked by telephone"]
    assert (entry.by, entry.subject["address"], entry.subject["why"]) == ("dora", "New@x.example", "asked by telephone")
    assert await _state(database, circular) is CircularState.SENT
    assert await faults(database) == []


async def test_a_further_address_of_a_withheld_letter_is_named_in_its_heading(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Where no approved mailbox is left that could stand under To, the added one does: a letter without any could not be made."""
    app, circular = await office(database, clock, tmp_path, [["ended@x.example"]])
    async with database.write() as session:
        await session.execute(update(Contact).values(valid_until=clock.now().date() - dt.timedelta(days=1)))
    relay = _Relay()
    await send(app, circular, relay.memory)
    (letter,) = await letters(database, circular)
    await _add(app, circular, letter.id, "new@x.example")
    await again(app, relay.memory)
    assert await states(database, circular) == {"ended@x.example": "withheld", "new@x.example": "accepted"}
    assert b"To: new@x.example" in relay.memory.received[0].data
    assert await faults(database) == []


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("GOOD@x.example", "it has this letter already"),
        ("dead@x.example", "this letter was refused there"),
        ("slow@x.example", "tried again there by itself"),
    ],
)
async def test_who_has_the_letter_does_not_get_it_by_accident(
    database: Database, clock: ManualClock, tmp_path: Path, address: str, words: str
) -> None:
    """An address that the letter went to, or will go to, is refused in whatever case it is typed, with what to do instead."""
    boxes = [["good@x.example", "dead@x.example", "slow@x.example"]]
    app, circular = await office(database, clock, tmp_path, boxes)
    await send(app, circular, _Relay(dead="550 5.1.1 no", slow="451 4.2.2 full").memory)
    (letter,) = await letters(database, circular)
    with pytest.raises(NotAllowedNow, match=words):
        await _add(app, circular, letter.id, address)
    assert len(await states(database, circular)) == 3


async def test_a_doubtful_address_is_settled_before_it_gets_another(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """An address that may have the letter is refused, and the remedy is `resolve`."""
    app, circular = await office(database, clock, tmp_path, [["doubt@x.example"]])
    await send(app, circular, MemoryTransport(lambda phase, _envelope, _to: Gone() if phase is Phase.FINAL else None))
    (letter,) = await letters(database, circular)
    with pytest.raises(NotAllowedNow, match=r"in doubt.*circular resolve TEST/2006/001"):
        await _add(app, circular, letter.id, "doubt@x.example")


async def test_what_can_not_be_sent_again_is_told(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """No address, no reason, no such letter, a circular that was not sent or was cancelled: refused, and nothing is written."""
    app, circular = await office(database, clock, tmp_path, [["good@x.example"]])
    (letter,) = await letters(database, circular)
    with pytest.raises(NotAllowedNow, match="not been sent yet"):
        await _add(app, circular, letter.id, "new@x.example")
    await send(app, circular, _Relay().memory)
    with pytest.raises(BadInput, match="not an e-mail address"):
        await _add(app, circular, letter.id, "nobody")
    with pytest.raises(BadInput, match="needs a reason"):
        await _add(app, circular, letter.id, "new@x.example", "  ")
    with pytest.raises(NotFound, match="no letter 999"):
        await _add(app, circular, 999, "new@x.example")
    async with database.write() as session:
        await session.execute(update(Circular).values(state=CircularState.CANCELLED))
    with pytest.raises(NotAllowedNow, match="is cancelled"):
        await _resend(app, circular, expect=1)
    assert len(await states(database, circular)) == 1


@pytest.mark.parametrize(
    "change", [{"address": "spy@x.example"}, {"role": "cc"}, {"contact_id": 1}, {"letter_id": 2}, {"name": "Spy"}]
)
async def test_an_added_recipient_that_was_changed_is_named(
    database: Database, clock: ManualClock, tmp_path: Path, change: dict[str, object]
) -> None:
    """Whatever of an added recipient is changed behind the register's back is named."""
    app, circular = await office(database, clock, tmp_path, addresses(2))
    await send(app, circular, _Relay().memory)
    await _add(app, circular, (await letters(database, circular))[0].id, "new@x.example")
    assert await faults(database) == []
    async with database.write() as session:
        await session.execute(update(Recipient).where(Recipient.address == "new@x.example").values(**change))
    assert any("not the one that was added" in fault for fault in await faults(database))
