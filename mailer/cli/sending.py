"""`chancery circular send | pause | resume | cancel | test`: the verbs that move an approved circular."""

import sys
from typing import Annotated, Any

import typer

from lists.counted import counted
from mailer.cli import context
from mailer.cli.circular import app

Id = Annotated[str, typer.Argument(metavar="ID", help="number of the draft, or reference")]


@app.command()
def send(
    ident: Id,
    expect: Annotated[int | None, typer.Option(help="the number of letters you expect; a script must give it")] = None,
    finish_by: Annotated[
        str | None,
        typer.Option(metavar="T", help="spread the letters until then, such as '2006-07-10 18:00'; default: at once"),
    ] = None,
) -> None:
    """Send an approved circular; says how long it will take, and asks for the number of letters."""

    async def work(application: Any) -> int:
        from mailer import logs
        from mailer.settings import LogPlace

        if application.settings.log.to is LogPlace.STDERR:  # where this command speaks to a person
            return await send_now(application)
        with logs.kept(application.settings.log, application.home, debug=context.given.debug):
            return await send_now(application)

    async def send_now(application: Any) -> int:
        from mailer import dispatch
        from mailer.circulars.states import CircularState
        from mailer.cli import foretelling, running
        from mailer.errors import HomeBusy

        circular_id, sender, letters, begun = await look(application, ident, to_send=True)
        told = expect in {None, letters}  # else nothing will leave
        until = await foretelling.before_sending(application, circular_id, finish_by, told=told)
        slept = begun and await _slept(application, circular_id)
        alike = await _alike(application, circular_id) if begun else []
        if slept or not begun:
            confirm(letters, expect, f"circular send {ident}")
        try:
            async with dispatch.sending(application, what="send") as sending:
                if begun and (now := await application.delivery.progress(circular_id)).state is CircularState.SENT:
                    return running.tell(
                        application, now
                    )  # the journal of a process that ended badly told the last of it
                await _probe_first(application, sender)
                await sending.delivery.start(
                    circular_id, by=application.by, expect=None if begun else expect, finish_by=until
                )
                _tell_alike(alike)
                context.settle()
                with running.signals(sending) as taken:
                    async with running.progress_bar(application.delivery, circular_id):
                        await running.work_beside_others(application, sending, circular_id, taken)
                code = running.tell(application, await application.delivery.progress(circular_id), sending.trouble())
                return context.INTERRUPTED if taken.received else code
        except HomeBusy as busy:
            await application.delivery.start(
                circular_id, by=application.by, expect=None if begun else expect, finish_by=until
            )
            context.err.print(f"Handed over: {busy}", markup=False)
            _tell_alike(alike)
            await running.follow(application, circular_id)
            return running.tell(application, await application.delivery.progress(circular_id))

    raise typer.Exit(context.with_app(work))


async def _slept(application: Any, circular_id: int) -> bool:
    """Whether it has waited so long with nothing at work that a person must say again that it goes; says since when."""
    since = await application.delivery.waits_since(circular_id)
    limit = application.settings.delivery.ask_after
    if since is None or not limit or (application.clock.now() - since).total_seconds() <= limit:
        return False
    from mailer.cli.running import local_time

    told = f"It has waited since {local_time(application, since)}. To stop it instead: chancery circular cancel."
    context.err.print(told, markup=False, highlight=False)
    return True


async def look(application: Any, ident: str, *, to_send: bool = False) -> tuple[int, str, int, bool]:
    """Number, sender key, letters of a circular, and whether it has been started before; *to_send*: it must be one that can be sent."""
    from sqlalchemy import func, select

    from mailer.circulars.desk import find, refuse_unsendable
    from mailer.circulars.models import Letter
    from mailer.circulars.states import CircularState
    from mailer.delivery.routes import road_of

    async with application.database.read() as session:
        circular = await find(session, ident)
        if to_send:
            refuse_unsendable(circular)
        letters = await session.scalar(select(func.count()).where(Letter.circular_id == circular.id)) or 0
    road_of(application.settings, circular.sender)
    return circular.id, circular.sender, letters, circular.state == CircularState.SENDING


async def _alike(application: Any, *circulars: int) -> list[str]:
    """Other circulars that wait for a person as one of these does."""
    from mailer.delivery.alike import waiting_alike

    async with application.database.read() as session:
        return await waiting_alike(session, application.settings, circulars)


def _tell_alike(names: list[str]) -> None:
    """Say how they go on; nothing where there are none."""
    import shlex

    if names:
        wait, they = ("waits", "it") if len(names) == 1 else ("wait", "they")
        go_on = f"chancery circular resume {shlex.join(names)}"
        print(f"{', '.join(names)} {wait} for the same. If {they} should go on too: {go_on}")


async def _probe_first(application: Any, sender: str) -> None:
    """Whether one of the sender's relays answers; what the first one says where none does."""
    from mailer.errors import ChanceryError
    from mailer.transport.probe import probe

    failures: list[ChanceryError] = []
    for name in application.settings.senders[sender].relays:
        try:
            await probe(name, application.settings.relays[name], application.home)
        except ChanceryError as error:
            failures.append(error)
        else:
            for failure in failures:
                context.err.print(f"{failure} Letters go by {name} meanwhile.", markup=False)
            return
    raise failures[0]


def confirm(letters: int, expect: int | None, where: str) -> int:
    """Have a person say the number of letters; a script says it beforehand. Gives the number that was said."""
    from mailer.errors import BadInput

    if expect is not None:
        return expect
    if not sys.stdin.isatty():
        raise BadInput("the number of letters must be confirmed", where=where, remedy=f"give --expect {letters}")
    question = f"{counted(letters, 'letter')} will leave. Type their number to send them"
    with context.asking():
        said = typer.prompt(question, default="", show_default=False)
    if said.strip() != str(letters):
        raise BadInput("the number was not confirmed", where=where, remedy="nothing was sent")
    return letters


@app.command()
def test(
    ident: Id,
    to: Annotated[list[str], typer.Option("--to", help="your own address; may be given several times")],
) -> None:
    """Send one copy per language and form to yourself, outside the account."""

    async def work(application: Any) -> int:
        from lists.address import normalise
        from mailer import dispatch
        from mailer.cli.previews import one_of_each
        from mailer.cli.running import RESULT_WORDS
        from mailer.delivery.trial import send_copies
        from mailer.errors import NotFound
        from mailer.transport.base import Fate
        from mailer.transport.probe import probe

        addresses = [normalise(address) for address in to]
        frozen, letters = await one_of_each(application, application.desk, ident)
        if not letters:
            raise NotFound("it has no letters", where=ident, remedy=f"chancery circular check {ident}")
        name = dispatch.relay_of(application.settings, frozen)
        relay = application.settings.relays[name]
        await probe(name, relay, application.home)
        transport = dispatch.smtp_transport(application, name)
        try:
            copies = await send_copies(
                frozen,
                letters,
                addresses,
                transport,
                lambda made, token: dispatch.reverse_path(relay.bounces, made, token),
            )
        finally:
            await transport.close()
        every = [result for copy in copies for _, result in copy.results]
        for copy in copies:
            for address, result in copy.results:
                said = f": {result.why}" if result.why else ""
                reply = f" ({result.reply.code} {result.reply.text})" if result.reply else ""
                print(f"{copy.form} in {copy.language} to {address}: {RESULT_WORDS[result.fate]}{said}{reply}")
        return context.OK if all(result.fate is Fate.ACCEPTED for result in every) else context.LOOK

    raise typer.Exit(context.with_app(work))


@app.command()
def pause(ident: Id) -> None:
    """Hold a circular: what is on the way ends, nothing more starts."""

    async def work(application: Any) -> int:
        import asyncio

        from mailer.circulars.states import CircularState, RecipientState
        from mailer.cli.running import IN_WORDS
        from mailer.dispatch import others_at_work

        circular_id = (await look(application, ident))[0]
        await application.delivery.pause(circular_id, by=application.by)
        while (now := await application.delivery.progress(circular_id)).recipients.get(  # noqa: ASYNC110 - the rows of another process ring no bell
            RecipientState.SENDING
        ) and await others_at_work(application, circular_id):
            await asyncio.sleep(0.1)
        if now.state is not CircularState.PAUSED:  # nothing of it is on the way
            what = "it does not start by itself" if now.state is CircularState.APPROVED else "its reminders are held"
            print(f"{now.reference}: {what}. Go on with: chancery circular resume {now.reference}")
            return context.LATER
        gone = now.recipients.get(RecipientState.ACCEPTED, 0)
        wait = now.total - now.done
        print(
            f"{now.reference} is paused: {counted(gone, 'address')} {IN_WORDS[RecipientState.ACCEPTED]}, {wait} {'waits' if wait == 1 else 'wait'}."
        )
        return context.LATER

    raise typer.Exit(context.with_app(work))


@app.command()
def resume(
    idents: Annotated[list[str], typer.Argument(metavar="ID...", help="numbers of drafts, or references")],
) -> None:
    """Let circulars go on that are paused, or that wait for a person; says which others wait for the same."""

    async def work(application: Any) -> int:
        from mailer.circulars.states import CircularState

        numbers = {(await look(application, ident))[0]: ident for ident in idents}
        alike = await _alike(application, *numbers)
        await application.delivery.resume(*numbers, by=application.by)
        standing = {number: await application.delivery.progress(number) for number in numbers}
        going = [ident for number, ident in numbers.items() if standing[number].state is CircularState.SENDING]
        if going:
            goes, it = ("It goes on", "it") if len(going) == 1 else ("They go on", "them")
            each = ", ".join(f"`chancery circular send {ident}`" for ident in going)
            print(f"{goes}: `chancery serve` sends {it}, or {each}.")
        codes = [context.LATER] * bool(going)
        for number, now in standing.items():
            if now.state is not CircularState.SENDING:
                codes.append(await _tell_resting(application, number, now))
        _tell_alike(alike)
        return max(codes)

    raise typer.Exit(context.with_app(work))


async def _tell_resting(application: Any, circular_id: int, now: Any) -> int:
    """Say of a circular that was let go and sends nothing what it waits for; the exit code."""
    from mailer.circulars.states import CircularState
    from mailer.cli import running
    from mailer.cli.days import planned

    async with application.database.read() as session:
        to_come = await planned(session, circular_id)
    if now.state is CircularState.SENT and not to_come:
        return running.tell(application, now)
    waits = "What waits now:" if to_come else "Nothing of it leaves by itself."
    print("\n".join([f"{now.reference} is {now.state.value}. {waits}", *to_come]))
    return context.LATER


@app.command()
def cancel(ident: Id) -> None:
    """Stop a circular for good; what has not left stays here."""

    async def work(application: Any) -> int:
        from mailer.circulars.desk import find
        from mailer.circulars.drafting import cancel_before_sending
        from mailer.circulars.states import CircularState

        async with application.database.read() as session:
            circular = await find(session, ident)
        name = circular.reference or circular.id
        if circular.state not in {CircularState.DRAFT, CircularState.FREEZING}:
            kept = await application.delivery.cancel(circular.id, by=application.by)
            if circular.state is CircularState.SENT:
                print(f"{name} is sent, and stays so; its reminders are cancelled.")
                return context.OK
            print(f"{name} is cancelled: {counted(kept, 'address')} will not be written to.")
        else:
            await cancel_before_sending(application.database, application.clock, circular.id, by=application.by)
            print(f"{name} is cancelled; its reference is not used again.")
        return context.OK

    raise typer.Exit(context.with_app(work))
