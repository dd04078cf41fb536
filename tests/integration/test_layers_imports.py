"""What the sending path and `--help` must not load."""

import subprocess
import sys

import pytest

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
    assert not {"sqlalchemy", "jinja2", "aiosmtplib", "alembic"} & modules
