"""`chancery template` as a process."""

import json
import subprocess
import sys
from pathlib import Path


def _chancery(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mailer", *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=60,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "PATH": "/usr/bin:/bin", "COLUMNS": "160"},
    )  # fmt: skip


def test_list_and_show(tmp_path):
    """The templates are listed without a home, as a table and as JSON alone; one is shown with its fields."""
    listed = _chancery("template", "list", "--format", "json", cwd=tmp_path)
    assert [row["name"] for row in json.loads(listed.stdout)] == ["letter", "memo", "reminder"]
    shown = _chancery("template", "show", "letter", cwd=tmp_path)
    assert shown.returncode == 0
    assert "organization" in shown.stdout
    assert "date_range" in shown.stdout


def test_check(tmp_path):
    """A sound template is told so; an unknown one is one line and exit code 2; a broken one of the home's own is exit code 1."""
    good = _chancery("template", "check", "memo", cwd=tmp_path)
    assert (good.returncode, good.stdout) == (0, "memo: all well in en, fr\n")
    unknown = _chancery("template", "check", "lettre", cwd=tmp_path)
    assert unknown.returncode == 2
    assert unknown.stderr.count("\n") == 1
    assert "There are letter, memo, reminder" in unknown.stderr
    (tmp_path / "chancery.toml").write_text("")
    own = tmp_path / "templates" / "mine"
    own.mkdir(parents=True)
    (own / "template.toml").write_text('forms = ["letter"]\n')
    (own / "letter.en.md").write_text("Good.\n\n{{ no.such }}\n")
    broken = _chancery("template", "check", "mine", cwd=tmp_path)
    assert broken.returncode == 1
    assert "mine/letter.en.md line 3" in broken.stdout
    assert "Traceback" not in broken.stderr
