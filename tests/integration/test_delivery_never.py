"""What a death or a late word must not lose or double."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from mailer.app import App
from mailer.circulars.models import Letter, Recipient
from mailer.circulars.states import CircularState, RecipientState
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery import send as sending_of_batches
from mailer.delivery.batches import Batches, Fenced
from mailer.delivery.claims import Claim, Run
from mailer.delivery.due import NOTHING, Wanted
from mailer.delivery.journal import boot_id
from mailer.delivery.models import Outcome
from mailer.delivery.turns import Told
from mailer.engine import embedded
from mailer.errors import DatabaseError, HomeBusy
from mailer.transport.base import Envelope, Rcpt
from mailer.transport.memory import MemoryTransport
from mailer.transport.verdict import Gone, Phase
from tests.support.approved import (
    MINUTES,
    addresses,
    again,
    office,
    recipient,
    running,
    send,
    states,
)
from tests.support.runs import (
    at_phase,
    begin,
    circular_row,
    copies,
    faults,
    killed,
    told_of,
    well,
)

# --- never twice --------------------------------------------------------------------------------------------------


async def test_a_doubt_that_is_written_down_is_no_proof_for_the_next_start(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A letter in doubt is not put back because the journal, having been emptied, knows nothing of it any more."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    relay = MemoryTransport(at_phase(Phase.FINAL, Gone))
    with killed(tmp_path):
        await send(app, circular, relay)
    assert await states(database, circular) == {"office001@org.example": "uncertain"}
    relay.script = well
    await again(app, relay)
    assert await states(database, circular) == {"office001@org.example": "uncertain"}
    assert len(relay.received) == 1


async def test_a_choice_to_send_again_has_an_end(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """With `on_uncertain = "resend"` a relay that never answers the dot gets a letter a few times over days, not every two minutes."""
    app, circular = await office(database, clock, tmp_path, addresses(1), on_uncertain="resend")
    relay = MemoryTransport(at_phase(Phase.FINAL, Gone))
    async with running(app, relay) as made:
        await made.delivery.start(circular, by="anna")
        for _ in range(60):
            await made.work(until=lambda due: due is None or due > clock.now())
            clock.advance(2 * MINUTES)
    assert len(relay.received) <= 6


async def test_a_late_yes_is_heard_before_the_second_copy_leaves(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """`resolve --resend` waits out the lease so that a late result can still come; one that comes then keeps the letter from leaving."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    await app.delivery.start(circular, by="anna")
    batches, frozen_run, (claim,) = await begin(app, circular)
    clock.advance(dt.timedelta(seconds=app.settings.delivery.lease + 1))
    assert await batches.take(circular, 1, owner="1-another", boot=boot_id(), now=clock.now())
    await app.delivery.resolve(circular, None, sent=False, by="anna", lease=app.settings.delivery.lease)
    with pytest.raises(Fenced):
        told = [told_of(claim, RecipientState.ACCEPTED, clock.now())]
        await batches.turn(frozen_run, told, NOTHING, now=clock.now())
    assert await states(database, circular) == {"office001@org.example": "accepted"}


async def test_a_home_elsewhere_on_the_same_rows_is_a_second_sender(
    sqlite_database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """The lock lies beside the SQLite file: two homes whose settings name one file do not send from it at once."""
    app, _circular = await office(sqlite_database, clock, tmp_path, addresses(1))
    other_home = tmp_path / "other"
    other_home.mkdir()
    other = App(home=other_home, settings=app.settings, database=sqlite_database, clock=clock, by="bert")
    async with running(app, MemoryTransport()):
        with pytest.raises(HomeBusy):
            async with running(other, MemoryTransport()):
                pass


# --- never lost ---------------------------------------------------------------------------------------------------


async def test_a_late_deferral_is_worked_at(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """A fenced run that brings "try again later" for a batch that is done by then opens batch and circular again."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    await app.delivery.start(circular, by="anna")
    batches, frozen_run, (claim,) = await begin(app, circular)
    clock.advance(dt.timedelta(seconds=app.settings.delivery.lease + 1))
    second = await batches.take(circular, 1, owner="1-another", boot=boot_id(), now=clock.now())
    assert second is not None
    await batches.leave(second, [], now=clock.now())
    assert (await circular_row(database, circular)).state is CircularState.SENT
    with pytest.raises(Fenced):
        told = [told_of(claim, RecipientState.DEFERRED, clock.now(), next_at=clock.now() + 15 * MINUTES)]
        await batches.turn(frozen_run, told, NOTHING, now=clock.now())
    assert await states(database, circular) == {"office001@org.example": "deferred"}
    assert (await circular_row(database, circular)).state is CircularState.SENDING
    assert await batches.due(clock.now() + dt.timedelta(days=1), 10, ())


async def test_days_without_a_relay_are_no_tries(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """A relay that can't be reached for a week counts no try against a letter, and no letter is given up for it."""
    app, circular = await office(database, clock, tmp_path, [["first@org.example"], ["second@org.example"]])
    relay = MemoryTransport(lanes=1)
    relay.script = lambda phase, _e, _to: (
        ConnectionRefusedError() if phase is Phase.CONNECT and relay.received else None
    )
    async with running(app, relay) as made:
        await made.delivery.start(circular, by="anna")
        for step in [6 * MINUTES] * 20 + [dt.timedelta(hours=12)] * 14:
            await made.work(until=lambda due: due is None or due > clock.now())
            clock.advance(step)
    row = await recipient(database, "second@org.example")
    assert (row.state, row.tries) == ("queued", 0)


async def test_giving_up_counts_from_the_first_try(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """A letter that waited a week for its relay, or for a person, and is then greylisted is tried again, not given up at once."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    relay = MemoryTransport(at_phase(Phase.CONNECT, ConnectionRefusedError))
    await send(app, circular, relay)
    assert (await recipient(database, "office001@org.example")).tries == 0
    clock.advance(dt.timedelta(days=7))
    relay.script = at_phase(Phase.RCPT, lambda: "451 4.7.1 Greylisted")
    await again(app, relay)
    row = await recipient(database, "office001@org.example")
    assert (row.state, row.tries) == ("deferred", 1)


async def test_what_was_heard_is_told_when_the_database_is_back(
    database: Database, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that could not be written for a while is kept and told again by the same process; it does not become a doubt."""
    app, circular = await office(database, clock, tmp_path, addresses(2))
    monkeypatch.setattr(sending_of_batches, "_TURN_WAIT", 0.0)
    monkeypatch.setattr(embedded, "_PENANCE", 0.0)
    turn, leave, trouble = Batches.turn, Batches.leave, True
    relay = MemoryTransport()

    async def broken_turn(self: Batches, run: Run, told: Sequence[Told], *more: Any, **named: Any) -> list[Claim]:
        if told and trouble:
            raise DatabaseError("the disk is full", where="here")
        return await turn(self, run, told, *more, **named)

    async def broken_leave(self: Batches, run: Run, told: Sequence[Told], **named: Any) -> None:
        nonlocal trouble
        if told and trouble:
            trouble = False
            raise DatabaseError("the disk is full", where="here")
        await leave(self, run, told, **named)

    monkeypatch.setattr(Batches, "turn", broken_turn)
    monkeypatch.setattr(Batches, "leave", broken_leave)
    await send(app, circular, relay)  # it ends when nothing is due: the batch that it could not let go of is
    assert set((await states(database, circular)).values()) == {"accepted"}
    assert (len(relay.received), trouble) == (2, False)
    assert await faults(database) == []


async def test_a_batch_whose_taking_was_not_heard_of_is_taken_again(
    database: Database, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost in the middle of a commit that was made: the process that it has the batch for works at it, and waits for no lease."""
    app, circular = await office(database, clock, tmp_path, addresses(2))
    monkeypatch.setattr(embedded, "_PENANCE", 0.0)
    take, lost = Batches.take, 0

    async def unheard(self: Batches, *which: Any, **named: Any) -> Run | None:
        nonlocal lost
        run = await take(self, *which, **named)
        if not lost:
            lost = 1
            raise DatabaseError("the server went away", where="here")
        return run

    monkeypatch.setattr(Batches, "take", unheard)
    await send(app, circular, MemoryTransport())
    assert (lost, set((await states(database, circular)).values())) == (1, {"accepted"})


async def test_what_a_lost_commit_has_written_is_not_written_twice(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A turn that is tried again because its commit was not heard of, and was made, tells each outcome once."""
    app, circular = await office(database, clock, tmp_path, addresses(2))
    await app.delivery.start(circular, by="anna")
    batches, run, claims = await begin(app, circular)
    taken, back = claims
    told = [
        told_of(taken, RecipientState.ACCEPTED, clock.now()),
        replace(told_of(back, RecipientState.QUEUED, clock.now(), left=False), fruitless=True),
    ]
    await batches.turn(run, told, NOTHING, now=clock.now())
    clock.advance(dt.timedelta(seconds=2))
    await batches.turn(run, told, NOTHING, now=clock.now(), again=True)
    clock.advance(dt.timedelta(seconds=2))
    await batches.leave(run, told, now=clock.now())
    async with database.read() as session:
        assert await session.scalar(select(func.count()).select_from(Outcome)) == 2
        assert list(await session.scalars(select(Letter.fruitless).order_by(Letter.id))) == [0, 1]
    assert list((await states(database, circular)).values()) == ["accepted", "queued"]
    assert not [fault for fault in await faults(database) if "ended at another time" in fault]


async def test_a_beat_that_is_cut_off_after_its_commit_does_not_end_attempts_twice(
    database: Database, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose last letters land while its beat commits tells some twice; their attempts end when their outcome was recorded."""
    app, circular = await office(database, clock, tmp_path, addresses(2))
    beaten, held = asyncio.Event(), asyncio.Event()
    turn = Batches.turn

    async def cut_off(self: Batches, run: Run, told: Sequence[Told], wanted: Wanted, **named: Any) -> list[Claim]:
        claims = await turn(self, run, told, wanted, **named)
        if told and not wanted.any:
            clock.advance(dt.timedelta(seconds=1))
            beaten.set()
            await asyncio.sleep(60)  # the commit is made, and its caller is cancelled before it hears of it
        return claims

    monkeypatch.setattr(Batches, "turn", cut_off)

    async def one_waits(phase: Phase, _envelope: Envelope, to: Rcpt | None) -> None:
        if phase is Phase.RCPT and to is not None and to.address.startswith("office002"):
            held.set()
            await beaten.wait()

    relay = MemoryTransport(one_waits)
    sent = asyncio.create_task(send(app, circular, relay))
    await held.wait()
    while not relay.received:  # noqa: ASYNC110 - the relay rings no bell
        await asyncio.sleep(0.01)
    while not beaten.is_set():
        clock.advance(dt.timedelta(seconds=app.settings.delivery.lease / 6))
        await asyncio.sleep(0.05)
    await sent
    assert set((await states(database, circular)).values()) == {"accepted"}
    assert await faults(database) == []


async def test_a_claim_that_was_not_heard_of_goes_back(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """Letters whose claim was committed without our hearing of it are queued when their run ends, not in doubt at the next."""
    app, circular = await office(database, clock, tmp_path, addresses(2))
    await app.delivery.start(circular, by="anna")
    batches, run, _unheard = await begin(app, circular)
    await batches.leave(run, [], now=clock.now())
    assert set((await states(database, circular)).values()) == {"queued"}
    assert (await recipient(database, "office001@org.example")).tries == 0
    relay = MemoryTransport()
    await again(app, relay)
    assert copies(relay) == {"office001@org.example": 1, "office002@org.example": 1}


async def test_what_two_batches_kept_is_told_by_whichever_comes_first(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Outcomes that the database would not take are told once each, though several batches set about it at the same moment."""
    app, circular = await office(database, clock, tmp_path, addresses(2))
    async with database.write() as session:  # two batches
        await session.execute(update(Letter).values(batch=Letter.position))
        for letter in await session.scalars(select(Letter)):
            await session.execute(update(Recipient).where(Recipient.letter_id == letter.id).values(batch=letter.batch))
    await app.delivery.start(circular, by="anna")
    async with running(app, MemoryTransport()) as made:
        sender, batches = made._sender, made._sender.batches
        for number in (1, 2):
            run = await batches.take(circular, number, owner=sender.journal.name, boot=boot_id(), now=clock.now())
            assert run is not None
            (claim,) = await batches.turn(run, [], Wanted(10, "main"), now=clock.now())
            sender.keep(run, [told_of(claim, RecipientState.ACCEPTED, clock.now())])
        await asyncio.gather(sender._tell_kept(), sender._tell_kept(), sender._tell_kept())
    assert set((await states(database, circular)).values()) == {"accepted"}
