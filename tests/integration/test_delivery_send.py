"""Sending: claims, outcomes, retries, doubt, pause, cancel, resolve, over a transport in memory and a real database."""

import asyncio
import datetime as dt
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select, update

from lists.models import Contact
from mailer.circulars.models import Circular, Letter, Recipient
from mailer.circulars.states import CircularState
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.delivery.models import Attempt, Outcome
from mailer.errors import BadInput, NotAllowedNow, NotFound
from mailer.transport.base import Envelope, Rcpt
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
    seen_by_the_watcher,
    send,
    settings,
    states,
)


def _reached(transport: MemoryTransport) -> Counter[str]:
    """How often each address was sent the letter."""
    return Counter(each.address for one in transport.received if one.taken for each in one.recipients)


async def test_every_letter_leaves_once(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """120 letters leave, each once, with their own Message-ID; the circular is then sent, and says so."""
    app, circular = await office(database, clock, tmp_path, addresses(120))
    relay = MemoryTransport()
    await send(app, circular, relay)
    assert _reached(relay) == Counter({one: 1 for (one,) in addresses(120)})
    assert set((await states(database, circular)).values()) == {"accepted"}
    assert len({one.data.split(b"Message-ID: ")[1].split(b"\r\n")[0] for one in relay.received}) == 120
    async with database.read() as session:
        row = await session.get_one(Circular, circular)
    assert row.state is CircularState.SENT
    assert row.finished_at == clock.now()


async def test_what_was_sent_can_be_told(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """Each outcome names attempt, relay, the relay's own words, the time and the digest of the bytes."""
    app, circular = await office(database, clock, tmp_path, addresses(3))
    await send(app, circular, MemoryTransport())
    async with database.read() as session:
        outcomes = list(await session.scalars(select(Outcome)))
        attempts = {one.id: one for one in await session.scalars(select(Attempt))}
    assert len(outcomes) == len(attempts) == 3
    for outcome in outcomes:
        assert outcome.code == 250
        assert outcome.reply
        assert outcome.relay == "main"
        assert outcome.attempt_id is not None
        assert outcome.sha256 == attempts[outcome.attempt_id].sha256
        assert attempts[outcome.attempt_id].ended_at == clock.now()


async def test_recipients_of_one_letter_have_their_own_fates(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A dead address beside a good one is refused, the good one has the letter, and it does not go there again."""

    def script(phase: Phase, _envelope: Envelope, to: Rcpt | None) -> str | None:
        return "550 5.1.1 no such user" if phase is Phase.RCPT and to and to.address == "dead@org.example" else None

    app, circular = await office(database, clock, tmp_path, [["good@org.example", "dead@org.example"]])
    relay = MemoryTransport(script)
    await send(app, circular, relay)
    await again(app, relay)
    assert await states(database, circular) == {"good@org.example": "accepted", "dead@org.example": "refused"}
    assert (await recipient(database, "dead@org.example")).reply == "5.1.1 no such user"
    assert len(relay.received) == 1


async def test_deferred_recipients_alone_are_tried_again(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A greylisted address is tried again when its time has come, and only that address."""
    greylisted = {"slow@org.example"}

    def script(phase: Phase, _envelope: Envelope, to: Rcpt | None) -> str | None:
        return "451 4.7.1 later" if phase is Phase.RCPT and to and to.address in greylisted else None

    app, circular = await office(database, clock, tmp_path, [["quick@org.example", "slow@org.example"]])
    relay = MemoryTransport(script)
    await send(app, circular, relay)
    assert (await states(database, circular))["slow@org.example"] == "deferred"
    greylisted.clear()
    await again(app, relay)
    assert len(relay.received) == 1
    due = (await recipient(database, "slow@org.example")).next_at
    assert due is not None
    assert dt.timedelta(minutes=15) <= due - clock.now() < dt.timedelta(minutes=18)
    clock.move_to(due)
    await again(app, relay)
    assert await states(database, circular) == {"quick@org.example": "accepted", "slow@org.example": "accepted"}
    assert _reached(relay) == {"quick@org.example": 1, "slow@org.example": 1}
    first, second = (one.data for one in relay.received)
    assert first == second  # one letter, one Message-ID, the same bytes


async def test_there_is_an_end_to_trying(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """An address that is deferred for longer than `give_up_after` is given up, with the relay's last words."""
    app, circular = await office(database, clock, tmp_path, addresses(1), settings(give_up_after=7200))
    relay = MemoryTransport(lambda phase, _envelope, _to: "452 4.2.2 mailbox full" if phase is Phase.RCPT else None)
    await send(app, circular, relay)
    for _ in range(20):
        clock.advance(10 * MINUTES)
        await again(app, relay)
    row = await recipient(database, "office001@org.example")
    assert (row.state, row.code, row.reply) == ("expired", 452, "4.2.2 mailbox full")
    assert 3 <= row.tries <= 6


async def test_a_drop_after_the_dot_is_doubt_and_is_not_sent_again(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Where the relay may have the letter, it is called uncertain, and no clock makes it leave a second time."""

    def script(phase: Phase, _envelope: Envelope, _to: Rcpt | None) -> Exception | None:
        return Gone() if phase is Phase.FINAL else None

    app, circular = await office(database, clock, tmp_path, addresses(2))
    relay = MemoryTransport(script)
    await send(app, circular, relay)
    relay.script = lambda _phase, _envelope, _to: None
    clock.advance(dt.timedelta(days=30))
    await again(app, relay)
    assert set((await states(database, circular)).values()) == {"uncertain"}
    assert len(relay.received) == 2


async def test_a_circular_may_choose_to_send_again(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """With `on_uncertain = "resend"` a doubtful letter leaves again at its next try, and not before the lease is over."""
    drops = iter([Gone()])

    def script(phase: Phase, _envelope: Envelope, _to: Rcpt | None) -> Exception | None:
        return next(drops, None) if phase is Phase.FINAL else None

    app, circular = await office(database, clock, tmp_path, addresses(1), on_uncertain="resend")
    relay = MemoryTransport(script)
    await send(app, circular, relay)
    await again(app, relay)
    assert len(relay.received) == 1
    clock.advance(dt.timedelta(seconds=app.settings.delivery.lease))
    await again(app, relay)
    assert len(relay.received) == 1
    clock.advance(20 * MINUTES)
    await again(app, relay)
    assert len(relay.received) == 2
    assert set((await states(database, circular)).values()) == {"accepted"}


async def test_a_person_settles_a_doubt(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """`resolve` touches uncertain recipients only: one is called sent, the other leaves again after the lease."""

    def script(phase: Phase, envelope: Envelope, _to: Rcpt | None) -> Exception | None:
        return Gone() if phase is Phase.FINAL and envelope.recipients[0].address != "office003@org.example" else None

    app, circular = await office(database, clock, tmp_path, addresses(3))
    relay = MemoryTransport(script)
    await send(app, circular, relay)
    relay.script = lambda _phase, _envelope, _to: None
    first, second, third = await letters(database, circular)
    lease = app.settings.delivery.lease
    assert await app.delivery.resolve(circular, first.id, sent=True, by="anna", lease=lease) == 1
    assert await app.delivery.resolve(circular, second.id, sent=False, by="anna", lease=lease) == 1
    with pytest.raises(NotFound):
        await app.delivery.resolve(circular, third.id, sent=False, by="anna", lease=lease)
    await again(app, relay)
    assert len(relay.received) == 3
    clock.advance(dt.timedelta(seconds=lease))
    await again(app, relay)
    assert Counter(one.envelope.recipients[0].address for one in relay.received) == {
        "office001@org.example": 1,
        "office002@org.example": 2,
        "office003@org.example": 1,
    }
    assert set((await states(database, circular)).values()) == {"accepted"}


async def test_a_relay_that_is_down_costs_no_try(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """While nothing can be reached letters stay queued and count no try; when it is back they leave."""
    app, circular = await office(database, clock, tmp_path, addresses(30))
    relay = MemoryTransport(lambda phase, _envelope, _to: ConnectionRefusedError() if phase is Phase.CONNECT else None)
    await send(app, circular, relay)
    row = await recipient(database, "office001@org.example")
    assert (row.state, row.tries) == ("queued", 0)
    relay.script = lambda _phase, _envelope, _to: None
    clock.advance(10 * MINUTES)
    await again(app, relay)
    assert set((await states(database, circular)).values()) == {"accepted"}
    assert max(_reached(relay).values()) == 1


async def test_a_refused_sender_holds_the_relay(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """When the relay refuses our sender nothing is tried again by itself; letters stay queued and the circular says why."""
    app, circular = await office(database, clock, tmp_path, addresses(40))
    refusal = "550 5.7.60 SMTP; Client does not have permissions to send as this sender"
    relay = MemoryTransport(lambda phase, _envelope, _to: refusal if phase is Phase.MAIL else None)
    await send(app, circular, relay)
    clock.advance(dt.timedelta(days=1))
    await again(app, relay)
    assert set((await states(database, circular)).values()) == {"queued"}
    async with database.read() as session:
        held = (await session.get_one(Circular, circular)).held_why
        tried = len(list(await session.scalars(select(Attempt))))
    assert held is not None
    assert "5.7.60" in held
    assert tried <= relay.lanes
    relay.script = lambda _phase, _envelope, _to: None
    await send(app, circular, relay)
    assert set((await states(database, circular)).values()) == {"accepted"}


async def test_a_letter_that_kills_connections_does_not_stop_the_others(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A letter whose content never starts goes back without a try; the third time, as others pass, it is deferred."""

    def script(phase: Phase, envelope: Envelope, _to: Rcpt | None) -> str | None:
        poison = envelope.recipients[0].address == "office002@org.example"
        return "500 5.5.2 what?" if poison and phase is Phase.DATA else None

    app, circular = await office(database, clock, tmp_path, addresses(4))
    async with running(app, MemoryTransport(script)) as made:
        await made.delivery.start(circular, by="anna")
        for state, tries in (("queued", 0), ("queued", 0), ("deferred", 1)):
            await made.work(until=lambda due: due is None or due > clock.now())
            row = await recipient(database, "office002@org.example")
            assert (row.state, row.tries) == (state, tries)
            clock.advance(6 * MINUTES)
    found = await states(database, circular)
    assert found.pop("office002@org.example") == "deferred"
    assert set(found.values()) == {"accepted"}


async def test_pausing_stops_content_and_resuming_goes_on(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """After a pause no content starts; claimed letters go back without a try; after resuming each leaves once."""
    app, circular = await office(database, clock, tmp_path, addresses(60))
    gone, go = asyncio.Event(), asyncio.Event()

    async def script(phase: Phase, _envelope: Envelope, _to: Rcpt | None) -> None:
        if phase is Phase.MAIL and len(relay.received) >= 10:
            gone.set()
            await go.wait()

    relay = MemoryTransport(script)
    async with running(app, relay) as made:
        await made.delivery.start(circular, by="anna")
        working = asyncio.create_task(made.work(until=lambda due: due is None))
        await gone.wait()
        await app.delivery.pause(circular, by="anna")
        await seen_by_the_watcher(made, circular)
        before = len(relay.received)
        go.set()
        await working
        assert len(relay.received) == before
        counts = Counter((await states(database, circular)).values())
        assert counts == {"accepted": before, "queued": 60 - before}
        assert (await recipient(database, "office060@org.example")).tries == 0
        await app.delivery.resume(circular, by="anna")
        await made.work(until=lambda due: due is None)
    assert _reached(relay) == Counter({one: 1 for (one,) in addresses(60)})


async def test_cancelling_keeps_what_has_not_left(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """A cancelled circular's waiting recipients are cancelled, with the reason, and nothing more leaves."""
    app, circular = await office(database, clock, tmp_path, [["a@org.example"], ["slow@org.example"]])
    relay = MemoryTransport(
        lambda phase, _e, to: "451 4.7.1 later" if phase is Phase.RCPT and to and "slow" in to.address else None
    )
    await send(app, circular, relay)
    assert await app.delivery.cancel(circular, by="anna") == 1
    clock.advance(dt.timedelta(days=1))
    relay.script = lambda _phase, _envelope, _to: None
    await again(app, relay)
    assert await states(database, circular) == {"a@org.example": "accepted", "slow@org.example": "cancelled"}


async def test_a_corrected_mailbox_is_used(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """An address corrected after the approval gets the letter, in envelope and header; one that ended is withheld."""
    app, circular = await office(
        database, clock, tmp_path, [["old@org.example"], ["ended@org.example", "kept@org.example"]]
    )
    async with database.write() as session:
        await session.execute(
            update(Contact).where(Contact.address == "old@org.example").values(address="new@org.example")
        )
        await session.execute(
            update(Contact)
            .where(Contact.address == "ended@org.example")
            .values(valid_until=clock.now().date() - dt.timedelta(days=1))
        )
    relay = MemoryTransport()
    await send(app, circular, relay)
    assert await states(database, circular) == {
        "new@org.example": "accepted",
        "ended@org.example": "withheld",
        "kept@org.example": "accepted",
    }
    first, second = sorted(relay.received, key=lambda one: one.envelope.recipients[0].address == "kept@org.example")
    assert b"new@org.example" in first.data
    assert b"old@org.example" not in first.data
    assert b"ended@org.example" not in second.data


async def test_once_content_left_a_mailbox_stands(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """After the first content a letter's addresses no longer follow its contacts: the same bytes go to the same address."""
    app, circular = await office(database, clock, tmp_path, [["first@org.example"]])
    relay = MemoryTransport(lambda phase, _e, _to: "451 4.3.0 later" if phase is Phase.FINAL else None)
    await send(app, circular, relay)
    async with database.write() as session:
        await session.execute(update(Contact).values(address="second@org.example"))
    relay.script = lambda _phase, _envelope, _to: None
    clock.advance(dt.timedelta(hours=1))
    await again(app, relay)
    assert [one.envelope.recipients[0].address for one in relay.received] == ["first@org.example"] * 2
    assert relay.received[0].data == relay.received[1].data


async def test_the_wrong_number_is_refused(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """A coordinator who expects another number of letters is told, and nothing has begun."""
    app, circular = await office(database, clock, tmp_path, addresses(3))
    with pytest.raises(BadInput, match="4 letters were expected, and there are 3"):
        await app.delivery.start(circular, by="anna", expect=4)
    async with database.read() as session:
        assert (await session.get_one(Circular, circular)).state is CircularState.APPROVED


async def test_what_is_sent_is_not_started_again(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """Starting a circular that is sent already is refused in plain words."""
    app, circular = await office(database, clock, tmp_path, addresses(1))
    await send(app, circular, MemoryTransport())
    with pytest.raises(NotAllowedNow, match="sent already"):
        await app.delivery.start(circular, by="anna")


async def test_a_pace_is_kept(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """With 30 letters a minute, no minute of the clock sees more than 30 after the first bucket."""
    chosen = settings()
    slow = chosen.model_copy(update={"relays": {"main": chosen.relays["main"].model_copy(update={"per_minute": 30})}})
    app, circular = await office(database, clock, tmp_path, addresses(70), slow)
    relay = MemoryTransport()
    async with running(app, relay) as made:
        await made.delivery.start(circular, by="anna")
        for _ in range(400):
            await made.work(until=lambda due: due is None or due > clock.now())
            if len(relay.received) == 70:
                break
            clock.advance(dt.timedelta(seconds=1))
    spent = clock.now() - dt.datetime(2006, 7, 7, 8, 0, tzinfo=dt.UTC)
    assert len(relay.received) == 70
    assert dt.timedelta(seconds=130) <= spent <= dt.timedelta(seconds=140)


async def test_fields_of_the_rows_survive(database: Database, clock: ManualClock, tmp_path: Path) -> None:
    """What the claim fixed stands in the rows: date, mailboxes of the header, and the digest that the outcome names."""
    app, circular = await office(database, clock, tmp_path, [["a@org.example", "b@org.example"]])
    await send(app, circular, MemoryTransport())
    async with database.read() as session:
        letter = (await session.scalars(select(Letter))).one()
        people = list(await session.scalars(select(Recipient)))
    assert letter.mailboxes == {"to": [["", "a@org.example"]], "cc": [["", "b@org.example"]]}
    assert letter.dated == clock.now().replace(microsecond=0)
    assert letter.left_at is not None
    assert {one.attempt_id for one in people} != {None}


async def test_cancelling_while_letters_are_on_their_way(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """A letter that would have been tried again is cancelled when it comes back; one that was taken stays taken."""
    app, circular = await office(database, clock, tmp_path, [["a@org.example"], ["slow@org.example"]])
    there, go = asyncio.Event(), asyncio.Event()

    async def script(phase: Phase, envelope: Envelope, to: Rcpt | None) -> str | None:
        if phase is Phase.CONTENT and envelope.recipients[0].address == "a@org.example":
            there.set()
            await go.wait()
        if phase is Phase.RCPT and to and to.address == "slow@org.example":
            await go.wait()
            return "451 4.7.1 later"
        return None

    relay = MemoryTransport(script)
    async with running(app, relay) as made:
        await made.delivery.start(circular, by="anna")
        working = asyncio.create_task(made.work(until=lambda due: due is None))
        await there.wait()
        await app.delivery.cancel(circular, by="anna")
        go.set()
        await working
    assert await states(database, circular) == {"a@org.example": "accepted", "slow@org.example": "cancelled"}
