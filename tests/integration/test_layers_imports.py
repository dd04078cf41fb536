"""What the sending path and `--help` must not load."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from mailer.cli import context
from tests.support import office
from tests.support.processes import ROOT, environment
from tests.support.rig import relay_process

LOADED = "import sys; {imports}; print('\\n'.join(sorted(name for name in sys.modules)))"
#: what a letter on its way never needs
FOREIGN = {
    "alembic",
    "python_calamine",
    "typst",
    "xlsxwriter",
    "fastapi",
    "starlette",
    "typer",
    "rich",
    "prometheus_client",
    "cryptography",  # unless letters are signed
    "email_validator",  # addresses that are not plain
    "pydantic_settings",  # where variables are settings
    "apscheduler",
    "holidays",
    "babel",
    "icalendar",
    "css_inline",
    "markdown_it",
    "sqlalchemy.dialects.postgresql",  # on SQLite
    "http.client",  # unless a token is asked for
    "difflib",  # where a name is not found
    "mailer.circulars.document",
    "mailer.circulars.drafting",
    "mailer.letters.sandbox",
    "mailer.letters.source",
    "mailer.delivery.archive",
    "mailer.schedule.firing",
    "mailer.replies.service",
    "lists.audiences",
    "lists.roll",
}
#: what shows no help
HOUSE = {"sqlalchemy", "jinja2", "aiosmtplib", "alembic"}
#: whether the collector is on while a command loads, once it works, and whether it passes over what was loaded
SETTLED = """
import gc
from mailer import __main__, cli
from mailer.cli import context

def command():
    print(gc.isenabled())
    context.settle()
    print(gc.isenabled(), gc.get_freeze_count() > 10_000)

cli.main = command
__main__.main()
"""


def loaded(imports: str) -> set[str]:
    """The modules that a fresh interpreter has after *imports*."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(imports=imports)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines())


@pytest.mark.parametrize(
    "room",
    [
        "mailer.delivery.send",
        "mailer.delivery.service",
        "mailer.engine.embedded",
        "mailer.transport.pool",
        "mailer.circulars.compose",
        "mailer.app",
        "mailer.dispatch",
    ],
)
def test_the_sending_path_is_light(room: str):
    """Neither the console, Typst, calamine nor Alembic is loaded to send a letter, nor anything of the command line."""
    modules = loaded(f"import {room}")
    assert FOREIGN & modules == set()
    assert not {
        name
        for name in modules
        if name.startswith(("mailer.cli", "mailer.demo", "mailer.rehearsal", "lists.importing"))
    }


def test_a_sending_loads_nothing_else_on_its_way(tmp_path: Path):
    """The whole command, from its start to its end: what it loads late is looked at, too."""
    home = office.make(tmp_path / "home", 1)
    with relay_process(tmp_path, "relay") as relay:
        settings = home.folder / "chancery.toml"
        settings.write_text(settings.read_text().replace("port = 9", f"port = {relay.port}"))
        sent = subprocess.run(
            [
                sys.executable,
                "-X",
                "importtime",
                *home.command("circular", "send", "TEST/2006/001", "--expect", "1")[1:],
            ],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    assert sent.stdout == "TEST/2006/001: 1 letter to 1 address: 1 handed to our mail server.\n"
    modules = {line.rpartition("|")[2].strip() for line in sent.stderr.splitlines()}
    assert "aiosmtplib" in modules
    assert (FOREIGN - {"typer", "difflib"}) & modules == set()


@pytest.mark.parametrize("room", ["mailer.reports.delivery", "mailer.reports.table", "mailer.reports.letter"])
def test_what_is_only_told_is_not_compiled(room: str):
    """A report, or what became of one letter, needs none of what makes letters out of a folder."""
    modules = loaded(f"import {room}")
    assert {
        "icalendar",
        "markdown_it",
        "babel",
        "css_inline",
        "holidays",
        "mailer.circulars.service",
    } & modules == set()


def test_a_small_command_loads_little():
    """`db check` needs neither letters nor transport, and no Alembic."""
    modules = loaded("from mailer.cli import _assemble; _assemble(['db', 'check'])")
    assert not HOUSE & modules


def test_help_loads_no_house():
    """The list of all commands comes from their own modules: no database, settings, event loop or layout is loaded for it."""
    modules = loaded("from mailer.cli import _assemble; _assemble(['--help'])")
    assert "mailer.cli.circular" in modules
    assert not (HOUSE | {"asyncio", "pydantic", "rich", "mailer.app", "mailer.settings"}) & modules


def test_what_is_loaded_is_left_alone_by_the_collector():
    """A process of one command looks for no cycles while it loads and at its end; while it works it does. A test's process stays as it is."""
    before = gc.get_threshold(), gc.get_freeze_count()
    context.settle()
    assert (gc.get_threshold(), gc.get_freeze_count()) == before
    told = subprocess.run(
        [sys.executable, "-c", SETTLED], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    assert told.stdout.split() == ["False", "True", "True"], told.stderr
