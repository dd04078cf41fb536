"""Promises of sending under trouble: what a death, a late word, a held relay or a slow pace must not lose, double or misstate."""

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from lists import contacts
from lists.models import Contact
from mailer import dispatch
from mailer.app import App
from mailer.circulars import rows as circular_rows
from mailer.circulars.models import Circular, Letter, Recipient
from mailer.circulars.states import CircularState, RecipientState
from mailer.cli import running as commands
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery import send as sending_of_batches
from mailer.delivery.account import Change
from mailer.delivery.batches import Batches, Fenced, Told
from mailer.delivery.claims import Claim, Run
from mailer.delivery.due import NOTHING, Wanted
from mailer.delivery.journal import SUFFIX, Journal, boot_id
from mailer.delivery.models import Attempt, Batch, Outcome
from mailer.delivery.pace import Pace
from mailer.engine import embedded
from mailer.errors import ChanceryError, DatabaseError, HomeBusy
from mailer.transport.base import Envelope, Fate, Rcpt, Reply, Result, Scope
from mailer.transport.memory import MemoryTransport
from mailer.transport.verdict import Gone, Phase
from tests.support.approved import (
    MINUTES,
    addresses,
    again,
    letters,
    office,
    recipient,
    running,
    send,
    settings,
    states,
)

REFUSED_SENDER = "550 5.7.60 SMTP; Client does not have permissions to send as this sender"


def _well(_phase: Phase, _envelope: Envelope, _to: Rcpt | None) -> None:
    """A relay that takes everything."""


def _at(phase: Phase, answer: Callable[[], Any]) -> Callable[[Phase, Envelope, Rcpt | None], Any]:
    """A relay that answers so in one phase and takes everything else."""
    return lambda now, _envelope, _to: answer() if now is phase else None


@contextmanager
def _killed(home: Path) -> Iterator[None]:
    """What the block's process leaves in the journal folder is what kill -9 would have left."""
    folder = home / "journal"
    left: dict[Path, bytes] = {}
    unlink = Path.unlink

    def keep(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == SUFFIX:
            left[path] = path.read_bytes()
        unlink(path, missing_ok=missing_ok)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "unlink", keep)
        yield
    for path, data in left.items():
        path.write_bytes(data)
    assert list(folder.glob(f"*{SUFFIX}"))


def _batches(app: App) -> Batches:
    return Batches(app.database, lease=dt.timedelta(seconds=app.settings.delivery.lease))


async def _begin(app: App, circular: int, owner: str = "1-elsewhere") -> tuple[Batches, Run, list[Claim]]:
    """A run of the first batch that has claimed all of it."""
    batches = _batches(app)
    run = await batches.take(circular, 1, owner=owner, boot=boot_id(), now=app.clock.now())
    assert run is not None
    return batches, run, await batches.turn(run, [], Wanted(50, "main"), now=app.clock.now())


def _told(claim: Claim, state: RecipientState, at: dt.datetime, *, left: bool = True, **more: Any) -> Told:
    """What became of a claimed letter."""
    sha256 = "0" * 64 if left else None
    changes = [
        Change(
            target.id, claim.letter, target.address, state, at, claim.attempt, "main", tries=1, sha256=sha256, **more
        )
        for target in claim.targets
    ]
    return Told(claim, tuple(changes), at if left else None, sha256, fruitless=False)


async def _circular(database: Database, number: int) -> Circular:
    async with database.read() as session:
        return await session.get_one(Circular, number)


async def _runs(database: Database) -> int:
    """How often batches were taken."""
    async with database.read() as session:
        return await session.scalar(select(func.sum(Batch.run))) or 0


def _copies(transport: MemoryTransport) -> Counter[str]:
    """How often each address was sent all of the content."""
    return Counter(each.address for one in transport.received for each in one.recipients)


# --- never twice --------------------------------------------------------------------------------------------------


async def test_a_doubt_that_is_written_down_is_no_proof_for_the_next_start(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A letter in doubt is not put back because the journal, having been emptied, knows nothing of it any more."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    relay = MemoryTransport(_at(Phase.FINAL, Gone))
    with _killed(tmp_path):
        await send(app, circular, relay)
    assert await states(database, circular) == {"office001@org.example": "uncertain"}
    relay.script = _well
    await again(app, relay)
    assert await states(database, circular) == {"office001@org.example": "uncertain"}
    assert len(relay.received) == 1


async def test_a_choice_to_send_again_has_an_end(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """With `on_uncertain = "resend"` a relay that never answers the dot gets a letter a few times over days, not every two minutes."""
    app, circular = await office(database, clock, tmp_path, addresses(1), on_uncertain="resend")
    relay = MemoryTransport(_at(Phase.FINAL, Gone))
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
    batches, frozen_run, (claim,) = await _begin(app, circular)
    clock.advance(dt.timedelta(seconds=app.settings.delivery.lease + 1))
    assert await batches.take(circular, 1, owner="1-another", boot=boot_id(), now=clock.now())
    await app.delivery.resolve(circular, None, sent=False, by="anna", lease=app.settings.delivery.lease)
    with pytest.raises(Fenced):
        told = [_told(claim, RecipientState.ACCEPTED, clock.now())]
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
    batches, frozen_run, (claim,) = await _begin(app, circular)
    clock.advance(dt.timedelta(seconds=app.settings.delivery.lease + 1))
    second = await batches.take(circular, 1, owner="1-another", boot=boot_id(), now=clock.now())
    assert second is not None
    await batches.leave(second, [], now=clock.now())
    assert (await _circular(database, circular)).state is CircularState.SENT
    with pytest.raises(Fenced):
        told = [_told(claim, RecipientState.DEFERRED, clock.now(), next_at=clock.now() + 15 * MINUTES)]
        await batches.turn(frozen_run, told, NOTHING, now=clock.now())
    assert await states(database, circular) == {"office001@org.example": "deferred"}
    assert (await _circular(database, circular)).state is CircularState.SENDING
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
    relay = MemoryTransport(_at(Phase.CONNECT, ConnectionRefusedError))
    await send(app, circular, relay)
    assert (await recipient(database, "office001@org.example")).tries == 0
    clock.advance(dt.timedelta(days=7))
    relay.script = _at(Phase.RCPT, lambda: "451 4.7.1 Greylisted")
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

    async def broken_turn(self: Batches, run: Run, told: Sequence[Told], *more: Any, **named: Any) -> list[Claim]:
        if told and trouble:
            raise DatabaseError("the disk is full", where="here")
        return await turn(self, run, told, *more, **named)

    async def broken_leave(self: Batches, run: Run, told: Sequence[Told], **named: Any) -> None:
        if told and trouble:
            raise DatabaseError("the disk is full", where="here")
        await leave(self, run, told, **named)

    monkeypatch.setattr(Batches, "turn", broken_turn)
    monkeypatch.setattr(Batches, "leave", broken_leave)
    relay = MemoryTransport()
    async with running(app, relay) as made:
        await made.delivery.start(circular, by="anna")
        working = asyncio.create_task(made.work())
        while len(relay.received) < 2:  # noqa: ASYNC110 - the relay rings no bell
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        trouble = False
        for _ in range(10):
            clock.advance(dt.timedelta(seconds=app.settings.delivery.lease / 4))
            await asyncio.sleep(0.1)
        await asyncio.sleep(1.2)  # the poll
        made.stop()
        await working
        assert set((await states(database, circular)).values()) == {"accepted"}


async def test_what_a_lost_commit_has_written_is_not_written_twice(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A turn that is tried again because its commit was not heard of, and was made, tells each outcome once."""
    app, circular = await office(database, clock, tmp_path, addresses(2))
    await app.delivery.start(circular, by="anna")
    batches, run, claims = await _begin(app, circular)
    told = [_told(claim, RecipientState.ACCEPTED, clock.now()) for claim in claims]
    await batches.turn(run, told, NOTHING, now=clock.now())
    await batches.turn(run, told, NOTHING, now=clock.now(), again=True)
    await batches.leave(run, told, now=clock.now())
    async with database.read() as session:
        assert await session.scalar(select(func.count()).select_from(Outcome)) == 2
    assert set((await states(database, circular)).values()) == {"accepted"}


async def test_a_claim_that_was_not_heard_of_goes_back(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """Letters whose claim was committed without our hearing of it are queued when their run ends, not in doubt at the next."""
    app, circular = await office(database, clock, tmp_path, addresses(2))
    await app.delivery.start(circular, by="anna")
    batches, run, _unheard = await _begin(app, circular)
    await batches.leave(run, [], now=clock.now())
    assert set((await states(database, circular)).values()) == {"queued"}
    assert (await recipient(database, "office001@org.example")).tries == 0
    relay = MemoryTransport()
    await again(app, relay)
    assert _copies(relay) == {"office001@org.example": 1, "office002@org.example": 1}


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
            sender.keep(run, [_told(claim, RecipientState.ACCEPTED, clock.now())])
        await asyncio.gather(sender._tell_kept(), sender._tell_kept(), sender._tell_kept())
    assert set((await states(database, circular)).values()) == {"accepted"}


# --- held, and going on again -------------------------------------------------------------------------------------


async def test_a_mended_relay_goes_on_in_the_same_process(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """After a hold, a person's `circular send` lets `serve` try the relay again; nobody has to start it anew."""
    app, circular = await office(database, clock, tmp_path, addresses(3))
    relay = MemoryTransport(_at(Phase.MAIL, lambda: REFUSED_SENDER))
    async with running(app, relay) as made:
        await made.delivery.start(circular, by="anna")
        await made.work(until=lambda due: due is None or due > clock.now())
        assert (await _circular(database, circular)).held_why
        relay.script = _well
        clock.advance(dt.timedelta(days=1))
        await app.delivery.start(circular, by="anna")
        await made.work(until=lambda due: due is None or due > clock.now())
    assert set((await states(database, circular)).values()) == {"accepted"}


async def test_a_mended_relay_is_tried_at_once(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """A person who has mended the relay and sends again does not wait for the back-off of the relay that was held."""
    app, circular = await office(database, clock, tmp_path, addresses(3))
    relay = MemoryTransport(_at(Phase.MAIL, lambda: REFUSED_SENDER))
    await send(app, circular, relay)
    relay.script = _well
    clock.advance(MINUTES)
    await send(app, circular, relay)
    assert set((await states(database, circular)).values()) == {"accepted"}


async def test_another_letters_success_does_not_lift_a_hold(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A refusal that a person has to mend is told, though a letter that was on its way beside it was taken."""
    app, circular = await office(database, clock, tmp_path, addresses(2))
    refused = asyncio.Event()

    async def script(phase: Phase, envelope: Envelope, _to: Rcpt | None) -> str | None:
        if phase is Phase.FINAL and envelope.recipients[0].address == "office001@org.example":
            refused.set()
            return "554 5.2.0 SendAsDenied; not allowed to send as"
        if phase is Phase.FINAL:
            await refused.wait()
            await asyncio.sleep(0.05)
        return None

    await send(app, circular, MemoryTransport(script))
    assert "SendAsDenied" in ((await _circular(database, circular)).held_why or "")


async def test_a_moments_trouble_with_the_database_holds_no_circular(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A snapshot that could not be read this once is read again; it is not a reason for which a person is needed."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    async with running(app, MemoryTransport()) as made:
        load, failures = made._sender.load, iter([DatabaseError("the disk reports an error", where="here")])

        async def once(number: int) -> Any:
            for error in failures:
                raise error
            return await load(number)

        made._sender.load = once
        await made.delivery.start(circular, by="anna")
        with suppress(TimeoutError, ChanceryError):
            async with asyncio.timeout(3):
                await made.work(until=lambda due: due is None or due > clock.now())
    assert (await _circular(database, circular)).held_why is None


async def test_the_watcher_outlives_a_moments_trouble(
    database: Database, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pause is seen before the next content even if the rows could not be read once before."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    read, failed = Database.read, False

    def broken(self: Database) -> Any:
        nonlocal failed
        coroutine = getattr(asyncio.current_task(), "get_coro", lambda: None)()
        if not failed and getattr(coroutine, "__qualname__", "") == "Sending._watch":
            failed = True
            raise DatabaseError("the disk reports an error", where="here")
        return read(self)

    monkeypatch.setattr(Database, "read", broken)
    there, go = asyncio.Event(), asyncio.Event()

    async def script(phase: Phase, _envelope: Envelope, _to: Rcpt | None) -> None:
        if phase is Phase.MAIL:
            there.set()
            await go.wait()

    relay = MemoryTransport(script)
    async with running(app, relay) as made:
        await made.delivery.start(circular, by="anna")
        working = asyncio.create_task(made.work(until=lambda due: due is None))
        await there.wait()
        assert failed
        await app.delivery.pause(circular, by="anna")
        await asyncio.sleep(0.6)
        go.set()
        await working
    assert relay.received == []


# --- no turning in circles ----------------------------------------------------------------------------------------


async def test_an_unwritable_journal_is_no_reason_to_spin(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """While the journal can't be written nothing is claimed, and the batch is not taken up hundreds of times a second."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    async with running(app, MemoryTransport()) as made:
        made._sender.journal.broken = "the flight journal can't be written (disk full)"
        await made.delivery.start(circular, by="anna")
        working = asyncio.create_task(made.work(until=lambda due: due is None or due > clock.now()))
        await asyncio.sleep(1.0)
        made.stop()
        with suppress(ChanceryError):
            await working
    assert await _runs(database) <= 5


async def test_the_next_token_is_in_the_future_after_a_trouble_that_is_over(clock: ManualClock) -> None:
    """With an empty bucket the next letter may go when a token is there, not at the past end of an old back-off."""
    pace = Pace(clock, per_minute=10)
    pace.failed("connection refused", hold=False)
    clock.advance(dt.timedelta(seconds=3))
    assert await pace.take(1) == 1
    assert await pace.take(1) == 0
    assert pace.next_token() > clock.now()


@pytest.mark.parametrize("per_minute", [11, 30, 37, 70])
async def test_at_the_time_of_the_next_token_there_is_one(clock: ManualClock, per_minute: int) -> None:
    """A clock that is moved to the time that the pace names finds a token; else one that stands there waits for ever."""
    pace = Pace(clock, per_minute=per_minute)
    await pace.take(1000)
    clock.move_to(pace.next_token())
    if not await pace.take(1):
        assert pace.next_token() > clock.now()


async def test_an_empty_bucket_is_not_asked_by_every_batch(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """While the pace allows nothing, the other batches of the circular wait with the one that was told so."""
    chosen = settings()
    slow = chosen.model_copy(update={"relays": {"main": chosen.relays["main"].model_copy(update={"per_minute": 10})}})
    app, circular = await office(database, clock, tmp_path, addresses(40), slow)
    async with database.write() as session:  # forty batches
        await session.execute(update(Letter).values(batch=Letter.position))
        for letter in await session.scalars(select(Letter)):
            await session.execute(update(Recipient).where(Recipient.letter_id == letter.id).values(batch=letter.batch))
    relay = MemoryTransport()
    await send(app, circular, relay)
    assert len(relay.received) == 1
    assert await _runs(database) <= 10


async def test_a_small_circular_does_not_wait_behind_a_large_one(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Batches of two circulars take turns at the slots; the one that was started later is not kept back until the other is done."""
    app, large = await office(database, clock, tmp_path, addresses(8), settings(slots=1))
    small, _organizations = await _with_reminder(app, tmp_path)
    async with database.write() as session:  # eight batches of the first, one of the second
        await session.execute(update(Letter).where(Letter.circular_id == large).values(batch=Letter.position))
        for letter in await session.scalars(select(Letter)):
            await session.execute(update(Recipient).where(Recipient.letter_id == letter.id).values(batch=letter.batch))
        tokens = set(await session.scalars(select(Letter.token).where(Letter.circular_id == small)))
    relay = MemoryTransport()
    await app.delivery.start(large, by="anna")
    await app.delivery.start(small, by="anna")
    await again(app, relay)
    order = [one.envelope.envid in tokens for one in relay.received]
    assert len(order) == 16
    assert order.index(True) < 8


async def test_following_ends_when_nobody_sends(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """A command that handed over to a process which has ended meanwhile does not wait for it for ever."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    await app.delivery.start(circular, by="anna")
    async with asyncio.timeout(3):
        await commands.follow(app, circular)


# --- cancelled is cancelled ---------------------------------------------------------------------------------------


async def test_a_death_before_a_cancellation_leaves_nothing_waiting(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """What a dead process held of a circular that was cancelled since is cancelled when it is put back, not queued for ever."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    await app.delivery.start(circular, by="anna")
    dead = Journal(tmp_path / "journal", "1")
    await _begin(app, circular, dead.name)
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
    await send(app, circular, MemoryTransport(_at(Phase.FINAL, Gone)))
    await app.delivery.cancel(circular, by="anna")
    assert await states(database, circular) == {"office001@org.example": "uncertain"}


async def _with_reminder(app: App, home: Path) -> tuple[int, list[int]]:
    """A further approved circular that has a reminder, and the organizations it goes to."""
    from mailer.circulars import service as circulars

    folder = home / "reminded"
    folder.mkdir()
    original = home / "meeting"
    text = (original / "circular.toml").read_text(encoding="utf-8")
    top, tables = text.split("\n[", 1)
    (folder / "circular.toml").write_text(
        f'{top}\nreply_by = 2006-07-28\n[{tables}\n[[reminders]]\nbefore = "P3D"\n', encoding="utf-8"
    )
    for name in ("letter.en.md", "reminder.en.md"):
        (folder / name).write_text((original / "letter.en.md").read_text(encoding="utf-8"), encoding="utf-8")
    drafted = await circulars.new(app.desk, folder, by="anna")
    approved = await circulars.approve(app.desk, drafted.id, by="bert")
    assert not approved.stopped, [finding.line for finding in approved.stopped]
    async with app.database.read() as session:
        chosen = await session.scalars(select(Letter.organization_id).where(Letter.circular_id == drafted.id))
        return drafted.id, list(chosen)


@pytest.mark.parametrize("verb", ["pause", "cancel"])
async def test_a_reminder_being_written_stops_with_its_circular(
    database: Database, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """A circular paused or cancelled while the rows of its reminder are being written does not remind."""
    app, _other = await office(database, clock, tmp_path, addresses(1))
    circular, organizations = await _with_reminder(app, tmp_path)
    relay = MemoryTransport(_at(Phase.RCPT, lambda: "451 4.7.1 later"))
    await send(app, circular, relay)
    relay.script = _well
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
            await dispatch._Actions(app, made.delivery).remind(circular, 1, organizations)
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
    batches, _frozen_run, (first,) = await _begin(app, circular)
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
    batches, _frozen_run, _claims = await _begin(app, circular)
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
    relay.script = _well
    clock.advance(dt.timedelta(hours=1))
    await again(app, relay)
    assert _copies(relay) == {"slow@org.example": 1}
    assert await states(database, circular) == {"dead@org.example": "refused", "slow@org.example": "accepted"}


async def test_content_that_left_before_a_death_fixes_the_letter(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A letter whose content went out and came back for our account's fault keeps its bytes after a kill, and the account agrees."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    await app.delivery.start(circular, by="anna")
    dead = Journal(tmp_path / "journal", "1")
    _rows, _run, (claim,) = await _begin(app, circular, dead.name)
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
    batches, run, _claims = await _begin(app, circular)
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
