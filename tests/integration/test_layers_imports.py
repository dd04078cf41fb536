"""What the sending path and `--help` must not load."""

import gc
import subprocess
import sys

import pytest

from mailer.cli import context
from tests.support.processes import ROOT, environment

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
    assert not FOREIGN & modules
    assert not {
        name
        for name in modules
        if name.startswith(("mailer.cli", "mailer.demo", "mailer.rehearsal", "lists.importing"))
    }


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
