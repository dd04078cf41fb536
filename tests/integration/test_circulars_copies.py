"""The copy of a letter that was sent: a row, an account and bytes of its own, marked as what it is; never by accident."""

import datetime as dt
import email
import email.policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from sqlalchemy import select, update

from lists.models import Contact
from mailer.app import App
from mailer.circulars.copies import freeze_copy
from mailer.circulars.models import Circular
from mailer.circulars.states import CircularState
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery.proof import chain_disagreements, chain_lines, chains
from mailer.errors import BadInput, NotAllowedNow
from mailer.register.models import Link
from mailer.register.verify import verify
from mailer.replies import service as replies
from mailer.reports import letter as accounts
from mailer.transport.memory import MemoryTransport
from mailer.transport.verdict import Gone, Phase
from tests.support.approved import addresses, again, letters, office, send, states


async def _copy(app: App, letter: int, to: str | None = None) -> int:
    made, _ = await freeze_copy(app.database, app.clock, letter, to=to, by="dora", zone="Europe/Zurich")
    await app.delivery.start(made, by="dora")
    return made


def _read(data: bytes) -> EmailMessage:
    found = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


async def test_a_copy_is_marked_and_has_its_own_account(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """It says so in subject, text and HTML, follows its letter in the thread, and reaches the mailbox of the day of the copy."""
    app, circular = await office(database, clock, tmp_path, addresses(2))
    relay = MemoryTransport()
    await send(app, circular, relay)
    first = (await letters(database, circular))[0]
    async with database.write() as session:
        await session.execute(
            update(Contact).where(Contact.address == "office001@org.example").values(address="new@org.example")
        )
    clock.advance(dt.timedelta(days=3))
    made = await _copy(app, first.id)
    await again(app, relay)
    assert await states(database, made) == {"new@org.example": "accepted"}
    assert len(relay.received) == 3
    before = next(one for one in relay.received if one.recipients[0].address == "office001@org.example")
    was, now = _read(before.data), _read(relay.received[-1].data)
    assert (was["Subject"], now["Subject"]) == ("Informal meeting", "Copy: Informal meeting")
    assert now["Message-ID"] != was["Message-ID"] == now["In-Reply-To"]
    text, page = (now.get_body((kind,)).get_content().replace("\r\n", "\n") for kind in ("plain", "html"))
    assert text.startswith("Copy. First sent on 7 July 2006.\n\n")
    assert text.partition("\n\n")[2] == was.get_body(("plain",)).get_content().replace("\r\n", "\n")
    assert "<strong>Copy. First sent on 7 July 2006.</strong>" in page.partition("<body")[2]
    async with database.read() as session:
        found = await verify(session, lines=chain_lines, disagreements=chain_disagreements, chains=chains)
        assert [str(fault) for fault in found.faults] == []
        account = await accounts.account(session, await session.get_one(Circular, circular), "Organization 001", None)
        entries = (await session.execute(select(Link.chain, Link.by).where(Link.action == "letter-copied"))).all()
    assert [(name, line.state.value) for name, line in account.copies] == [("TEST/2006/001/C1", "accepted")]
    assert account.reminders == ()
    assert [tuple(entry) for entry in entries] == [(f"circular/{circular}", "dora"), (f"circular/{made}", "dora")]


async def test_a_copy_to_another_address(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """The copy goes to the address that was given, and to no other; it is also the one in the heading."""
    app, circular = await office(database, clock, tmp_path, [["to@x.example", "cc@x.example"]])
    relay = MemoryTransport()
    await send(app, circular, relay)
    made = await _copy(app, (await letters(database, circular))[0].id, "desk@x.example")
    await again(app, relay)
    assert await states(database, made) == {"desk@x.example": "accepted"}
    assert _read(relay.received[-1].data)["To"] == "desk@x.example"


@pytest.mark.parametrize("of_the_copy", [True, False])
async def test_a_copy_that_is_said_to_be_another_is_named(
    database: Database, clock: ManualClock, tmp_path: Path, of_the_copy: bool
) -> None:
    """Of which letter a circular is a copy is held against the register, for the copy and for what it was copied from."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    await send(app, circular, MemoryTransport())
    made = await _copy(app, (await letters(database, circular))[0].id)
    async with database.write() as session:
        await session.execute(
            update(Circular).where(Circular.id == (made if of_the_copy else circular)).values(copy_of=7)
        )
    async with database.read() as session:
        found = await verify(session, lines=chain_lines, disagreements=chain_disagreements, chains=chains)
    assert any("not the one that was copied" in str(fault) for fault in found.faults)


async def test_who_has_answered_may_still_ask_for_a_copy(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A reply stops reminders, not copies; an answer to a copy is an answer to the circular."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    relay = MemoryTransport()
    await send(app, circular, relay)
    await replies.record(database, clock, circular, "Organization 001", "yes", by="anna", roll=None)
    made = await _copy(app, (await letters(database, circular))[0].id)
    await again(app, relay)
    assert await states(database, made) == {"office001@org.example": "accepted"}
    async with database.read() as session:
        assert (await replies.answers_to(session, made)).id == circular


async def test_what_nobody_has_can_not_be_copied(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """A letter in doubt, a copy itself, a letter of a cancelled circular, and one without a mailbox today: refused with the mend."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    relay = MemoryTransport(lambda phase, _envelope, _to: Gone() if phase is Phase.FINAL else None)
    await send(app, circular, relay)
    (letter,) = await letters(database, circular)
    with pytest.raises(NotAllowedNow, match=r"nothing to copy.*circular resolve TEST/2006/001"):
        await _copy(app, letter.id)
    await app.delivery.resolve(circular, None, sent=True, by="anna", lease=120)
    made = await _copy(app, letter.id)
    with pytest.raises(NotAllowedNow, match="it is a copy itself"):
        await _copy(app, (await letters(database, made))[0].id)
    async with database.write() as session:
        await session.execute(update(Contact).values(valid_until=clock.now().date() - dt.timedelta(days=1)))
    with pytest.raises(BadInput, match=r"no mailbox today.*--to ADDRESS"):
        await _copy(app, letter.id)
    async with database.write() as session:
        await session.execute(update(Circular).where(Circular.id == circular).values(state=CircularState.CANCELLED))
    with pytest.raises(NotAllowedNow, match="is cancelled"):
        await _copy(app, letter.id)
