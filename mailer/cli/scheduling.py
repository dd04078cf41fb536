"""`chancery circular schedule`: have an approved circular start at a time; `serve` keeps it."""

from typing import Annotated, Any

import typer

from mailer.cli import context
from mailer.cli.circular import app


@app.command()
def schedule(
    ident: Annotated[str, typer.Argument(metavar="ID", help="number of the draft, or reference")],
    at: Annotated[
        str,
        typer.Option(
            metavar="T", help="2006-07-10T09:00 in the home's zone, or with an offset; a day alone: at the home's hour"
        ),
    ],
    finish_by: Annotated[
        str | None,
        typer.Option(metavar="T", help="spread the letters until then, as with `chancery circular send`"),
    ] = None,
) -> None:
    """Have an approved circular start sending at a time; a later call replaces it."""

    async def work(application: Any) -> int:
        from mailer.circulars.desk import find
        from mailer.cli import foretelling
        from mailer.schedule import rules, service

        calendar = application.settings.calendar
        moment = rules.parse_moment(at, zone=calendar.timezone, at=calendar.at)
        async with application.database.write() as session:
            circular = await find(session, ident)
            row = await service.schedule_send(
                session,
                circular.id,
                moment,
                zone=calendar.timezone,
                at=application.clock.now(),
                by=application.by,
            )
            circular.finish_by = await foretelling.spread_until(application, session, circular, finish_by, begin=moment)
        for line in await foretelling.of_approved(application, circular.id, begin=moment):
            print(line)
        print(f"{circular.reference} starts {rules.local(row.due_at, row.zone)}, if `chancery serve` runs then.")
        return context.LATER

    raise typer.Exit(context.with_app(work))
