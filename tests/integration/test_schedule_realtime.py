"""The ticker on the machine's clock, with APScheduler."""

import asyncio
import datetime as dt

import pytest

from mailer.circulars.states import CircularState
from mailer.clock import SystemClock
from mailer.schedule import service
from mailer.schedule.ticker import Ticker
from tests.support import rows
from tests.support.actions import RowActions


async def test_a_sending_due_in_a_second_fires_to_the_second(database):
    """On real time a schedule fires at its moment, not at the next look."""
    clock, actions = SystemClock(), RowActions(database)
    moment = clock.now() + dt.timedelta(seconds=1)
    async with database.write() as session:
        circular = await rows.circular(session, state=CircularState.APPROVED)
        await service.schedule_send(session, circular.id, moment, zone="UTC", at=clock.now(), by="anna")
    fired, reconciled = asyncio.Event(), asyncio.Event()

    async def reconcile() -> None:
        reconciled.set()
        raise OSError("a reconciler that fails stops nothing")

    ticker = Ticker(
        database,
        clock,
        actions,
        fire_late=dt.timedelta(hours=1),
        reconcile=reconcile,
        told=lambda _: fired.set(),
    )
    running = asyncio.create_task(ticker.run())
    try:
        await asyncio.wait_for(fired.wait(), 20)
        await asyncio.wait_for(reconciled.wait(), 20)
    finally:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert moment <= clock.now() < moment + dt.timedelta(seconds=10)
    assert actions.calls == [("send", circular.id)]
