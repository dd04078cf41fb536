"""Cancelled circulars, what the account says of letters that began, and runs that are not taken over."""

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from lists import contacts
from lists.models import Contact
from mailer.actions import Actions
from mailer.circulars import rows as circular_rows
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery import send as sending_of_batches
from mailer.delivery.batches import Batches, call_for
from mailer.delivery.claims import Run
from mailer.delivery.due import NOTHING, Wanted
from mailer.delivery.journal import SUFFIX, Journal, boot_id
from mailer.delivery.models import Attempt, Outcome
from mailer.delivery.turns import Told
from mailer.engine import embedded
from mailer.errors import ChanceryError, DatabaseError
from mailer.transport.base import Envelope, Fate, Gate, Landed, Payload, Rcpt, Reply, Result, Scope
from mailer.transport.memory import MemoryTransport
from mailer.transport.verdict import Gone, Phase
from tests.support.approved import (
    addresses,
    again,
    letters,
    office,
    running,
    send,
    states,
)
from tests.support.runs import (
    at_phase,
    begin,
    copies,
    faults,
    well,
    with_reminder,
)

# --- cancelled is cancelled ---------------------------------------------------------------------------------------


async def test_a_death_before_a_cancellation_leaves_nothing_waiting(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """What a dead process held of a circular that was cancelled since is cancelled when it is put back, not queued for ever."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    await app.delivery.start(circular, by="anna")
    dead = Journal(tmp_path / "journal", "1")
    await begin(app, circular, dead.name)
    dead.close(remove=False)
    await app.delivery.cancel(circular, by="anna")
    await again(app, MemoryTransport())
    assert await states(database, circular) == {"office001@org.example": "cancelled"}


async def test_no_letter_of_a_cancelled_circular_is_promised_again(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """`resolve --resend` of a cancelled circular is refused: a recipient queued there would wait for ever."""
    app, circular = await office(database, clock, tmp_path, [["doubt@org.example"], ["slow@org.example"]])

    def script(phase: Phase, envelope: Envelope, _to: Rcpt | None) -> Any:
        if envelope.recipients[0].address == "slow@org.example":
            return "451 4.7.1 later" if phase is Phase.RCPT else None
        return Gone() if phase is Phase.FINAL else None

    await send(app, circular, MemoryTransport(script))
    await app.delivery.cancel(circular, by="anna")
    with suppress(ChanceryError):
        await app.delivery.resolve(circular, None, sent=False, by="anna", lease=120)
    assert (await states(database, circular))["doubt@org.example"] != "queued"


async def test_cancelling_does_not_call_a_doubt_cancelled(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A letter whose content went out and that waits to be sent again is in doubt when its circular is cancelled: it may be there."""
    app, circular = await office(database, clock, tmp_path, addresses(1), on_uncertain="resend")
    await send(app, circular, MemoryTransport(at_phase(Phase.FINAL, Gone)))
    await app.delivery.cancel(circular, by="anna")
    assert await states(database, circular) == {"office001@org.example": "uncertain"}


async def test_a_doubtful_letter_that_lapses_stays_in_doubt(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A reminder that may have arrived, and whose organization has answered before it went again, is in doubt and not called off."""
    app, circular = await office(database, clock, tmp_path, addresses(1), on_uncertain="resend")
    await send(app, circular, MemoryTransport(at_phase(Phase.FINAL, Gone)))
    assert await states(database, circular) == {"office001@org.example": "deferred"}
    clock.advance(dt.timedelta(days=1))

    async def answered(_session: AsyncSession, _circular: int, letters: Mapping[int, int]) -> Mapping[int, str]:
        return dict.fromkeys(letters, "it has answered since")

    lease = dt.timedelta(seconds=app.settings.delivery.lease)
    batches = Batches(database, lease=lease, no_longer_due=answered)
    run = await batches.take(circular, 1, owner="1-another", boot=boot_id(), now=clock.now())
    assert run is not None
    assert await batches.turn(run, [], Wanted(10, "main"), now=clock.now()) == []
    await batches.leave(run, [], now=clock.now())
    assert await states(database, circular) == {"office001@org.example": "uncertain"}
    assert await faults(database) == []


@pytest.mark.parametrize("verb", ["pause", "cancel"])
async def test_a_reminder_being_written_stops_with_its_circular(
    database: Database, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """A circular paused or cancelled while the rows of its reminder are being written does not remind."""
    app, _other = await office(database, clock, tmp_path, addresses(1))
    circular, organizations = await with_reminder(app, tmp_path)
    relay = MemoryTransport(at_phase(Phase.RCPT, lambda: "451 4.7.1 later"))
    await send(app, circular, relay)
    relay.script = well
    write, said = circular_rows.write_next, False

    async def interrupted(*arguments: Any) -> Any:
        nonlocal said
        if not said:
            said = True
            await getattr(app.delivery, verb)(circular, by="anna")
        return await write(*arguments)

    monkeypatch.setattr(circular_rows, "write_next", interrupted)
    async with running(app, relay) as made:
        with suppress(ChanceryError):
            await Actions(app, made.delivery).remind(circular, 1, organizations)
        await made.work(until=lambda due: due is None or due > clock.now())
    assert said
    assert relay.received == []


# --- what the account says, and the bytes -------------------------------------------------------------------------


async def test_what_may_have_left_keeps_its_mailboxes_and_date(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A letter that a frozen run left in doubt goes again, by a person's word, with the mailboxes and the date it was claimed with."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    await app.delivery.start(circular, by="anna")
    batches, _frozen_run, (first,) = await begin(app, circular)
    clock.advance(dt.timedelta(seconds=app.settings.delivery.lease + 1))
    run = await batches.take(circular, 1, owner="1-another", boot=boot_id(), now=clock.now())
    assert run is not None
    async with database.write() as session:
        contact = (await session.scalars(select(Contact))).one()
        await contacts.correct(session, contact.id, "other@org.example")
    await app.delivery.resolve(circular, None, sent=False, by="anna", lease=0)
    (second,) = await batches.turn(run, [], Wanted(10, "main"), now=clock.now())
    assert (second.dated, second.to, second.targets[0].address) == (first.dated, first.to, "office001@org.example")


async def test_a_frozen_runs_letters_are_sent_again_where_the_circular_chose_so(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """`on_uncertain = "resend"` holds for a run that was fenced as it holds for one that died."""
    app, circular = await office(database, clock, tmp_path, addresses(1), on_uncertain="resend")
    await app.delivery.start(circular, by="anna")
    batches, _frozen_run, _claims = await begin(app, circular)
    clock.advance(dt.timedelta(seconds=app.settings.delivery.lease + 1))
    assert await batches.take(circular, 1, owner="1-another", boot=boot_id(), now=clock.now())
    assert await states(database, circular) == {"office001@org.example": "deferred"}


async def test_a_settled_address_stands_when_its_contact_is_corrected(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A recipient that was refused keeps the address it was refused for, while another of its letter is tried again."""

    def script(phase: Phase, _envelope: Envelope, to: Rcpt | None) -> str | None:
        if phase is not Phase.RCPT or to is None:
            return None
        return "550 5.1.1 no such user" if to.address == "dead@org.example" else "451 4.7.1 later"

    app, circular = await office(database, clock, tmp_path, [["dead@org.example", "slow@org.example"]])
    relay = MemoryTransport(script)
    await send(app, circular, relay)
    async with database.write() as session:
        await session.execute(
            update(Contact).where(Contact.address == "dead@org.example").values(address="alive@org.example")
        )
    relay.script = well
    clock.advance(dt.timedelta(hours=1))
    await again(app, relay)
    assert copies(relay) == {"slow@org.example": 1}
    assert await states(database, circular) == {"dead@org.example": "refused", "slow@org.example": "accepted"}


async def test_content_that_left_before_a_death_fixes_the_letter(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A letter whose content went out and came back for our account's fault keeps its bytes after a kill, and the account agrees."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    await app.delivery.start(circular, by="anna")
    dead = Journal(tmp_path / "journal", "1")
    _rows, _run, (claim,) = await begin(app, circular, dead.name)
    denied = Reply(554, "5.2.0", "5.2.0 SendAsDenied; not allowed")
    dead.begun(claim.attempt, clock.now(), [], "0" * 64)
    dead.answered(
        claim.attempt, clock.now(), [Result(claim.targets[0].id, Fate.NOT_TRIED, Scope.HOLD, denied, "not allowed")]
    )
    dead.close(remove=False)
    await app.delivery.pause(circular, by="anna")
    await again(app, MemoryTransport())
    assert await states(database, circular) == {"office001@org.example": "queued"}
    (letter,) = await letters(database, circular)
    async with database.read() as session:
        attempt = (await session.scalars(select(Attempt))).one()
        outcome = (await session.scalars(select(Outcome))).one()
    assert attempt.sha256 == outcome.sha256
    assert letter.left_at is not None


# --- subtle rules that hold ---------------------------------------------------------------------------------------


async def test_a_run_is_not_taken_over_while_it_lives(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """A batch whose run showed a sign of life within the lease is not due and can't be taken; after it, by a newer run only."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    await app.delivery.start(circular, by="anna")
    batches, run, _claims = await begin(app, circular)
    lease = dt.timedelta(seconds=app.settings.delivery.lease)
    clock.advance(lease)
    assert await batches.due(clock.now(), 10, ()) == []
    assert await batches.take(circular, 1, owner="1-another", boot=boot_id(), now=clock.now()) is None
    await batches.turn(run, [], NOTHING, now=clock.now())
    clock.advance(lease)
    assert await batches.take(circular, 1, owner="1-another", boot=boot_id(), now=clock.now()) is None
    clock.advance(dt.timedelta(seconds=1))
    newer = await batches.take(circular, 1, owner="1-another", boot=boot_id(), now=clock.now())
    assert newer is not None
    assert newer.number == run.number + 1


async def test_a_journal_is_kept_for_outcomes_that_no_transaction_took(
    database: Database, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that ends without having written an answer leaves its journal, and the next start takes the answer from it."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    monkeypatch.setattr(sending_of_batches, "_TURN_WAIT", 0.0)
    monkeypatch.setattr(embedded, "_PENANCE", 0.0)
    relay = MemoryTransport()
    with monkeypatch.context() as patch:
        turn = Batches.turn

        async def broken(self: Batches, run: Run, told: Sequence[Told], *more: Any, **named: Any) -> Any:
            if told:
                raise DatabaseError("the disk is full", where="here")
            return await turn(self, run, told, *more, **named)

        async def never(self: Batches, run: Run, told: Sequence[Told], **named: Any) -> None:
            raise DatabaseError("the disk is full", where="here")

        patch.setattr(Batches, "turn", broken)
        patch.setattr(Batches, "leave", never)
        async with running(app, relay) as made:
            await made.delivery.start(circular, by="anna")
            working = asyncio.create_task(made.work())
            while not relay.received:  # noqa: ASYNC110 - the relay rings no bell
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            made.stop()
            with suppress(DatabaseError):
                await working
    assert list((tmp_path / "journal").glob(f"*{SUFFIX}"))
    await again(app, relay)
    assert await states(database, circular) == {"office001@org.example": "accepted"}
    assert len(relay.received) == 1
    assert not list((tmp_path / "journal").glob(f"*{SUFFIX}"))


class Forgetful(MemoryTransport):
    """A transport with a fault of ours: it has letters that it says nothing of."""

    def post(self, envelope: Envelope, payload: Payload, gate: Gate, landed: Landed) -> None:
        forgotten = "office01" in envelope.recipients[0].address
        super().post(envelope, payload, gate, lambda outcome: landed([] if forgotten else outcome))


async def test_a_letter_of_which_we_know_nothing_is_not_put_back(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Where our own program can't say what became of a letter that left, it stops, and the letter is in doubt: it is not sent again."""
    app, circular = await office(database, clock, tmp_path, [["office01@x.test"], ["office02@x.test"]])
    relay = Forgetful()
    async with running(app, relay) as made:
        await made.delivery.start(circular, by="anna")
        with pytest.raises(KeyError):
            await made._sender(call_for(circular, 1))
    assert await states(database, circular) == {"office01@x.test": "sending", "office02@x.test": "accepted"}
    clock.advance(dt.timedelta(seconds=app.settings.delivery.lease + 1))
    await again(app, relay)
    assert (await states(database, circular))["office01@x.test"] in {"accepted", "uncertain"}
    assert set(copies(relay).values()) == {1}
