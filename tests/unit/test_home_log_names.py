"""The names of actions are stable: each log call of the code has one, and config/README.md has exactly those."""

import ast
import re
from collections.abc import Iterator

from mailer.delivery.attempts import ACTIONS, PARTLY
from tests.support.processes import ROOT

#: Made by the formatters themselves.
OF_LOGS = {"log-lost", "log-failed", "library-message"}
PAGE = (ROOT / "config" / "README.md").read_text(encoding="utf-8")


def calls() -> Iterator[tuple[str, str]]:
    """Every call of a logger in the house: its place, and its message as Python; "" where it has arguments to be filled in."""
    for house in ("mailer", "lists"):
        for path in sorted((ROOT / house).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in {"debug", "info", "warning", "error", "exception", "critical", "log"}
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id in {"log", "_log", "logger"}
                ):
                    given = node.args[1:] if node.func.attr == "log" else node.args
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", ast.unparse(given[0]) if len(given) == 1 else ""


def test_each_call_names_its_action() -> None:
    """The message of a log call is a name in small letters with hyphens, never a sentence and never data."""
    for place, message in calls():
        assert re.fullmatch(r"'([a-z]+(-[a-z]+)+|recovered)'", message), place


def test_loggers_are_ours() -> None:
    """Each logger has its module's name, so that the settings' level holds for it."""
    for path in (ROOT / "mailer").rglob("*.py"):
        for name in re.findall(r"getLogger\((.*?)\)", path.read_text(encoding="utf-8")):
            assert name in {"__name__", "", "name", "ROOTS[0]"}, path.name


def test_the_page_has_every_name_and_no_other() -> None:
    """The table of actions is what the code writes."""
    table = PAGE.split("## Log lines")[1].split("\n## ")[0].split("| action |")[1]
    told = {
        name for cell in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for name in re.findall(r"`([^`]+)`", cell)
    }
    code = {message.strip("'") for _, message in calls()} | set(ACTIONS.values()) | {PARTLY} | OF_LOGS
    assert told == code
