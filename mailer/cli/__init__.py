"""The verbs for a terminal. Each module holds the verbs of one noun and imports its rooms only when a verb runs."""

import contextlib
import errno
import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer
from typer.models import CommandInfo

from mailer.cli import context
from mailer.errors import BadInput, ChanceryError

app = typer.Typer(
    name="chancery",
    help="Sends official circular letters and accounts for every one of them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

#: noun -> module with `app`; None: the module's verbs stand at the top level.
_NOUNS = {
    "home": None,
    "demo": None,
    "serve": None,
    "safekeeping": None,
    "report": None,
    "contacts": "contacts",
    "roll": "roll",
    "audience": "audience",
    "template": "template",
    "circular": "circular",
    "letter": "letter",
    "reminders": "reminders",
    "replies": "replies",
    "register": "register",
    "db": "db",
}


@app.callback()
def _globals(
    home: Annotated[Path | None, typer.Option(help="the home; default: CHANCERY_HOME, else the current folder")] = None,
    by: Annotated[str | None, typer.Option(help="who acts; default: CHANCERY_COORDINATOR, else the login")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="show where in the program an error arose")] = False,
) -> None:
    context.given.home, context.given.by, context.given.debug = home, by, debug


#: Modules that add verbs to the noun of another.
_MORE = {"circular": ("sending", "again", "scheduling", "rehearsing")}


def _assemble(arguments: Sequence[str]) -> typer.Typer:
    """The command tree, as far as *arguments* need it: loading the whole house takes longer than most commands."""
    names, verb = _needed(arguments)
    app.registered_groups.clear()  # of a command before this one, in a process that runs several
    for name in names:
        module = _module(name)
        if module is None:
            continue
        for more in _MORE.get(name, ()):
            if _verb_of(module.app, verb) is None:
                _module(more)
        app.add_typer(_alone(module.app, verb), name=_NOUNS[name])
    return app


def _verb_of(group: typer.Typer, verb: str | None) -> CommandInfo | None:
    named = {each.name or each.callback.__name__: each for each in group.registered_commands if each.callback}
    return named.get(verb) if verb else None


def _alone(group: typer.Typer, verb: str | None) -> typer.Typer:
    """The group with no verb but this, if it has that one: to make ready those that are not asked for takes longer than some of them."""
    only = _verb_of(group, verb)
    if only is None:
        return group
    made = typer.Typer(help=group.info.help, no_args_is_help=True)
    made.registered_commands = [only]
    return made


def _needed(arguments: Sequence[str]) -> tuple[list[str], str | None]:
    """The module of the noun, and the verb; for a verb without noun, all such verbs; for help and for what is not known, everything."""
    words = iter(arguments)
    for word in words:
        if word in {"--home", "--by"}:
            next(words, None)
        elif _NOUNS.get(word):
            return [word], next(words, None)
        elif not word.startswith("-"):
            bare = [name for name, noun in _NOUNS.items() if noun is None]
            known = [name for name in bare if (module := _module(name)) and _verb_of(module.app, word)]
            return (known, word) if known else (list(_NOUNS), None)
    return list(_NOUNS), None


def _module(name: str) -> ModuleType | None:
    if importlib.util.find_spec(f"mailer.cli.{name}") is None:
        return None
    return importlib.import_module(f"mailer.cli.{name}")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; errors become a line each on standard error, and an exit code (DESIGN section 8)."""
    given = sys.argv[1:] if arguments is None else arguments
    if "--debug" not in given:  # log lines are for `serve`, which sets them up; a command says what matters itself
        logging.getLogger().addHandler(logging.NullHandler())
    code = context.OK
    try:
        _refuse_half_characters(given)
        result = _assemble(given)(args=given, standalone_mode=False)
        code = result if isinstance(result, int) else context.OK
        sys.stdout.flush()  # else the end of Python does, and complains
    except KeyboardInterrupt:
        return context.INTERRUPTED
    except typer.Abort:  # Ctrl-C, Ctrl-D or no, where something was asked
        print(file=sys.stderr)
        _tell("Nothing was done.")
        return context.INTERRUPTED
    except ChanceryError as error:
        if context.given.debug:
            raise
        _tell(str(error))
        return error.exit_code
    except BrokenPipeError:  # the reader of our output has gone
        _print_no_more()
    except SystemExit as end:  # Typer's, for the same
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        _print_no_more()
    except Exception as error:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            _tell(
                f"what it has to say can't be written ({error.strerror}). Make room; what was done until then is done."
            )
            _print_no_more()
            return context.FAILED
        if hasattr(error, "format_message"):  # Typer's own: a wrong option or argument
            words = error.format_message().rstrip(". ").replace(": Value error, ", ": ")  # Pydantic's, of a choice
            if words.startswith("Usage:"):  # nothing was asked for
                print(words)
            else:
                _tell(words + ("" if words.endswith("?") else ".") + " The option --help shows what is known.")
            return context.BAD_INPUT
        if context.given.debug or "--debug" in given:  # it may have come before the options were read
            raise
        _tell(
            f"an error that was not foreseen ({type(error).__name__}: {error}). Run it again with --debug, and report what it shows."
        )
        return context.FAILED
    return code


def _print_no_more() -> None:
    """Have what is printed go nowhere: Python would try once more at its end."""
    with contextlib.suppress(OSError, ValueError):  # a test's standard output is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refuse_half_characters(arguments: Sequence[str]) -> None:
    """Stop at an argument that was typed in another encoding than the system's: no text of ours could hold it.

    Raises:
        BadInput: one is so.
    """
    for one in arguments:
        if any("\ud800" <= character <= "\udfff" for character in one):
            shown = one.encode("utf-8", "replace").decode()
            raise BadInput(
                "it is not written in UTF-8",
                where=f"'{shown}'",
                remedy="type it in a terminal in UTF-8, or rename the file",
            )


def _tell(text: str) -> None:
    for line in text.splitlines():
        print(f"chancery: {line}", file=sys.stderr)
