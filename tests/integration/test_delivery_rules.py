"""Rules of sending, one by one: versions, a machine that sleeps, letters that can't be made, journals that are away, contacts that changed."""

import datetime as dt
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select, update

from lists import contacts
from lists.contacts import Mail
from lists.kinds import Role
from lists.models import Organization
from mailer.app import App
from mailer.circulars import frozen
from mailer.circulars.models import Circular, Letter, Snapshot
from mailer.circulars.states import CircularState
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery import resend
from mailer.delivery.batches import Batches
from mailer.delivery.due import Wanted
from mailer.delivery.journal import SUFFIX, Journal, boot_id
from mailer.transport.base import Envelope, Rcpt
from mailer.transport.memory import MemoryTransport
from mailer.transport.verdict import Phase
from tests.support.approved import addresses, again, letters, office, recipient, send, states


def _copies(transport: MemoryTransport) -> Counter[str]:
    return Counter(each.address for one in transport.received for each in one.recipients)


# --- versions -----------------------------------------------------------------------------------------------------


async def test_another_composer_version_waits_and_says_so(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A circular that another version approved is held with what to do; nothing of it leaves; with that version it goes on."""
    app, circular = await office(database, clock, tmp_path, addresses(2))

    async def version(number: int) -> None:
        async with database.write() as session:
            document = await session.scalar(select(Snapshot.document).where(Snapshot.circular_id == circular))
            await session.execute(update(Snapshot).values(document={**document, "composer": number}))

    await version(frozen.COMPOSER + 1)
    relay = MemoryTransport()
    await send(app, circular, relay)
    held = (await app.delivery.progress(circular)).held_why or ""
    assert "it was approved by another version of the program" in held
    assert "inish it with that version" in held
    assert relay.received == []
    assert set((await states(database, circular)).values()) == {"queued"}
    await version(frozen.COMPOSER)
    await send(app, circular, relay)
    assert _copies(relay) == {"office001@org.example": 1, "office002@org.example": 1}


# --- a machine that sleeps ----------------------------------------------------------------------------------------


async def test_a_machine_that_slept_after_the_claim_starts_no_content(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Woken past half the lease, the open letters go back without a try and leave once under a new claim."""
    app, circular = await office(database, clock, tmp_path, addresses(3))
    slept = False

    def sleeps(phase: Phase, _envelope: Envelope, _to: Rcpt | None) -> None:
        nonlocal slept
        if phase is Phase.DATA and not slept:
            slept = True
            clock.advance(dt.timedelta(seconds=app.settings.delivery.lease * 0.75))

    relay = MemoryTransport(sleeps, lanes=1)
    await send(app, circular, relay)
    for _ in range(5):
        clock.advance(dt.timedelta(minutes=5))
        await again(app, relay)
    assert slept
    assert _copies(relay) == dict.fromkeys(await states(database, circular), 1)
    assert set((await states(database, circular)).values()) == {"accepted"}
    assert (await recipient(database, "office001@org.example")).tries == 1


# --- letters that can't be made -----------------------------------------------------------------------------------


async def test_a_letter_that_can_not_be_made_stops_no_other_and_is_named(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """It is told with the reason, the others leave, and once it can be made `resend --failed` sends it."""
    app, circular = await office(database, clock, tmp_path, addresses(3))
    broken = (await letters(database, circular))[1]
    async with database.write() as session:
        await session.execute(update(Letter).where(Letter.id == broken.id).values(fields={}))
    relay = MemoryTransport()
    await send(app, circular, relay)
    assert _copies(relay) == {"office001@org.example": 1, "office003@org.example": 1}
    refused = await recipient(database, "office002@org.example")
    assert (refused.state.value, refused.code) == ("refused", None)
    assert "the letter could not be made: " in (refused.why or "")
    assert "organization" in (refused.why or "")
    async with database.write() as session:
        await session.execute(update(Letter).where(Letter.id == broken.id).values(fields=broken.fields))
    await resend.failed(database, clock, circular, by="dora", expect=1)
    await again(app, relay)
    assert _copies(relay) == {f"office00{number}@org.example": 1 for number in (1, 2, 3)}


# --- journals that are away ---------------------------------------------------------------------------------------


async def _claimed(app: App, circular: int, boot: str) -> tuple[Journal, Path]:
    """A process that claimed a letter and died before its content; its journal, and the journal's file."""
    folder = app.home / app.settings.delivery.journal
    journal = Journal(folder, "1")
    async with app.database.write() as session:
        await session.execute(update(Circular).values(state=CircularState.APPROVED))
    await app.delivery.start(circular, by="anna")
    batches = Batches(app.database, lease=dt.timedelta(seconds=app.settings.delivery.lease))
    run = await batches.take(circular, 1, owner=journal.name, boot=boot, now=app.clock.now())
    assert run is not None
    assert await batches.turn(run, [], Wanted(50, "main"), now=app.clock.now())
    (file,) = folder.glob(f"*{SUFFIX}")
    return journal, file


async def test_a_journal_that_turns_up_later_puts_back_what_never_left(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Without its journal a claimed letter is in doubt and stays here; once the journal is back and names no content, it leaves once."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    journal, file = await _claimed(app, circular, boot_id())
    away = file.rename(tmp_path / "away")
    journal.close(remove=False)
    relay = MemoryTransport()
    clock.advance(dt.timedelta(minutes=5))
    await again(app, relay)
    assert await states(database, circular) == {"office001@org.example": "uncertain"}
    assert relay.received == []
    away.rename(file)
    await again(app, relay)
    assert await states(database, circular) == {"office001@org.example": "accepted"}
    assert _copies(relay) == {"office001@org.example": 1}


async def test_a_journal_that_turns_up_after_a_person_spoke_changes_nothing(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Settled meanwhile as sent, the letter stays so: a late journal without content does not send it."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    journal, file = await _claimed(app, circular, boot_id())
    away = file.rename(tmp_path / "away")
    journal.close(remove=False)
    relay = MemoryTransport()
    clock.advance(dt.timedelta(minutes=5))
    await again(app, relay)
    await app.delivery.resolve(circular, None, sent=True, by="dora", lease=app.settings.delivery.lease)
    away.rename(file)
    await again(app, relay)
    assert await states(database, circular) == {"office001@org.example": "accepted"}
    assert relay.received == []


async def test_after_a_power_cut_the_journal_is_not_believed(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """The machine was started anew: lines may be missing from the journal, so what was claimed is in doubt and stays here."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    journal, _ = await _claimed(app, circular, "before-the-power-cut")
    journal.close(remove=False)
    relay = MemoryTransport()
    clock.advance(dt.timedelta(minutes=5))
    await again(app, relay)
    assert await states(database, circular) == {"office001@org.example": "uncertain"}
    assert (
        await recipient(database, "office001@org.example")
    ).why == "the machine stopped while the letter was being sent"
    assert relay.received == []


# --- contacts that changed since the approval ---------------------------------------------------------------------


async def test_a_retired_organization_is_withheld(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """An organization that has ended since the approval is not written to; the reason is told."""
    app, circular = await office(database, clock, tmp_path, addresses(2))
    async with database.write() as session:
        await session.execute(
            update(Organization).where(Organization.name == "Organization 001").values(retired_on=clock.now().date())
        )
    relay = MemoryTransport()
    await send(app, circular, relay)
    assert await states(database, circular) == {
        "office001@org.example": "withheld",
        "office002@org.example": "accepted",
    }
    assert "ended since the approval" in ((await recipient(database, "office001@org.example")).why or "")


@pytest.mark.parametrize("role", [Role.TO, Role.CC])
async def test_a_new_contact_is_not_added(database: Database, clock: ManualClock, tmp_path: Path, role: Role) -> None:
    """A mailbox that came after the approval gets nothing, and stands in no heading."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    async with database.write() as session:
        number = await session.scalar(select(Organization.id))
        await contacts.add(session, number, Mail("new@org.example", role=role))
    relay = MemoryTransport()
    await send(app, circular, relay)
    assert _copies(relay) == {"office001@org.example": 1}
    assert b"new@org.example" not in relay.received[0].data
