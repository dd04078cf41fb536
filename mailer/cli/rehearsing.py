"""`chancery circular rehearse`: what would come of a sending, shown by sending to a relay of our own."""

import datetime as dt
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lists.counted import counted
from mailer.cli import context
from mailer.cli.circular import app
from mailer.cli.report import ReportFormat

if TYPE_CHECKING:
    from mailer.rehearse import Duration, Rehearsed

#: Below this no pace was felt.
_A_MOMENT = dt.timedelta(seconds=1)

Id = Annotated[str, typer.Argument(metavar="ID", help="number of the draft, or reference")]


@app.command()
def rehearse(
    ident: Id,
    faults: Annotated[
        Path | None, typer.Option(metavar="FILE", help="what goes wrong; config/README.md has the words")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="where every letter is left as .eml; default: rehearsals/REF of the home"),
    ] = None,
    form: Annotated[ReportFormat, typer.Option("--format", help="table, json, csv or html")] = ReportFormat.TABLE,
    waive: Annotated[
        list[str] | None,
        typer.Option("--waive", metavar="FINDING", help="a finding to set aside for this rehearsal only"),
    ] = None,
) -> None:
    """Send it to a mail server that we play, and show the report that would come; nothing leaves."""
    import asyncio

    async def work(application: Any) -> int:
        from mailer import rehearse as rehearsal
        from mailer.cli import running
        from mailer.rehearsal.faults import Faults

        script = Faults.load(faults) if faults else None
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio runs us in one
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        try:
            done = await rehearsal.rehearse(
                application, ident, faults=script, out=out, waive=waive or (), show=running.progress_bar
            )
        finally:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
        return _tell(done, form)

    try:
        code = context.with_app(work)
    except asyncio.CancelledError:
        code = context.INTERRUPTED
    raise typer.Exit(code)


def _tell(done: "Rehearsed", form: ReportFormat) -> int:
    """Print what came of it; the exit code is the one that the sending would end with."""
    from lists.kinds import Severity
    from mailer.cli import report, running
    from mailer.cli.circular import show_stopped

    if done.report is None or done.standing is None or done.duration is None:
        show_stopped(done.name, done.stopped, "not rehearsed: it could not be approved")
        if all(one.severity is Severity.WAIVABLE for one in done.stopped):
            codes = " ".join(f"--waive {code}" for code in dict.fromkeys(one.code for one in done.stopped))
            print(f"To set them aside for a rehearsal only: chancery circular rehearse {done.name} {codes}")
        return context.LOOK
    report.show(done.report, form)
    say = context.err if form is not ReportFormat.TABLE else context.out
    for line in _last_lines(done, done.duration):
        say.print(line, markup=False, highlight=False, soft_wrap=True)
    standing = done.standing
    if done.unwritten is not None:
        raise done.unwritten
    if standing.held_why:
        context.err.print(f"Nothing more would leave: {standing.held_why}", markup=False, soft_wrap=True)
        return context.FAILED
    if waiting := standing.total - standing.done:
        why = f": {done.trouble}" if done.trouble else ""
        context.err.print(f"{counted(waiting, 'address')} would still wait{why}", markup=False, soft_wrap=True)
        return context.LATER
    return context.LOOK if any(standing.recipients.get(state) for state in running.LOOK_AT) else context.OK


def _last_lines(done: "Rehearsed", duration: "Duration") -> list[str]:
    """What a person hears after the report."""
    from mailer.circulars.states import RecipientState
    from mailer.delivery.forecast import length

    lines = [f"This was a rehearsal: no letter has left, and the account of {done.name} is as it was."]
    if done.standing is None or done.standing.recipients.get(RecipientState.ACCEPTED):
        lines.append(_pace(duration))
    if duration.all > duration.first:
        lines.append(f"The last new try would be {length(duration.all)} after the beginning.")
    if done.unwritten is None:
        lines.append(f"Every letter as a file: {done.folder} ({done.letters}).")
    return lines


def _pace(duration: "Duration") -> str:
    from mailer.delivery.forecast import length

    seen = duration.foreseen
    if seen.takes is None and duration.first < _A_MOMENT:
        connections = f"{seen.connections} connection{'s' if seen.connections != 1 else ''}"
        return f"The settings set no pace: it would take as long as {connections} to the mail server need."
    at = f" at {seen.why}" if seen.why else ""
    beside = ""
    if seen.beside and seen.takes is not None:
        others = "another circular" if seen.beside == 1 else f"{seen.beside} other circulars"
        beside = f"; beside {others} that leave now, {length(seen.takes)}"
    return f"Handing over the letters would take {length(duration.first)}{at}{beside}."
