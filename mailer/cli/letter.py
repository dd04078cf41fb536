"""`chancery letter show`: the account of one letter."""

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


@app.callback()
def _noun() -> None:
    """Keep `show` a verb of its own while it is the only one."""


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
        from mailer.circulars.service import find
        from mailer.reports import letter, letter_table

        now = application.clock.now()
        async with application.database.read() as session:
            circular = await find(session, ref)
            account = await letter.account(session, circular, organization, application.roll)
            number = account.letter.id
            if as_ is As.EML:
                _eml(await letter.bytes_again(session, number, now=now), out)
                return
            text = await letter.text_again(session, number, now=now)
        letter_table.show(account, text, context.out, zone=application.settings.calendar.timezone)

    context.with_app(work)


def _eml(made: "Bytes", out: Path | None) -> None:
    """The bytes to a file or to standard output; what they are, to standard error."""
    if out is not None:
        from mailer.cli.report import write

        write(out, [made.eml])
        context.err.print(f"Written: {out}", markup=False)
    else:
        sys.stdout.buffer.write(made.eml)
        sys.stdout.buffer.flush()
    if made.as_sent is None:
        context.err.print("Nothing of this letter has left yet: these are the bytes as they would leave now.")
    elif made.as_sent:
        context.err.print(f"The bytes are those that were sent: yes (sha256 {made.sent_sha256}).")
    else:
        context.err.print(
            f"The bytes are those that were sent: NO. Sent {made.sent_sha256}, made again {made.composed.sha256}."
        )
