"""`chancery demo`: the whole road on shipped data, with a relay of its own."""

import time
from pathlib import Path
from typing import Annotated

import typer

from mailer.cli import context

app = typer.Typer()


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Option(help="where it is played; an earlier demonstration there is cleared away")
    ] = Path("demo"),
    database: Annotated[
        str | None, typer.Option(help="an empty PostgreSQL in place of a file: postgresql://USER@HOST/NAME")
    ] = None,
) -> None:
    """Send two circulars of 2002 and 2006 and a reminder to a relay of our own; leaves a folder to look at."""
    from mailer.demo.story import play

    began = time.monotonic()
    names = context.run_to_end(play(folder.resolve(), context.out, database))
    took = time.monotonic() - began
    last = names[1]
    print()
    print(
        f"Sent {', '.join(names)} in {took:.0f} s. Reports: {folder}/reports/*.html; every letter: {folder}/letters/."
    )
    print(f"Look closer: chancery --home {folder} report {last}; chancery --home {folder} letter show {last} Brazil")
    print("Then one of your own: chancery init office; the README has it in five minutes.")
