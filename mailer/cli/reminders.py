"""`chancery reminders list | due | run`: what happens by the calendar."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailer.cli import context
from mailer.cli.context import Format, FormatOption

if TYPE_CHECKING:
    from mailer.schedule.firing import Firing
    from mailer.schedule.service import ScheduleLine

app = typer.Typer(help="Reminders and scheduled sendings.", no_args_is_help=True)

_COLUMNS = {
    "circular": "Circular",
    "what": "What",
    "state": "State",
    "due": "Due",
    "made": "Made",
    "why": "How it was found, or what came of it",
}


@app.command("list")
def list_(form: FormatOption = Format.TABLE) -> None:
    """All reminders and scheduled sendings."""

    async def work(application: Any) -> None:
        from mailer.schedule import service

        async with application.database.read() as session:
            lines = await service.listing(session)
        _show(lines, form)

    context.with_app(work)


@app.command()
def due(form: FormatOption = Format.TABLE) -> None:
    """Those that are due now and have not been taken up."""

    async def work(application: Any) -> None:
        from mailer.schedule import service

        async with application.database.read() as session:
            lines = await service.due(session, application.clock.now())
            coming = await service.next_due(session)
        _show(lines, form)
        if form is Format.TABLE and not lines:
            when = f"; the next is due {coming:%d %B %Y %H:%M} UTC" if coming else " and none waits"
            print(f"Nothing is due now{when}.")

    context.with_app(work)


@app.command()
def run(
    missed: Annotated[bool, typer.Option("--missed", help="also those that were missed")] = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Do now all that is due, and send what it makes."""

    async def work(application: Any) -> int:
        from mailer import dispatch
        from mailer.cli import running
        from mailer.errors import HomeBusy
        from mailer.schedule import service

        if missed:
            async with application.database.write() as session:
                await service.run_missed(session, at=application.clock.now(), by=application.by)
        try:
            async with dispatch.sending(application, what="reminders run") as sending:
                fired = await sending.ticker.tick()
                if any(one.result == "fired" for one in fired):
                    with running.signals(sending) as taken:
                        await sending.work(until=lambda coming: running.patient(application, coming))
                        if taken.received:
                            return context.INTERRUPTED
        except HomeBusy as busy:
            context.err.print(f"What is due is done by the process that sends, within a minute: {busy}", markup=False)
            return context.LATER
        return _told(fired, form)

    raise typer.Exit(context.with_app(work))


def _told(fired: "Sequence[Firing]", form: Format) -> int:
    """Print what came of each; the exit code."""
    rows = [{**_row(one.schedule), "state": one.result.value, "why": one.why} for one in fired]
    if rows or form is not Format.TABLE:
        context.show_rows(rows, _COLUMNS, form)
    else:
        print("Nothing is due now.")
    results = {one.result.value for one in fired}
    if "missed" in results:
        return context.LOOK
    return context.LATER if "will be tried again" in results else context.OK


def _show(lines: "Sequence[ScheduleLine]", form: Format) -> None:
    context.show_rows([_row(line) for line in lines], _COLUMNS, form)


def _row(line: "ScheduleLine") -> dict[str, Any]:
    from mailer.schedule import rules

    return {
        "circular": line.name,
        "what": line.what,
        "state": line.state.value,
        "due": rules.local(line.due_at, line.zone),
        "due_at": line.due_at.isoformat(),
        "fired_at": line.fired_at.isoformat() if line.fired_at else None,
        "made": line.made,
        "rule": line.rule,
        "why": line.why or line.rule,
    }
