"""`chancery register verify | head`: prove that the account is what was written."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from mailer.cli import context
from mailer.cli.context import Format, FormatOption

app = typer.Typer(help="The append-only account: prove that nothing in it was changed.", no_args_is_help=True)


@app.command()
def verify(
    against: Annotated[
        Path | None, typer.Option(help="heads saved by `register head --format json`: shows a tail that was cut")
    ] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Recompute the register from the rows and name whatever does not fit."""

    async def work(application: Any) -> int:
        from mailer.delivery.proof import chain_disagreements, chain_lines, chains
        from mailer.register.verify import verify as recompute

        saved = _read(against) if against else {}
        async with application.database.read() as session:
            found = await recompute(
                session,
                lines=chain_lines,
                disagreements=partial(chain_disagreements, keys=application.keys),
                chains=chains,
                saved=saved,
            )
        if form is Format.TABLE:
            print(f"{found.chains} chains, {found.links} links, {found.outcomes} outcomes: ", end="")
            print("all as they were written." if not found.faults else f"{len(found.faults)} faults.")
            for fault in found.faults:
                print(f"  {fault}")
        else:
            rows = [{"chain": fault.chain, "link": fault.seq, "what": fault.what} for fault in found.faults]
            context.show_rows(rows, {"chain": "chain", "link": "link", "what": "what"}, form)
        return context.LOOK if found.faults else context.OK

    raise typer.Exit(context.with_app(work))


@app.command()
def head(form: FormatOption = Format.TABLE) -> None:
    """Show the last link of every chain; keep the output in another place."""

    async def work(application: Any) -> None:
        from mailer.register.verify import heads

        async with application.database.read() as session:
            rows = [{"chain": one.chain, "seq": one.seq, "hash": one.hash} for one in await heads(session)]
        context.show_rows(rows, {"chain": "Chain", "seq": "Link", "hash": "Hash"}, form)

    context.with_app(work)


def _read(file: Path) -> Any:
    """Heads saved earlier, by chain."""
    from mailer.errors import BadInput
    from mailer.register.verify import Saved

    try:
        rows = json.loads(file.read_text(encoding="utf-8-sig"))
        saved = {row["chain"]: Saved(row["chain"], int(row["seq"]), row["hash"]) for row in rows}
    except OSError as error:
        raise BadInput(f"it can't be read ({error.strerror})", where=str(file)) from error
    except (ValueError, LookupError, TypeError):
        saved = {}
    if not saved or not all(isinstance(text, str) for one in saved.values() for text in (one.chain, one.hash)):
        raise BadInput(
            "it holds no saved heads", where=str(file), remedy="make it with `chancery register head --format json`"
        )
    return saved
