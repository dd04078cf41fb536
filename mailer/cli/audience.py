"""`chancery audience`: who a rule comes to on a date, why, and which States have no addressee."""

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lists.counted import counted
from mailer.cli.context import Format, FormatOption, with_app

if TYPE_CHECKING:
    import datetime as dt

    from sqlalchemy.ext.asyncio import AsyncSession

    from lists.audiences import Chosen
    from mailer.app import App

app = typer.Typer(help="Who a rule comes to, and why.", no_args_is_help=True)

_Pieces = Callable[[], AsyncIterator[list[dict[str, Any]]]]
_COLUMNS = {"what": "", "state": "State", "organization": "organization", "mailboxes": "mailboxes", "why": "why"}
_IN, _NOBODY, _OUT, _OTHER = "in", "no addressee", "out", "not chosen"


@app.command()
def show(
    rule: Annotated[
        str, typer.Argument(help="such as 'states-parties@geneva else new-york', organizations, list:NAME, NOR")
    ],
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="D", help="the date, as 2006-07-07; default: today")
    ] = None,
    diff: Annotated[str | None, typer.Option(metavar="D", help="show only what differs from this date")] = None,
    out: Annotated[bool, typer.Option("--all", help="also organizations that the rule passes over")] = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Each organization of a rule with the reason, and the States without addressee."""
    from mailer.cli.days import day_of, today

    first, second = day_of(as_of, "--as-of"), day_of(diff, "--diff")

    async def work(app: "App") -> None:
        from lists.audiences import choose
        from mailer.cli.listings import show_pieces

        day = first or today(app)
        async with app.database.read() as session:

            async def on(date: "dt.date") -> "Chosen":
                return await choose(
                    session, app.roll, to=[rule], as_of=date, on=date, counting=app.settings.roll.counting
                )

            now = await on(day)
            then = await on(second) if second else None

            def pieces() -> "AsyncIterator[list[dict[str, Any]]]":
                if then is None:
                    return _rows(now, session, everything=out)
                return _difference(
                    lambda: _rows(now, session, everything=out),
                    lambda: _rows(then, session, everything=out),
                    str(day),
                    str(diff),
                )

            counts = f"{counted(len(now), 'organization')}, {counted(len(now.unaddressed), 'State')} without addressee"
            await show_pieces(
                (lambda: _counted(pieces())) if form is Format.TABLE else pieces,
                _COLUMNS,
                form,
                title=f"{rule} on {day}: {counts}",
                head={"rule": rule, "as_of": day.isoformat()},
            )

    with_app(work)


async def _counted(pieces: "AsyncIterator[list[dict[str, Any]]]") -> "AsyncIterator[list[dict[str, Any]]]":
    """How many mailboxes is enough for the eye; csv and json have the addresses."""
    async for rows in pieces:
        yield [row | {"mailboxes": row["mailboxes"].count("@") or ""} for row in rows]


async def _rows(
    chosen: "Chosen", session: "AsyncSession", *, everything: bool
) -> "AsyncIterator[list[dict[str, Any]]]":
    """A row for each organization and each State without addressee, some hundreds at a time."""
    async for some in chosen.pieces(session):
        yield [
            {
                "what": _IN,
                "state": one.state_iso3 or "",
                "organization": one.organization,
                "mailboxes": ", ".join(box.address for box in one.mailboxes),
                "why": one.why,
            }
            for one in some
        ]
    rows = [
        {"what": _NOBODY, "state": one.state_iso3, "organization": one.state, "mailboxes": "", "why": one.why}
        for one in chosen.unaddressed
    ]
    left = [(_OUT, one) for one in chosen.excluded]
    left += [(_OTHER, one) for one in chosen.not_chosen] if everything else []
    rows.extend(
        {"what": what, "state": "", "organization": one.organization, "mailboxes": "", "why": one.why}
        for what, one in left
    )
    yield rows


async def _difference(
    rows: "_Pieces", others: "_Pieces", day: str, other_day: str
) -> "AsyncIterator[list[dict[str, Any]]]":
    """What only one of the two days has; a State that got or lost its addressee shows in both."""

    def key(row: dict[str, Any]) -> int:
        return hash((row["what"], row["organization"], row["mailboxes"]))

    # of each row a number only: the rows of two days would not fit where those of one do
    here = {key(row) async for some in rows() for row in some}
    there = {key(row) async for some in others() for row in some}
    async for some in rows():
        yield [row | {"what": f"{row['what']} on {day}"} for row in some if key(row) not in there]
    async for some in others():
        yield [row | {"what": f"{row['what']} on {other_day}"} for row in some if key(row) not in here]
