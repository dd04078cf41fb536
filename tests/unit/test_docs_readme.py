"""The README can't rot: its commands are those that exist, its map shows every room, and its figures of folders are true."""

import re
import subprocess
import sys

import pytest

from tests.support.processes import ROOT, environment

README = (ROOT / "README.md").read_text(encoding="utf-8")
TREE = """
import typer
from mailer.cli import _assemble

def walk(command, path):
    inner = getattr(command, "commands", None)
    if inner is None:
        print(" ".join(path))
    for name, each in (inner or {}).items():
        walk(each, [*path, name])

walk(typer.main.get_command(_assemble([])), [])
"""


def test_the_table_has_every_command_and_no_other():
    """The commands in README are exactly those that `chancery --help` leads to."""
    done = subprocess.run(
        [sys.executable, "-c", TREE], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    rows = re.findall(r"^\| `chancery ([a-z -]+?)(?: [A-Z ]+)?` \| \S", README, re.MULTILINE)
    assert sorted(rows) == sorted(done.stdout.splitlines())


def test_the_map_has_every_room():
    """Each room of the house has its line in the listing."""
    listing = README.split("## The map of the house")[1].split("##")[0]
    for house in ("mailer", "lists"):
        for room in sorted((ROOT / house).iterdir()):
            if (room / "__init__.py").is_file():
                assert f"{room.name}/" in listing, f"{house}/{room.name} is not in README"


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "SECURITY.md", "config/README.md"])
def test_what_pages_point_to_is_there(name: str):
    """Every file that a page links to, or names with a folder in front, exists."""
    page = ROOT / name
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"\]\(([^)#:]+)\)", text))
    named |= set(re.findall(r"`((?:config|templates|mailer|tests)/[\w./-]+)`", text))
    for each in named:
        assert (ROOT / each).exists() or (page.parent / each).exists(), f"{name} names {each}"


def test_the_version_is_in_the_changelog():
    """The version of the distribution has its chapter."""
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    assert f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_code_of_exit_is_told():
    """README tells each exit code that the program has."""
    from mailer.cli import context

    for code in (context.OK, context.LOOK, context.BAD_INPUT, context.FAILED, context.LATER, context.INTERRUPTED):
        assert re.search(rf"\b{code}\b", README.split("Exit codes:")[1].split("##")[0])


def test_pages_name_no_machine():
    """No page and no data file names a path of the machine that it was written on, or an address that could be real."""
    for page in [*ROOT.glob("*.md"), *(ROOT / "config").rglob("*.*")]:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"/(?:work|root|tmp)/", text), page
        for address in re.findall(r"[\w.+-]+@([\w-]+(?:\.[\w-]+)*)", text):
            assert address == "host" or address.endswith((".example", ".test")), f"{page}: {address}"
