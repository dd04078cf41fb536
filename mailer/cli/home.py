"""The home: make one, look after it, show its settings."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailer import coordinators
from mailer.cli import context
from mailer.cli.context import Format, FormatOption

if TYPE_CHECKING:
    from mailer.checkup import Line

app = typer.Typer()

_SIGNS = {"green": ("✓", "ok"), "yellow": ("!", "look"), "red": ("✗", "NO")}


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="the folder to make; default: the current one")] = Path(),
    preset: Annotated[str | None, typer.Option(help="kind of mail server: postfix, microsoft365, google")] = None,
    host: Annotated[str | None, typer.Option(help="the mail server that takes your letters")] = None,
    port: Annotated[int | None, typer.Option(help="its port; default: 587")] = None,
    username: Annotated[str | None, typer.Option(help="the login at the mail server")] = None,
    ca_file: Annotated[Path | None, typer.Option(help="certificate file of your office's own authority")] = None,
    sender: Annotated[str | None, typer.Option(help="the address that circulars leave from")] = None,
    database: Annotated[
        str | None, typer.Option(help="PostgreSQL in place of a file: postgresql://USER@HOST/NAME; it must exist")
    ] = None,
) -> None:
    """Make a home: a folder with settings, database and templates."""
    from mailer import homes

    first = homes.First(
        preset=preset,
        host=host,
        port=port,
        username=username,
        ca_file=str(ca_file.resolve()) if ca_file else None,
        sender=sender,
        database=database,
    )
    was = homes.is_home(folder)
    made = context.run_to_end(homes.make(folder, first))
    place = folder.resolve()
    if was:
        print(
            f"{place} is a home already; "
            + (f"made what it lacked: {', '.join(made)}." if made else "nothing was changed.")
        )
        return
    print(f"Made a home in {place}: {', '.join(reversed(made))}.\n\nWhat to do next:")
    steps = ["correct the mail server and the sender in chancery.toml"]
    if username or not host:
        steps.append("write the password of the mail server into relay.password: (umask 077; cat > relay.password)")
    steps += ["chancery doctor       is all well?"]
    prefix = "" if place == Path.cwd() else f"cd {folder}, then "
    for number, step in enumerate(steps, 1):
        print(f"  {number}. {prefix if number == 1 else ''}{step}")


@app.command()
def settings(form: FormatOption = Format.TABLE) -> None:
    """Show every setting and where its value came from; secrets are hidden."""
    from mailer.settings.loader import load

    loaded = load(context.find_home())
    context.show_rows(loaded.rows(), {"key": "setting", "value": "value", "origin": "from"}, form)
    for warning in loaded.warnings:
        print(f"chancery: {warning}", file=sys.stderr)


@app.command()
def doctor(
    send_test: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="send a test letter to this address by each mail server, of senders and of routes"
        ),
    ] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Look at home, settings, database, disk and mail servers; each red line says how to mend it."""
    from mailer import checkup
    from mailer.clock import SystemClock

    async def look() -> list[checkup.Line]:
        lines = []
        async for line in checkup.look(home, SystemClock(), send_test=send_test, by=by):
            if form is Format.TABLE:
                _show(line)
            lines.append(line)
        return lines

    home = context.find_home()
    by = coordinators.acting(context.given.by) if send_test is not None else ""
    lines = context.run_to_end(look())
    rows = [{"name": line.name, "state": line.light.value, "what": line.what, "mend": line.mend} for line in lines]
    if form is Format.JSON:
        print(json.dumps(rows, ensure_ascii=False, indent=2))
    elif form is Format.CSV:
        context.show_rows(rows, {"name": "name", "state": "state", "what": "what", "mend": "mend"}, form)
    if any(line.light is checkup.Light.RED for line in lines):
        raise typer.Exit(context.LOOK)


def _show(line: "Line") -> None:
    from rich.text import Text

    sign, word = _SIGNS[line.light.value]
    plain = not context.out.is_terminal or "NO_COLOR" in os.environ
    text = Text(f"{word if plain else sign:<5}", style=line.light.value)
    text.append(f"{line.name}: {line.what}", style="default")
    context.out.print(text, soft_wrap=True)
    if line.mend:
        context.out.print(Text(f"     mend: {line.mend}", style="bold"), soft_wrap=True)
