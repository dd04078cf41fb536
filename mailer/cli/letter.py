"""`chancery letter show | copy`: the account of one letter, and sending it once more as a copy."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailer.cli import context

if TYPE_CHECKING:
    from mailer.reports.letter import Bytes

app = typer.Typer(help="One letter of a circular.", no_args_is_help=True)


class As(StrEnum):
    """What is shown of a letter."""

    TEXT = "text"
    EML = "eml"


@app.command()
def show(
    ref: Annotated[str, typer.Argument(metavar="REF", help="reference or number of the circular")],
    organization: Annotated[
        str, typer.Argument(metavar="ORG", help="its number, its name, or its State and seat (FRA, 'France geneva')")
    ],
    as_: Annotated[As, typer.Option("--as", help="text: the account; eml: the bytes, made again")] = As.TEXT,
    out: Annotated[Path | None, typer.Option(help="write the bytes to this file (with --as eml)")] = None,
) -> None:
    """The answer to "we never got it": every try, what was said, and what the letter says."""

    async def work(application: Any) -> None:
        from mailer.circulars.desk import find
        from mailer.reports import letter, letter_table

        now = application.clock.now()
        async with application.database.read() as session:
            circular = await find(session, ref)
            account = await letter.account(session, circular, organization, application.roll)
            number = account.letter.id
            if as_ is As.EML:
                _eml(await letter.bytes_again(session, number, now=now, keys=application.keys), out)
                return
            text = await letter.text_again(session, number, now=now)
        letter_table.show(account, text, context.out, zone=application.settings.calendar.timezone)

    context.with_app(work)


@app.command()
def copy(
    ref: Annotated[str, typer.Argument(metavar="REF", help="reference or number of the circular")],
    organization: Annotated[str, typer.Argument(metavar="ORG", help="as for `chancery letter show`")],
    to: Annotated[str | None, typer.Option(help="the address that gets it; default: its mailboxes of today")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask; a script must give it")] = False,
) -> None:
    """Send a letter that they have once more, marked as a copy."""

    async def work(application: Any) -> int:
        from mailer.circulars.copies import freeze_copy
        from mailer.circulars.desk import find
        from mailer.errors import BadInput
        from mailer.reports import letter

        async with application.database.read() as session:
            circular = await find(session, ref)
            account = (await letter.account(session, circular, organization, application.roll)).letter
        whom = account.organization if to is None else to
        if not yes:
            if not sys.stdin.isatty():
                raise BadInput(
                    "a second copy of a letter must be confirmed", where=f"letter copy {ref}", remedy="give --yes"
                )
            with context.asking():
                typer.confirm(f"Send {whom} the letter to {account.organization} once more, as a copy?", abort=True)
        made, name = await freeze_copy(
            application.database,
            application.clock,
            account.id,
            to=to,
            by=application.by,
            zone=application.settings.calendar.timezone,
        )
        await application.delivery.start(made, by=application.by)
        print(f"{name}: a copy of the letter to {account.organization}, marked as one, goes to {whom}.")
        print(f"`chancery serve` sends it, or `chancery circular send {name}`.")
        return context.LATER

    raise typer.Exit(context.with_app(work))


def _eml(made: "Bytes", out: Path | None) -> None:
    """The bytes to a file or to standard output; what they are, to standard error."""
    if out is not None:
        from mailer.cli.report import write

        write(out, [made.eml])
        context.err.print(f"Written: {out}", markup=False)
    else:
        sys.stdout.buffer.write(made.eml)
        sys.stdout.buffer.flush()
    if made.unsigned is not None:
        sent = f" Those that were sent have the sha256 {made.sent_sha256}." if made.sent_sha256 else ""
        context.err.print(
            f"The signature can't be made again, so these bytes lack it and can't be compared: {made.unsigned}{sent}",
            markup=False,
        )
    elif made.as_sent is None:
        context.err.print("Nothing of this letter has left yet: these are the bytes as they would leave now.")
    elif made.as_sent:
        context.err.print(f"The bytes are those that were sent: yes (sha256 {made.sent_sha256}).")
    else:
        context.err.print(
            f"The bytes are those that were sent: NO. Sent {made.sent_sha256}, made again {made.composed.sha256}."
        )
