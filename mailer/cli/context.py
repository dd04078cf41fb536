"""What every command shares: the home, who acts, how errors and tables are shown."""

import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mailer import coordinators
from mailer.errors import SettingsError

if TYPE_CHECKING:  # `--help` must not load the house
    from rich.console import Console

    from mailer.app import App

    #: standard output and standard error for people; made at first use, for many commands have nothing to lay out
    out: Console
    err: Console

T = TypeVar("T")

#: Exit codes (DESIGN section 8).
OK, LOOK, BAD_INPUT, FAILED, LATER, INTERRUPTED = 0, 1, 2, 3, 4, 130

#: New objects, less those that went again, before the collector looks for cycles among them. What a letter takes goes by itself.
_YOUNG = 10_000


def __getattr__(name: str) -> "Console":
    if name in {"out", "err"}:
        return _console(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


#: A terminal that says it has fewer columns has not said how many it has.
_NARROWEST = 20


def _console(name: str) -> "Console":
    """`out` or `err`."""
    from rich.console import Console

    class Ours(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # Rich would end the process, as if the command had failed

    if name not in globals():  # a name such as "Friends :x: of ..." is printed as it stands
        told = os.environ.get("COLUMNS", "")
        width = 80 if told.isdecimal() and int(told) < _NARROWEST else None
        globals()[name] = Ours(stderr=name == "err", emoji=False, width=width)
    made: Console = globals()[name]
    return made


class Format(StrEnum):
    """How a listing is shown."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


FormatOption = Annotated[
    Format, typer.Option("--format", help="table, json or csv; json alone goes to standard output")
]


@dataclass
class Globals:
    """The options before the verb."""

    home: Path | None = None
    by: str | None = None
    debug: bool = False


#: Filled by the main callback before a command runs.
given = Globals()


def find_home() -> Path:
    """`--home`, `CHANCERY_HOME`, else the current folder if it holds a `chancery.toml`.

    Raises:
        SettingsError: there is none, or it is half of one.
    """
    named = given.home or (Path(env) if (env := os.environ.get("CHANCERY_HOME")) else None)
    if named is None and Path("chancery.toml").is_file():
        named = Path()
    if named is None:
        raise SettingsError(
            "no home is named",
            remedy="go to the folder of chancery.toml, or give --home FOLDER, or make one: chancery init FOLDER",
        )
    if not (named / "chancery.toml").is_file():
        raise SettingsError(
            "it holds no chancery.toml", where=str(named), remedy=f"make a home there: chancery init {named}"
        )
    home = named.resolve()
    if home.name.startswith(".") and home.name.endswith(".part"):  # see `backup.folders.whole`
        raise SettingsError(
            "it is no home, but what a restore that was broken off has left", where=str(named), remedy="restore again"
        )
    return home


def with_app(work: "Callable[[App], Awaitable[T]]", *, check_schema: bool = True) -> T:
    """Open the home, run *work* with it, close it."""
    from mailer.app import open_app
    from mailer.settings.loader import load

    home = find_home()
    loaded = load(home)
    for warning in loaded.warnings:
        print(f"chancery: {warning}", file=sys.stderr)
    by = coordinators.acting(given.by)

    async def run() -> T:
        async with open_app(home, loaded.settings, by=by, check_schema=check_schema) as app:
            return await work(app)

    return run_to_end(run())


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Run what a command does."""
    import asyncio

    settle()
    return asyncio.run(work)


def settle() -> None:
    """Let what has been loaded be: it stays to the end, and the collector need not look through it again (see `mailer.__main__`).

    Nothing, where this is not a process of one command.
    """
    if not gc.isenabled() or gc.get_threshold()[0] == _YOUNG:
        gc.freeze()
        gc.set_threshold(_YOUNG, 10, 10)
        gc.enable()


@contextmanager
def asking() -> Iterator[None]:
    """While a person is asked something: Ctrl-C ends the question at once; an event loop would note the first, and go on reading."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def is_watched() -> bool:
    """Whether standard error is a terminal; asked without loading what draws on one."""
    told = os.environ.keys() & {"TTY_COMPATIBLE", "FORCE_COLOR"}
    return bool((told or sys.stderr.isatty()) and _console("err").is_terminal)


def show_rows(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], form: Format, *, title: str | None = None
) -> None:
    """Print a listing.

    Args:
        rows: mappings with a value per column key; json gets them whole.
        columns: key -> heading, in order.
        form: table for people, json or csv for programs.
        title: above the table.
    """
    if form is Format.JSON:
        import json

        print(json.dumps(list(rows), ensure_ascii=False, indent=2, default=str))
    elif form is Format.CSV:
        import csv
        import io

        from mailer.reports.formats import safe_cell

        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerow(columns.values())
        writer.writerows([[safe_cell(row.get(key, "")) for key in columns] for row in rows])
        sys.stdout.write(buffer.getvalue())
    else:
        from mailer.cli.listings import TableListing

        table = TableListing(_console("out"), columns, title)
        table.look(rows)
        table.begin()
        table.show(rows)
        table.end()
