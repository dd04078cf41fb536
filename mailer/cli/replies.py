"""`chancery replies list | record`: who answered what."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailer.cli import context
from mailer.cli.context import Format, FormatOption

if TYPE_CHECKING:
    from mailer.replies.service import ReplyLine

app = typer.Typer(help="What organizations answered to a circular.", no_args_is_help=True)

Ref = Annotated[str, typer.Argument(metavar="REF", help="reference or number of the circular")]

_COLUMNS = {
    "organization_id": "No.",
    "organization": "Organization",
    "answer": "Answer",
    "names": "Names",
    "note": "Note",
    "at": "When",
    "by": "By",
}


@app.command("list")
def list_(
    ref: Ref,
    missing: Annotated[bool, typer.Option("--missing", help="only those who have not answered")] = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Every organization of a circular with its answer, or without one."""

    async def work(application: Any) -> None:
        from mailer.circulars.desk import find
        from mailer.cli.listings import show_pieces
        from mailer.replies import service

        async with application.database.read() as session:
            circular = await find(session, ref)
            counts = {True: 0, False: 0}

            async def pieces() -> AsyncIterator[list[dict[str, Any]]]:
                counts.update({True: 0, False: 0})
                async for some in service.lines(session, circular.id):
                    for line in some:
                        counts[line.answer is not None] += 1
                    yield [_row(line) for line in some if not missing or line.answer is None]

            await show_pieces(pieces, _COLUMNS, form)
        if form is Format.TABLE:
            print(f"{counts[True]} of {sum(counts.values())} have answered; {counts[False]} have not.")

    context.with_app(work)


def _row(line: "ReplyLine") -> dict[str, Any]:
    return {
        "organization_id": line.organization_id,
        "organization": line.organization,
        "state_iso3": line.state_iso3,
        "answer": line.answer,
        "names": line.names,
        "note": line.note,
        "at": line.at.isoformat(timespec="minutes") if line.at else None,
        "by": line.by,
        "answers": line.answers,
    }


@app.command()
def record(
    ref: Ref,
    organization: Annotated[
        str, typer.Argument(metavar="ORG", help="its number, its name, or its State and seat (FRA, 'France geneva')")
    ],
    answer: Annotated[str, typer.Argument(metavar="ANSWER", help="attends, declines, acknowledged, or a few words")],
    names: Annotated[str, typer.Option(help="who comes")] = "",
    note: Annotated[str, typer.Option(help="anything else worth keeping")] = "",
) -> None:
    """Keep what an organization answered; the last answer counts."""

    async def work(application: Any) -> None:
        from mailer.circulars.desk import find
        from mailer.replies import service

        async with application.database.read() as session:
            circular = await find(session, ref)
        line = await service.record(
            application.database,
            application.clock,
            circular.id,
            organization,
            answer,
            by=application.by,
            roll=application.roll,
            names=names,
            note=note,
        )
        before = f" Its {line.answers - 1} earlier answers are kept." if line.answers > 1 else ""
        print(f"{line.organization}: {line.answer}.{before}")

    context.with_app(work)
