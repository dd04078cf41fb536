"""`chancery report`: what became of a circular."""

from collections.abc import Iterable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailer.cli import context

if TYPE_CHECKING:
    from mailer.reports.lines import Report

app = typer.Typer()


class ReportFormat(StrEnum):
    """How a report is shown."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    HTML = "html"


@app.command()
def report(
    ref: Annotated[str, typer.Argument(metavar="REF", help="reference or number of the circular")],
    form: Annotated[ReportFormat, typer.Option("--format", help="table, json, csv or html")] = ReportFormat.TABLE,
    out: Annotated[Path | None, typer.Option(help="write it to this file")] = None,
) -> None:
    """What became of a circular: at a glance, then what needs a person, and what to do."""

    async def work(application: Any) -> None:
        from mailer.circulars.desk import find
        from mailer.reports.delivery import build

        async with application.database.read() as session:
            circular = await find(session, ref)
            made = await build(
                session, circular.id, at=application.clock.now(), zone=application.settings.calendar.timezone
            )
        show(made, form, out)

    context.with_app(work)


def show(made: "Report", form: ReportFormat, out: Path | None = None) -> None:
    """Print a report, or write it to a file."""
    from mailer.reports import formats, table

    if form is ReportFormat.TABLE:
        pieces: Iterable[str] = [table.as_text(made)] if out else []
        if out is None:
            table.show(made, context.out)
    else:
        pieces = {
            ReportFormat.JSON: formats.as_json,
            ReportFormat.CSV: formats.as_csv,
            ReportFormat.HTML: formats.as_html,
        }[form](made)
    if out is None:
        for piece in pieces:
            print(piece, end="")
    else:
        write(out, (piece.encode() for piece in pieces))
        context.err.print(f"Written: {out}", markup=False)


def write(out: Path, pieces: Iterable[bytes]) -> None:
    """Write a file whole or not at all.

    Raises:
        CannotDo: the folder does not exist, or can't be written to.
    """
    from mailer.errors import CannotDo

    beside = out.with_name(f".{out.name}.part")
    try:
        with beside.open("wb") as file:
            file.writelines(pieces)
        beside.replace(out)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise CannotDo(error.strerror or str(error), where=str(out), remedy="name another file with --out") from None
