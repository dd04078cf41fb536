"""`chancery serve`: sends what is due and fires schedules until it is stopped."""

import logging
from contextlib import AsyncExitStack
from typing import Annotated, Any

import typer

from lists.counted import counted
from mailer.cli import context

app = typer.Typer()
log = logging.getLogger(__name__)


@app.command()
def serve(
    addresses: Annotated[bool, typer.Option("--log-addresses", help="show addresses whole in log lines")] = False,
) -> None:
    """Send what is due and fire schedules, until stopped."""

    async def work(application: Any) -> int:
        from mailer import logs

        with logs.kept(application.settings.log, application.home, debug=context.given.debug, addresses=addresses):
            return await _serve(application)

    raise typer.Exit(context.with_app(work))


async def _serve(application: Any) -> int:
    import asyncio

    from mailer import dispatch
    from mailer.cli import running

    async with AsyncExitStack() as stack:
        watch = [await stack.enter_async_context(_counters(application))] if _wants_counters(application) else []
        sending = await stack.enter_async_context(dispatch.sending(application, what="serve", told=_tell, watch=watch))
        found = sending.recovered
        if found.put_back or found.settled or found.uncertain:
            context.err.print(
                f"After an unclean end: {counted(found.put_back, 'address')} put back, {found.settled} settled by the journal, "
                f"{found.uncertain} in doubt."
            )
            numbers = {"put_back": found.put_back, "settled": found.settled, "uncertain": found.uncertain}
            log.warning("recovered", extra=numbers)
        context.settle()
        with running.signals(sending):
            context.err.print(f"Serving {application.home}; Ctrl-C stops.", markup=False)
            log.info("serve-started", extra={"home": str(application.home)})
            ticking = asyncio.create_task(sending.ticker.run())
            working = asyncio.create_task(sending.work())
            done, _ = await asyncio.wait({ticking, working}, return_when=asyncio.FIRST_COMPLETED)
            sending.stop()
            await working
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)
            for task in done:
                task.result()
    log.info("serve-stopped")
    return context.OK


def _wants_counters(application: Any) -> bool:
    return application.settings.metrics.port is not None or application.settings.metrics.file is not None


def _counters(application: Any) -> Any:
    from mailer import metrics  # and with it prometheus-client: only where the settings ask for it

    return metrics.kept(application.settings.metrics, application.home, application.database, application.clock)


def _tell(firing: Any) -> None:
    """Say what came of a schedule."""
    why = f": {firing.why}" if firing.why else ""
    context.err.print(f"{firing.schedule.name}, {firing.schedule.what}: {firing.result.value}{why}", markup=False)
