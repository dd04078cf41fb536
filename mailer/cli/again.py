"""`chancery circular resolve | resend`: what a person says of letters in doubt, and sending again what has failed."""

from typing import Annotated, Any

import typer

from lists.counted import counted
from mailer.cli import context
from mailer.cli.circular import app
from mailer.cli.sending import Id, confirm, look


@app.command()
def resend(
    ident: Id,
    failed: Annotated[
        bool, typer.Option("--failed", help="the addresses that were refused, given up or withheld")
    ] = False,
    letter: Annotated[int | None, typer.Option(help="number of one letter; see `chancery report`")] = None,
    to: Annotated[str | None, typer.Option(help="a further address for that letter, which stays as it is")] = None,
    why: Annotated[str | None, typer.Option(help="the reason for it, for the account")] = None,
    expect: Annotated[int | None, typer.Option(help="the number of letters you expect; a script must give it")] = None,
) -> None:
    """Send again what has failed, or one letter to a further address."""

    async def work(application: Any) -> int:
        from mailer.circulars.states import CircularState
        from mailer.delivery import resend as again
        from mailer.errors import BadInput

        if failed == (to is not None) or (to is not None and (letter is None or why is None)):
            raise BadInput(
                "say --failed, or name one letter, its further address and the reason",
                where=f"circular resend {ident}",
                remedy=f'chancery circular resend {ident} --letter NUMBER --to ADDRESS --why "..."',
            )
        circular_id = (await look(application, ident))[0]
        rows, clock, by = application.database, application.clock, application.by
        if to is not None:
            if expect not in {None, 1}:
                raise BadInput("one letter goes to a further address", where=f"--expect {expect}")
            address = await again.add(rows, clock, circular_id, letter or 0, to, why=why or "", by=by)
            print(f"Letter {letter} goes to {address} too, as it stands; its heading does not name that address.")
        else:
            found = await again.look(rows, circular_id, letter)
            said = confirm(found.letters, expect, f"circular resend {ident}") if found.letters else 0
            count = await again.failed(rows, clock, circular_id, by=by, expect=said, letter=letter)
            them, letters = counted(count, "address"), counted(found.letters, "letter")
            print(f"{them} of {letters} {'is' if count == 1 else 'are'} sent to again.")
            if found.ended:
                rest = counted(found.ended, "withheld address") + (" is" if found.ended == 1 else " are")
                print(
                    f"{rest} not: {'its letter has' if found.ended == 1 else 'their letters have'} left for others. For a new address: "
                    f'chancery circular resend {ident} --letter NUMBER --to ADDRESS --why "..."'
                )
        if (await application.delivery.progress(circular_id)).state is CircularState.PAUSED:
            print(f"It is paused. Go on with: chancery circular resume {ident}")
        else:
            print(f"`chancery serve` sends it, or `chancery circular send {ident}`.")
        return context.LATER

    raise typer.Exit(context.with_app(work))


@app.command()
def resolve(
    ident: Id,
    letter: Annotated[int | None, typer.Argument(help="number of the letter in doubt; see `chancery report`")] = None,
    every: Annotated[bool, typer.Option("--all", help="all letters of the circular that are in doubt")] = False,
    sent: Annotated[bool, typer.Option("--sent", help="they have it")] = False,
    resend: Annotated[bool, typer.Option("--resend", help="they do not have it: send it again")] = False,
) -> None:
    """Say what became of letters that are in doubt."""

    async def work(application: Any) -> int:
        from mailer.errors import BadInput

        if sent == resend or (letter is None) != every:
            raise BadInput(
                "name one letter, or --all, and say --sent or --resend",
                where=f"circular resolve {ident}",
                remedy=f"chancery circular resolve {ident} --all --sent",
            )
        circular_id = (await look(application, ident))[0]
        count = await application.delivery.resolve(
            circular_id, letter, sent=sent, by=application.by, lease=application.settings.delivery.lease
        )
        what = "counted as handed over" if sent else "will be sent again: `chancery serve`, or `chancery circular send`"
        print(f"{counted(count, 'address')} {what}.")
        return context.OK if sent else context.LATER

    raise typer.Exit(context.with_app(work))
