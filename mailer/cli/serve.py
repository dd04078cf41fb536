"""`chancery serve`: sends what is due and fires schedules until it is stopped."""

import asyncio
from typing import Annotated, Any

import typer

from mailer.cli import context

app = typer.Typer()


@app.command()
def serve(
    addresses: Annotated[bool, typer.Option("--log-addresses", help="show addresses whole in log lines")] = False,
) -> None:
    """Send what is due and fire schedules, until stopped."""

    async def work(application: Any) -> int:
        from mailer import dispatch, logs
        from mailer.cli import running

        logs.configure(addresses=addresses)
        async with dispatch.sending(application, what="serve", told=_tell) as sending:
            found = sending.recovered
            if found.put_back or found.settled or found.uncertain:
                context.err.print(
                    f"After an unclean end: {found.put_back} addresses put back, {found.settled} settled by the journal, "
                    f"{found.uncertain} in doubt."
                )
            with running.signals(sending):
                context.err.print(f"Serving {application.home}; Ctrl-C stops.", markup=False)
                ticking = asyncio.create_task(sending.ticker.run())
                working = asyncio.create_task(sending.work())
                done, _ = await asyncio.wait({ticking, working}, return_when=asyncio.FIRST_COMPLETED)
                sending.stop()
                await working
                ticking.cancel()
                await asyncio.gather(ticking, return_exceptions=True)
                for task in done:
                    task.result()
        return context.OK

    raise typer.Exit(context.with_app(work))


def _tell(firing: Any) -> None:
    """Say what came of a schedule."""
    why = f": {firing.why}" if firing.why else ""
    context.err.print(f"{firing.schedule.name}, {firing.schedule.what}: {firing.result.value}{why}", markup=False)
