"""Schedules: planned, held, fired once, missed and told."""

import asyncio
import datetime as dt

import pytest
from sqlalchemy import func, select

from mailer.circulars.models import Circular
from mailer.circulars.states import CircularState, RecipientState
from mailer.database import Database
from mailer.errors import BadInput, CannotDo, NotAllowedNow
from mailer.register.models import Link
from mailer.replies import service as replies
from mailer.schedule import firing, service
from mailer.schedule.firing import CLAIM, Result
from mailer.schedule.models import Schedule, ScheduleKind, ScheduleState
from mailer.schedule.ticker import Ticker
from mailer.settings import Calendar
from tests.support import rows
from tests.support.actions import Died, RowActions

R = RecipientState
CALENDAR = Calendar()
LATE = dt.timedelta(hours=12)
DUE = dt.datetime(2006, 7, 11, 7, 0, tzinfo=dt.UTC)


@pytest.fixture
def actions(database):
    """What schedules do, as rows."""
    return RowActions(database)


@pytest.fixture
def ticker(database, clock, actions):
    """A ticker on the clock moved by hand."""
    return Ticker(database, clock, actions, fire_late=LATE)


async def a_circular(database, clock, **more) -> tuple[Circular, dict]:
    """A circular that has just started: one organization for each way a letter can have gone."""
    async with database.write() as session:
        circular = await rows.circular(session, **more)
        made = {}
        for name, states in {
            "reached": {"a@x.example": R.ACCEPTED},
            "half": {"b@x.example": R.REFUSED, "c@x.example": R.ACCEPTED},
            "answered": {"d@x.example": R.ACCEPTED},
            "dead": {"e@x.example": R.REFUSED},
            "doubt": {"f@x.example": R.UNCERTAIN},
            "held": {"g@x.example": R.WITHHELD},
            "later": {"h@x.example": R.DEFERRED},
        }.items():
            made[name] = await rows.organization(session, name)
            await rows.letter(session, circular, made[name], states)
        await service.plan_reminders(session, circular.id, CALENDAR, at=clock.now(), by="anna")
    await replies.record(database, clock, circular.id, "answered", "attends", by="anna")
    return circular, made


async def the_row(database, circular) -> Schedule:
    """The only schedule of a circular."""
    async with database.read() as session:
        return (await session.scalars(select(Schedule).where(Schedule.circular_id == circular.id))).one()


async def links(database, action) -> list[Link]:
    """The register's links of an action."""
    async with database.read() as session:
        return list(
            await session.scalars(select(Link).where(Link.action == action).order_by(Link.at, Link.chain, Link.seq))
        )


async def test_starting_plans_the_reminder_once(database, clock):
    """Starting a circular makes its reminder's row by the calendar, and starting it again makes no second one."""
    circular, _ = await a_circular(database, clock)
    async with database.write() as session:
        assert await service.plan_reminders(session, circular.id, CALENDAR, at=clock.now(), by="anna") == []
    row = await the_row(database, circular)
    assert (row.due_at, row.next_at, row.state, row.ordinal) == (DUE, DUE, ScheduleState.WAITING, 1)
    assert len(await links(database, "reminders-planned")) == 1


async def test_only_those_reached_and_silent_are_reminded(database, clock, ticker, actions):
    """The reminder goes to organizations with an accepted address and no reply; each other one is named with its reason."""
    circular, made = await a_circular(database, clock)
    assert await ticker.tick() == []
    clock.move_to(DUE)
    fired = await ticker.tick()
    assert [one.result for one in fired] == [Result.FIRED]
    assert actions.calls == [("remind", circular.id, 1, (made["reached"].id, made["half"].id))]
    row = await the_row(database, circular)
    assert (row.state, row.fired_at, row.made_id) == (ScheduleState.FIRED, DUE, fired[0].made_id)
    told = (await links(database, "schedule-fired"))[0].subject
    assert told["reminded"] == 2
    assert told["not_reminded"] == {
        "answered": ["answered"],
        "never reached": ["dead"],
        "in doubt whether the circular reached it": ["doubt"],
        "the circular is not yet handed over": ["later"],
        "withheld": ["held"],
    }
    assert row.why.startswith("2 reminded; not reminded: 1 answered (answered); 1 never reached (dead)")


async def test_when_all_have_answered_nobody_is_written_to(database, clock, ticker, actions):
    """With no one left to remind, the schedule is done and no reminder is made."""
    circular, _ = await a_circular(database, clock)
    for name in ("reached", "half"):
        await replies.record(database, clock, circular.id, name, "declines", by="anna")
    clock.move_to(DUE)
    assert [one.result for one in await ticker.tick()] == [Result.FIRED]
    assert actions.calls == []
    assert (await the_row(database, circular)).why.startswith("0 reminded; not reminded: 3 answered")


@pytest.mark.parametrize("moment", ["die_before", "die_after"])
async def test_a_death_while_firing_neither_loses_nor_doubles(database, clock, ticker, actions, moment):
    """A clock that dies after its claim, before or after the reminder was made, leaves one reminder in the end, not none and not two."""
    circular, _ = await a_circular(database, clock)
    clock.move_to(DUE)
    setattr(actions, moment, True)
    with pytest.raises(Died):
        await ticker.tick()
    assert (await the_row(database, circular)).state == ScheduleState.FIRING
    after = Ticker(database, clock, actions, fire_late=LATE)
    assert await after.tick() == [], "the claim of the dead one still holds"
    clock.advance(CLAIM)
    assert [one.result for one in await after.tick()] == [Result.FIRED]
    assert actions.made == 1
    assert len(await links(database, "schedule-fired")) == 1
    async with database.read() as session:
        assert await session.scalar(select(func.count()).where(Circular.parent_id == circular.id)) == 1


async def test_what_was_begun_is_finished_however_late(database, clock, ticker, actions):
    """A reminder already made when its clock died is finished after days; it is not called missed."""
    circular, _ = await a_circular(database, clock)
    clock.move_to(DUE)
    actions.die_after = True
    with pytest.raises(Died):
        await ticker.tick()
    clock.advance(dt.timedelta(days=5))
    assert [one.result for one in await ticker.tick()] == [Result.FIRED]
    assert (await the_row(database, circular)).state == ScheduleState.FIRED
    assert actions.made == 1


async def test_what_was_claimed_but_not_begun_is_missed_when_too_late(database, clock, ticker, actions):
    """A reminder claimed and not made by a clock that died days ago is not sent unasked."""
    await a_circular(database, clock)
    clock.move_to(DUE)
    actions.die_before = True
    with pytest.raises(Died):
        await ticker.tick()
    clock.advance(dt.timedelta(days=5))
    assert [one.result for one in await ticker.tick()] == [Result.MISSED]
    assert actions.made == 0


@pytest.mark.parametrize("number", range(3))
async def test_two_clocks_on_one_database_fire_each_schedule_once(database, clock, number):
    """Two tickers with databases of their own on one file fire each of forty schedules exactly once between them."""
    async with database.write() as session:
        reached = await rows.organization(session, "reached")
        for count in range(40):
            circular = await rows.circular(session, reference=f"A/{count}")
            await rows.letter(session, circular, reached, {"a@x.example": R.ACCEPTED})
            await service.plan_reminders(session, circular.id, CALENDAR, at=clock.now(), by="anna")
    other = Database(database.writer.url)
    try:
        both = [RowActions(database), RowActions(other)]
        tickers = [Ticker(one.database, clock, one, fire_late=LATE) for one in both]
        clock.move_to(DUE)
        results = await asyncio.gather(*(one.tick() for one in tickers))
    finally:
        await other.close()
    asked = [call for one in both for call in one.calls]
    assert len(asked) == len(set(asked)) == 40
    assert sum(one.result is Result.FIRED for result in results for one in result) == 40
    async with database.read() as session:
        assert await session.scalar(select(func.count()).where(Circular.parent_id.is_not(None))) == 40


async def test_too_late_is_missed_and_told(database, clock, ticker, actions):
    """What fell due too long ago is not sent unasked: it is marked, returned, and in the register."""
    await a_circular(database, clock)
    clock.move_to(DUE + LATE + dt.timedelta(seconds=1))
    told = await ticker.tick()
    assert [one.result for one in told] == [Result.MISSED]
    assert "it was due Tue 11 July 2006, 09:00 (Europe/Zurich)" in told[0].why
    assert actions.calls == []
    assert len(await links(database, "schedule-missed")) == 1
    assert await ticker.tick() == []


async def test_a_missed_one_runs_at_a_persons_word(database, clock, ticker, actions):
    """A person may have a missed reminder sent after all."""
    circular, _ = await a_circular(database, clock)
    clock.move_to(DUE + dt.timedelta(days=1))
    await ticker.tick()
    async with database.write() as session:
        assert await service.run_missed(session, at=clock.now(), by="bob") == 1
    assert [one.result for one in await ticker.tick()] == [Result.FIRED]
    assert (await the_row(database, circular)).rule.endswith("missed, and run by bob")


async def test_a_little_late_still_fires(database, clock, ticker):
    """Within the limit a late schedule fires."""
    await a_circular(database, clock)
    clock.move_to(DUE + LATE)
    assert [one.result for one in await ticker.tick()] == [Result.FIRED]


async def test_a_reminder_whose_time_had_passed_is_told_at_the_start(database, clock):
    """A circular sent after its reminder's time has that reminder marked missed at once."""
    clock.move_to(DUE)
    circular, _ = await a_circular(database, clock)
    row = await the_row(database, circular)
    assert (row.state, row.why) == (ScheduleState.MISSED, "its time had passed when the circular was sent")


async def test_pausing_holds_and_resuming_releases(database, clock, ticker, actions):
    """A held reminder does not fire when due; released in time it does."""
    circular, _ = await a_circular(database, clock)
    async with database.write() as session:
        assert await service.hold(session, circular.id, at=clock.now(), by="anna") == 1
    clock.move_to(DUE)
    assert await ticker.tick() == []
    async with database.write() as session:
        assert await service.release(session, circular.id, at=clock.now(), by="anna") == 1
    assert [one.result for one in await ticker.tick()] == [Result.FIRED]
    assert len(actions.calls) == 1


async def test_a_pause_that_forgot_to_hold_still_holds(database, clock, ticker, actions):
    """A reminder of a paused circular is held when due, even if pausing it did not say so."""
    circular, _ = await a_circular(database, clock)
    async with database.write() as session:
        (await session.get(Circular, circular.id)).state = CircularState.PAUSED
    clock.move_to(DUE)
    assert [one.result for one in await ticker.tick()] == [Result.HELD]
    assert actions.calls == []


async def test_cancelling_cancels(database, clock, ticker, actions):
    """Cancelling a circular cancels its reminders."""
    circular, _ = await a_circular(database, clock)
    async with database.write() as session:
        assert await service.cancel(session, circular.id, at=clock.now(), by="anna") == 1
        assert await service.cancel(session, circular.id, at=clock.now(), by="anna") == 0
    clock.move_to(DUE)
    assert await ticker.tick() == []
    assert (await the_row(database, circular)).state == ScheduleState.CANCELLED


async def test_what_can_not_be_done_is_tried_again_then_missed(database, clock, ticker, actions):
    """A full disk puts the reminder off by a minute."""
    await a_circular(database, clock)
    clock.move_to(DUE)
    actions.fail_with = CannotDo("the disk is full")
    assert [one.result for one in await ticker.tick()] == [Result.AGAIN]
    assert await ticker.tick() == []
    assert await ticker.next_due() == DUE + firing.RETRY
    clock.advance(firing.RETRY)
    actions.fail_with = None
    assert [one.result for one in await ticker.tick()] == [Result.FIRED]
    assert actions.made == 1


async def test_what_can_not_be_done_for_too_long_is_missed(database, clock, ticker, actions):
    """A reminder that could not be made until it was too late is marked missed with the last error."""
    await a_circular(database, clock)
    clock.move_to(DUE)
    actions.fail_with = CannotDo("the disk is full")
    assert [one.result for one in await ticker.tick()] == [Result.AGAIN]
    clock.advance(LATE + CLAIM)
    told = await ticker.tick()
    assert [one.result for one in told] == [Result.MISSED]
    assert "last error: the disk is full" in told[0].why


async def test_what_is_refused_is_missed_at_once(database, clock, ticker, actions):
    """An action that can never work is told at once, with its reason."""
    circular, _ = await a_circular(database, clock)
    clock.move_to(DUE)
    actions.fail_with = NotAllowedNow("its text was changed")
    assert [one.why for one in await ticker.tick()] == ["its text was changed."]
    assert (await the_row(database, circular)).state == ScheduleState.MISSED


async def test_a_sending_is_scheduled_and_fires(database, clock, ticker, actions):
    """An approved circular starts at the time that was set; setting it anew replaces the time."""
    async with database.write() as session:
        circular = await rows.circular(session, state=CircularState.APPROVED)
        for hours in (5, 2):
            moment = clock.now() + dt.timedelta(hours=hours)
            await service.schedule_send(session, circular.id, moment, zone="Europe/Zurich", at=clock.now(), by="anna")
    clock.advance(dt.timedelta(hours=2))
    assert [one.result for one in await ticker.tick()] == [Result.FIRED]
    assert actions.calls == [("send", circular.id)]
    row = await the_row(database, circular)
    assert (row.kind, row.state) == (ScheduleKind.SEND, ScheduleState.FIRED)
    assert row.rule == "at Fri 7 July 2006, 12:00 (Europe/Zurich), as anna said"


async def test_a_sending_started_by_one_that_died_is_not_started_again(database, clock, ticker, actions):
    """A clock that dies right after it started a circular leaves it started once."""
    async with database.write() as session:
        circular = await rows.circular(session, state=CircularState.APPROVED)
        moment = clock.now() + dt.timedelta(hours=1)
        await service.schedule_send(session, circular.id, moment, zone="UTC", at=clock.now(), by="anna")
    clock.move_to(moment)
    actions.die_after = True
    with pytest.raises(Died):
        await ticker.tick()
    clock.advance(CLAIM)
    assert [one.result for one in await ticker.tick()] == [Result.FIRED]
    assert actions.made == 1
    assert len(actions.calls) == 1


async def test_a_circular_sent_by_hand_closes_its_schedule(database, clock, ticker, actions):
    """Sending by hand before the scheduled time leaves nothing to fire."""
    async with database.write() as session:
        circular = await rows.circular(
            session, state=CircularState.APPROVED, reply_by=None, draft=rows.draft(reply_by=None)
        )
        moment = clock.now() + dt.timedelta(hours=1)
        await service.schedule_send(session, circular.id, moment, zone="UTC", at=clock.now(), by="anna")
        circular.state = CircularState.SENDING
        await service.plan_reminders(session, circular.id, CALENDAR, at=clock.now(), by="anna")
    clock.move_to(moment)
    assert await ticker.tick() == []
    assert (await the_row(database, circular)).why == "the circular was sent before"


async def test_a_draft_can_not_be_scheduled_nor_a_past_moment(database, clock):
    """Only an approved circular is scheduled, and only for a time to come."""
    async with database.write() as session:
        draft = await rows.circular(session, reference=None, state=CircularState.DRAFT)
        good = await rows.circular(session, reference="X/1", state=CircularState.APPROVED)
        soon = clock.now() + dt.timedelta(hours=1)
        with pytest.raises(NotAllowedNow, match="chancery circular approve"):
            await service.schedule_send(session, draft.id, soon, zone="UTC", at=clock.now(), by="anna")
        with pytest.raises(BadInput, match="has passed"):
            await service.schedule_send(session, good.id, clock.now(), zone="UTC", at=clock.now(), by="anna")


async def test_a_schedule_of_a_circular_no_longer_approved_is_missed(database, clock, ticker):
    """A circular that was changed after it was scheduled is not sent, and that is told."""
    async with database.write() as session:
        circular = await rows.circular(session, state=CircularState.APPROVED)
        moment = clock.now() + dt.timedelta(hours=1)
        await service.schedule_send(session, circular.id, moment, zone="UTC", at=clock.now(), by="anna")
        circular.state = CircularState.DRAFT
    clock.move_to(moment)
    told = await ticker.tick()
    assert [one.result for one in told] == [Result.MISSED]
    assert told[0].why.startswith("the circular is draft")


async def test_the_ticker_runs_with_a_clock_moved_by_hand(database, clock, actions):
    """While it runs, moving the clock fires what has become due, and the reconciler is called."""
    await a_circular(database, clock)
    fired, reconciled = asyncio.Event(), asyncio.Event()

    async def reconcile() -> None:
        reconciled.set()

    ticker = Ticker(database, clock, actions, fire_late=LATE, reconcile=reconcile, told=lambda _: fired.set())
    running = asyncio.create_task(ticker.run())
    await asyncio.wait_for(reconciled.wait(), 10)
    assert not fired.is_set()
    clock.move_to(DUE)
    await asyncio.wait_for(fired.wait(), 10)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(actions.calls) == 1
