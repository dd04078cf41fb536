"""`chancery audience`: who a rule comes to on a date, why, and which States have no addressee."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailer.cli.context import Format, FormatOption, show_rows, with_app

if TYPE_CHECKING:
    import datetime as dt

    from lists.audiences import Resolved
    from mailer.app import App

app = typer.Typer(help="Who a rule comes to, and why.", no_args_is_help=True)

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

    async def work(app: "App") -> "tuple[Resolved, Resolved | None, dt.date]":
        from lists.audiences import resolve

        day = first or today(app)
        async with app.database.read() as session:

            async def on(date: "dt.date") -> "Resolved":
                counting = app.settings.roll.counting
                return await resolve(
                    session, app.roll, to=[rule], cc=[], except_=[], as_of=date, on=date, counting=counting
                )

            return await on(day), await on(second) if second else None, day

    now, then, day = with_app(work)
    rows = _rows(now, everything=out)
    columns = {"what": "", "state": "State", "organization": "organization", "mailboxes": "mailboxes", "why": "why"}
    if then is not None:
        rows = _difference(rows, _rows(then, everything=out), str(day), str(diff))
    counts = f"{len(now.addressees)} organizations, {len(now.unaddressed)} States without addressee"
    if form is Format.JSON:
        print(json.dumps({"rule": rule, "as_of": day.isoformat(), "rows": rows}, ensure_ascii=False, indent=2))
        return
    if form is Format.TABLE:  # how many is enough for the eye; csv and json have the addresses
        rows = [row | {"mailboxes": row["mailboxes"].count("@") or ""} for row in rows]
    show_rows(rows, columns, form, title=f"{rule} on {day}: {counts}")


def _rows(resolved: "Resolved", *, everything: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {
            "what": _IN,
            "state": one.state_iso3 or "",
            "organization": one.organization,
            "mailboxes": ", ".join(box.address for box in one.mailboxes),
            "why": one.why,
        }
        for one in resolved.addressees
    ]
    rows.extend(
        {"what": _NOBODY, "state": one.state_iso3, "organization": one.state, "mailboxes": "", "why": one.why}
        for one in resolved.unaddressed
    )
    left = [(_OUT, one) for one in resolved.excluded]
    left += [(_OTHER, one) for one in resolved.not_chosen] if everything else []
    rows.extend(
        {"what": what, "state": "", "organization": one.organization, "mailboxes": "", "why": one.why}
        for what, one in left
    )
    return rows


def _difference(
    rows: list[dict[str, Any]], others: list[dict[str, Any]], day: str, other_day: str
) -> list[dict[str, Any]]:
    """What only one of the two days has; a State that got or lost its addressee shows in both."""

    def key(row: dict[str, Any]) -> tuple[str, str, str]:
        return (row["what"], row["organization"], row["mailboxes"])

    here, there = {key(row) for row in rows}, {key(row) for row in others}
    found = [row | {"what": f"{row['what']} on {day}"} for row in rows if key(row) not in there]
    return found + [row | {"what": f"{row['what']} on {other_day}"} for row in others if key(row) not in here]
