"""`chancery roll`: the States and what they are to the treaty on a date."""

from typing import TYPE_CHECKING, Annotated

import typer

from mailer.cli.context import LOOK, Format, FormatOption, show_rows, with_app

if TYPE_CHECKING:
    import datetime as dt

    from lists.kinds import Counting
    from lists.roll import Roll
    from mailer.app import App

app = typer.Typer(help="The States, and what each is to the treaty on a date.", no_args_is_help=True)

AsOf = Annotated[str | None, typer.Option("--as-of", metavar="D", help="the date, as 2006-07-07; default: today")]


def _told(given: str | None) -> "tuple[Roll, dt.date, Counting]":
    from mailer.cli.days import day_of, today

    day = day_of(given, "--as-of")

    async def work(app: "App") -> "tuple[Roll, dt.date, Counting]":
        return app.roll, day or today(app), app.settings.roll.counting

    return with_app(work, check_schema=False)


@app.command()
def show(
    as_of: AsOf = None,
    state: Annotated[str | None, typer.Option(help="only this one, with its events and their sources")] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """All States with their standing on a date, or one State's events."""
    from lists.words import standing

    roll, day, counting = _told(as_of)
    if state is not None:
        one = roll.find(state)
        events = [
            {
                "date": e.date,
                "event": e.kind,
                "instrument": e.instrument,
                "source": e.source,
                "basis": e.basis,
                "note": e.note,
            }
            for e in roll.events(one.iso3)
        ]
        shown = ("date", "event", "instrument", "source", "basis", "note")
        columns = {key: key for key in (shown if form is Format.CSV else ("date", "event", "source", "note"))}
        title = f"{one.name()} ({one.iso3}), {one.name('fr')}: {standing(roll, one.iso3, day, counting)}"
        show_rows(events, columns, form, title=title)
        return
    rows = [
        {
            "iso3": one.iso3,
            "state": one.name(),
            "fr": one.name("fr"),
            "standing": roll.standing(one.iso3, day, counting),
            "why": standing(roll, one.iso3, day, counting),
        }
        for one in roll.existing(day)
    ]
    columns = {"iso3": "code", "state": "State", "fr": "in French", "why": "standing"}
    if form is Format.CSV:
        columns |= {"standing": "class"}
    show_rows(rows, columns, form, title=f"{len(rows)} States on {day}; data as at {roll.as_at}")


@app.command()
def count(
    as_of: Annotated[str, typer.Option("--as-of", metavar="D", help="the date, as 2006-07-07")],
    form: FormatOption = Format.TABLE,
) -> None:
    """How many States Parties there are on a date, by both ways of counting."""
    from lists.kinds import Counting

    roll, day, chosen = _told(as_of)
    rows = []
    for counting in Counting:
        parties, others = roll.parties(day, counting), roll.not_parties(day, counting)
        rows.append(
            {
                "counting": counting.value,
                "parties": len(parties),
                "not_parties": len(others),
                "states": len(parties) + len(others),
                "used": "yes" if counting is chosen else "",
            }
        )
    columns = {
        "counting": "counting",
        "parties": "States Parties",
        "not_parties": "States not Parties",
        "states": "States",
        "used": "used here",
    }
    show_rows(rows, columns, form, title=f"{day}; data as at {roll.as_at}")


@app.command()
def check(form: FormatOption = Format.TABLE) -> None:
    """What does not fit together in the events, shipped and the home's own."""
    roll, _, _ = _told(None)
    findings = roll.check()
    columns = {"severity": "", "where": "State", "what": "what", "remedy": "what to do"}
    show_rows([finding.as_dict() for finding in findings], columns, form, title=f"data as at {roll.as_at}")
    if any(finding.severity.value == "error" for finding in findings):
        raise typer.Exit(LOOK)
