"""What commands that send have in common: signals, the progress bar, the last lines and the exit code."""

import asyncio
import contextlib
import datetime as dt
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from lists.counted import counted
from mailer.app import App
from mailer.circulars.states import CircularState, RecipientState
from mailer.cli import context
from mailer.delivery.progress import Progress as Standing
from mailer.delivery.service import Delivery
from mailer.dispatch import Sending, others_at_work
from mailer.transport.base import Fate

#: A command that sends in place waits this long for what falls due next (a relay's back-off), and no longer.
_PATIENCE = dt.timedelta(seconds=60)
_LOOK = 0.2
#: Looks at a circular that waits, before a follower takes that for the end: the word that it is held comes a moment later.
_IDLE_LOOKS = 5

#: States in a person's words, in the order in which they are told.
IN_WORDS: dict[RecipientState, str] = {
    RecipientState.ACCEPTED: "handed to our mail server",
    RecipientState.DEFERRED: "will be tried again",
    RecipientState.QUEUED: "not yet sent",
    RecipientState.SENDING: "on the way",
    RecipientState.REFUSED: "refused",
    RecipientState.EXPIRED: "given up",
    RecipientState.UNCERTAIN: "in doubt",
    RecipientState.WITHHELD: "withheld",
    RecipientState.CANCELLED: "cancelled",
}
#: What became of one trial copy.
RESULT_WORDS: dict[Fate, str] = {
    Fate.ACCEPTED: "handed to our mail server",
    Fate.DEFERRED: "not now; try again later",
    Fate.REFUSED: "refused",
    Fate.UNCERTAIN: "in doubt",
    Fate.NOT_TRIED: "not sent",
}
LOOK_AT = (
    RecipientState.REFUSED,
    RecipientState.EXPIRED,
    RecipientState.UNCERTAIN,
    RecipientState.WITHHELD,
)


class Signals:
    """What a signal did: the first one asks for an orderly end, the second ends at once."""

    def __init__(self, sending: Sending) -> None:
        self._sending = sending
        self.received: signal.Signals | None = None

    def on(self, number: signal.Signals) -> None:
        """Take one signal."""
        if self.received is not None:
            os._exit(context.INTERRUPTED)  # what is now in doubt is in the flight journal
        self.received = number
        context.err.print("Finishing what is on the way, then stopping; once more to stop at once.")
        self._sending.stop()
        asyncio.get_running_loop().call_later(
            self._sending.app.settings.delivery.stop_wait, os._exit, context.INTERRUPTED
        )


@contextmanager
def signals(sending: Sending) -> Iterator[Signals]:
    """Take SIGINT and SIGTERM while *sending* works."""
    loop = asyncio.get_running_loop()
    taken = Signals(sending)
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, taken.on, number)
    try:
        yield taken
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@asynccontextmanager
async def progress_bar(delivery: Delivery, circular_id: int) -> AsyncIterator[None]:
    """Show how far a circular is, where standard error is a terminal."""
    if not context.is_watched():
        yield
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("addresses settled"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=context.err, transient=True) as bar:
        task = bar.add_task("sending", total=None)

        async def look() -> None:
            while True:
                now = await delivery.progress(circular_id)
                bar.update(task, description=now.reference, completed=now.done, total=now.total)
                await asyncio.sleep(_LOOK)

        looking = asyncio.create_task(look())
        try:
            yield
        finally:
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking


async def follow(app: App, circular_id: int) -> None:
    """Show the progress of a circular that another process sends, until nothing of it is due soon, or that process has ended."""
    idle = 0
    async with progress_bar(app.delivery, circular_id):
        while True:
            alone = not await others_at_work(app, circular_id)  # before the rows, so that they hold its last word
            now = await app.delivery.progress(circular_id)
            if alone:
                return
            waits = now.next_at is not None and now.next_at > app.clock.now() + dt.timedelta(seconds=5)
            idle = idle + 1 if waits and not _flying(now) else 0
            if now.state is not CircularState.SENDING or now.held_why or idle > _IDLE_LOOKS:
                return
            await asyncio.sleep(_LOOK)


async def work_beside_others(app: App, sending: Sending, circular_id: int, taken: Signals) -> None:
    """Send in place until nothing of it is due soon; on PostgreSQL other processes may be at it, and what they leave is ours."""
    alone = app.database.sqlite
    while True:
        await sending.work(until=lambda due: patient(app, due))
        if taken.received or alone:
            return
        await sending.bury()
        alone = not await others_at_work(app, circular_id)
        if not alone:
            await asyncio.sleep(_LOOK)


def _flying(standing: Standing) -> int:
    return standing.recipients.get(RecipientState.SENDING, 0)


def patient(app: App, next_due: dt.datetime | None) -> bool:
    """Whether a command that sends in place has done what it can: nothing falls due soon."""
    return next_due is None or next_due > app.clock.now() + _PATIENCE


def local_time(app: App, moment: dt.datetime) -> str:
    """`7 July 2006, 10:20 (Europe/Zurich)`: in the home's zone."""
    from zoneinfo import ZoneInfo

    zone = app.settings.calendar.timezone
    return f"{moment.astimezone(ZoneInfo(zone)):%-d %B %Y, %H:%M} ({zone})"


def tell(app: App, standing: Standing, trouble: str | None = None) -> int:
    """Print where a circular's addresses stand and what to do next.

    Returns:
        The exit code: 0 all well, 1 a person must look, 4 more to come, 3 the relay must be seen to first.
    """
    counts = ", ".join(
        f"{standing.recipients[state]} {words}" for state, words in IN_WORDS.items() if standing.recipients.get(state)
    )
    print(
        f"{standing.reference}: {counted(standing.letters, 'letter')} to {counted(standing.total, 'address')}: {counts or 'none'}."
    )
    name = standing.reference
    if standing.held_why:
        context.err.print(f"Nothing more leaves: {standing.held_why}", markup=False)
        context.err.print(f"Once that is seen to: chancery circular send {name}", markup=False)
        return context.FAILED
    waiting = standing.total - standing.done  # "on the way" too: whoever was sending them has ended
    if standing.state is CircularState.PAUSED:
        print(f"It is paused. Go on with: chancery circular resume {name}")
        return context.LATER
    if waiting:
        if trouble:
            context.err.print(f"Our mail server has trouble: {trouble}", markup=False)
        when = f" until {local_time(app, standing.next_at)}" if standing.next_at else ""
        print(
            f"{counted(waiting, 'address')} {'waits' if waiting == 1 else 'wait'}{when}. `chancery serve` goes on by itself, `chancery circular send {name}` once."
        )
        return context.LATER
    if any(standing.recipients.get(state) for state in LOOK_AT):
        print(f"Some need a person: chancery report {name}")
        return context.LOOK
    return context.OK
