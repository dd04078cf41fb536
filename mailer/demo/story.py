"""The demonstration: two circulars of a treaty's life and a reminder, through real SMTP, by the same code as in earnest.

The clock is moved by hand; nothing but the engine and the ticker, looking at that clock, starts retries and the reminder.
"""

import asyncio
import datetime as dt
import hashlib
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from sqlalchemy import select

from lists.importing.service import apply, check_file, plan
from lists.kinds import Severity
from mailer.circulars import service as circulars
from mailer.circulars.models import Circular, Letter, Recipient
from mailer.circulars.states import RecipientState
from mailer.demo.leaving import leave_letters, leave_reports
from mailer.demo.stage import HERE, Stage, stage
from mailer.dispatch import Sending, sending
from mailer.errors import Defect
from mailer.register.changes import record
from mailer.replies import service as replies
from mailer.reports import delivery as reports

_GENEVA = ZoneInfo("Europe/Zurich")
_DRAFTER, _APPROVER = "A. Drafter", "B. Approver"
_WHY = "it has no mission and no address with us; its capital was told by post"
#: Every so-manieth organization answers circular B before the reminder.
_ANSWERS = 3
_ANSWER_WORDS = ("attends", "attends", "declines")
_TICK = 0.02


@dataclass
class _Players:
    """What a scene needs."""

    stage: Stage
    sending: Sending
    screen: Console

    def say(self, text: str) -> None:
        """One line on the screen."""
        self.screen.print(text, markup=False, highlight=False)


async def play(folder: Path, screen: Console, database: str | None = None) -> list[str]:
    """Play it in *folder*; the references of the circulars that were sent, in order.

    Args:
        folder: the home to be.
        screen: where it is told.
        database: URL of an empty PostgreSQL for the rows; None: a file in the folder.

    Raises:
        BadInput: the folder holds something else, or the database is not empty.
        Defect: what the relay has is not what the account says.
    """
    async with stage(folder, _at(2002, 6, 19, 10), database) as scene:
        await _import(scene, screen)
        async with _running(scene) as sender:
            players = _Players(scene, sender, screen)
            memo = await _send(players, "memo-2002")
            scene.clock.move_to(_at(2006, 7, 7, 10))
            letter = await _send(players, "letter-2006")
            await _replies(players, letter)
            reminder = await _reminder(players, letter)
        return [await _leave(players, number) for number in (memo, letter, reminder)]


def _at(year: int, month: int, day: int, hour: int) -> dt.datetime:
    return dt.datetime(year, month, day, hour, tzinfo=_GENEVA)


async def _import(scene: Stage, screen: Console) -> None:
    """The sheet comes in as a coordinator's would."""
    app = scene.app
    sheet = app.home / "contacts.xlsx"
    shutil.copyfile(HERE / "data" / "contacts.xlsx", sheet)
    checked = check_file(sheet, app.roll)
    async with app.database.write() as session:
        steps = await plan(session, checked, today=app.desk.today)
        changes = await apply(session, steps)
        await record(session, changes, by=_DRAFTER, at=app.clock.now(), source=sheet.name)
    screen.print(
        f"Imported {sheet.name}: {len({change.organization_id for change in changes})} organizations.", markup=False
    )


@asynccontextmanager
async def _running(scene: Stage) -> AsyncIterator[Sending]:
    """Engine and ticker at work in the background, until the block ends."""
    async with sending(scene.app, what="demo") as sender:
        tasks = [asyncio.create_task(sender.work()), asyncio.create_task(sender.ticker.run())]
        try:
            yield sender
        finally:
            sender.stop()
            await tasks[0]
            tasks[1].cancel()
            with suppress(asyncio.CancelledError):
                await tasks[1]


async def _send(players: _Players, name: str) -> int:
    """Draft, check, approve and send one circular; its number."""
    desk = players.stage.app.desk
    folder = players.stage.app.home / "circulars" / name
    shutil.copytree(HERE / "circulars" / name, folder)
    drafted = await circulars.new(desk, folder, by=_DRAFTER)
    players.say(f"\n{drafted.reference}  {drafted.title}  ({drafted.date:%d %B %Y})")
    async with desk.database.read() as session:
        checked = await circulars.check(session, drafted, desk)
    letters = checked.prepared.letters
    stops = [finding for finding in checked.findings if finding.severity is Severity.WAIVABLE]
    players.say(f"  checked: {letters} letters, {len(stops)} States without an addressee, each waived with a reason")
    waive = [finding.name for finding in stops]
    await circulars.approve(desk, drafted.id, waive=waive, why=_WHY, by=_APPROVER)
    await players.sending.delivery.start(drafted.id, by=_DRAFTER, expect=letters)
    await _settle(players, drafted.id, drafted.reference or "")
    return drafted.id


async def _settle(players: _Players, number: int, reference: str) -> None:
    """Let it go, moving the clock on to each retry, until the relay has said its last word on every address."""
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("addresses, {task.fields[clock]}"),
    )
    clock = players.stage.clock
    with Progress(*columns, console=players.screen) as bar:
        task = bar.add_task(f"sending {reference}", total=None, clock="")
        while True:
            now = await players.sending.delivery.progress(number)
            local = clock.now().astimezone(_GENEVA)
            bar.update(task, completed=now.done, total=now.total, clock=f"{local:%d %B %Y %H:%M}")
            if now.done == now.total:
                return
            if now.held_why:
                raise Defect(f"the demonstration's relay was held: {now.held_why}")
            deferred = now.recipients.get(RecipientState.DEFERRED, 0)
            if deferred == now.total - now.done and now.next_at is not None and now.next_at > clock.now():
                clock.move_to(now.next_at)
            await asyncio.sleep(_TICK)


async def _replies(players: _Players, number: int) -> None:
    """Some answer in the days that follow."""
    app, clock = players.stage.app, players.stage.clock
    clock.move_to(_at(2006, 7, 10, 11))
    async with app.database.read() as session:
        reached = select(Recipient.letter_id).where(Recipient.state == RecipientState.ACCEPTED)
        asked = await session.scalars(
            select(Letter.organization_id)
            .where(Letter.circular_id == number, Letter.id.in_(reached))
            .order_by(Letter.position)
        )
        chosen = list(asked)[_ANSWERS - 1 :: _ANSWERS]
    for place, organization in enumerate(chosen):
        answer = _ANSWER_WORDS[place % len(_ANSWER_WORDS)]
        await replies.record(app.database, app.clock, number, str(organization), answer, by=_DRAFTER, roll=app.roll)
    players.say(f"  {len(chosen)} organizations have answered by {clock.now().astimezone(_GENEVA):%d %B %Y %H:%M}")


async def _reminder(players: _Players, parent: int) -> int:
    """The clock goes on to the hour of the reminder; the ticker does the rest."""
    due = await players.sending.ticker.next_due()
    if due is None:
        raise Defect("no reminder was planned")
    players.stage.clock.move_to(due)
    players.say(
        f"\nThe clock is moved to {due.astimezone(_GENEVA):%A %d %B %Y %H:%M}; the ticker finds the reminder due"
    )
    while (made := await _child(players, parent)) is None:  # noqa: ASYNC110 - the ticker tells rows, not us
        await asyncio.sleep(_TICK)
    await _settle(players, made.id, made.reference or "")
    return made.id


async def _child(players: _Players, parent: int) -> Circular | None:
    async with players.stage.app.database.read() as session:
        return await session.scalar(
            select(Circular).where(Circular.parent_id == parent, Circular.started_at.is_not(None))
        )


async def _leave(players: _Players, number: int) -> str:
    """Leave the report in three forms and the bytes of every letter that the relay has, compared with the account."""
    app = players.stage.app
    async with app.database.read() as session:
        report = await reports.build(session, number, at=app.clock.now(), zone="Europe/Zurich")
    leave_reports(report, app.home / "reports", players.screen)
    relay = {hashlib.sha256(one.data or b"").hexdigest() for one in players.stage.server.taken}
    await leave_letters(app, number, app.home / "letters" / report.reference.replace("/", "-"), relay)
    return report.reference
