"""What is shipped is whole and works by itself: the wheel, in another environment, away from the checkout."""

import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.support.processes import ROOT, environment


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        env=environment(PYTHONWARNINGS="default"),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment that has the wheel, and of ours only the libraries."""
    folder = tmp_path_factory.mktemp("elsewhere") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=120)
    python = folder / "bin" / "python"
    (site,) = folder.glob("lib/python3*/site-packages")
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "libraries.pth").write_text("\n".join(sorted(libraries)) + "\n")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(python),
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            "--ignore-installed",
            str(wheel),
        ],
        env={
            **environment(PYTHONWARNINGS="default"),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
        },
        check=True,
        timeout=300,
    )
    return folder / "bin"


def run(elsewhere: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program of that environment, with nothing of the checkout in sight."""
    clean = {key: value for key, value in environment(PYTHONWARNINGS="default").items() if key != "PYTHONPATH"}
    return subprocess.run(
        [str(elsewhere / arguments[0]), *arguments[1:]],
        cwd=cwd,
        env=clean,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def data_files() -> set[str]:
    """The files of the two data folders that git would take along."""
    return {
        path.relative_to(ROOT).as_posix()
        for name in ("templates", "config")
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_two_packages_and_all_data(wheel: Path):
    """Its top-level names are exactly mailer and lists; every template and setting is inside, and so is every module and its data."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"mailer", "lists"}
    assert {f"mailer/_shipped/{name}" for name in data_files()} <= names
    ours = {
        path.relative_to(ROOT).as_posix()
        for house in ("mailer", "lists")
        for path in (ROOT / house).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and ".mypy_cache" not in path.parts
    }
    assert ours <= names, ours - names
    assert not {name for name in names if "tests/" in name}


def test_the_wheels_command(wheel: Path):
    """The distribution is chancery-mail, its one command chancery."""
    archive = zipfile.ZipFile(wheel)
    (points,) = [name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt")]
    assert archive.read(points).decode().split("\n")[:2] == ["[console_scripts]", "chancery = mailer.__main__:main"]
    assert wheel.name.startswith("chancery_mail-")


def test_the_installed_wheel_works_away_from_the_checkout(elsewhere: Path, tmp_path: Path):
    """In another environment and another folder the command shows its help, makes a home and examines it, from its own files only."""
    where = run(
        elsewhere,
        "python",
        "-c",
        "import mailer.shipped as s; print(s.__file__); print(s.folder('config'), s.folder('templates'))",
        cwd=tmp_path,
    )
    assert str(ROOT) not in where.stdout, where.stdout + where.stderr
    assert where.stdout.count("site-packages") == 3
    shown = run(elsewhere, "chancery", "--help", cwd=tmp_path)
    assert (shown.returncode, shown.stderr) == (0, "")
    made = run(elsewhere, "chancery", "init", "home", "--host", "localhost", "--port", "1", cwd=tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    looked = run(elsewhere, "chancery", "--home", "home", "doctor", "--format", "json", cwd=tmp_path)
    lines = {line["name"]: line for line in json.loads(looked.stdout)}
    assert looked.returncode == 1
    assert {name for name, line in lines.items() if line["state"] == "red"} == {"relay main"}, lines
    templates = run(elsewhere, "chancery", "--home", "home", "template", "list", cwd=tmp_path)
    assert templates.returncode == 0, templates.stderr
    assert "memo" in templates.stdout
    again = run(elsewhere, "python", "-m", "mailer", "--home", "home", "db", "check", cwd=tmp_path)
    assert again.returncode == 0, again.stderr


def test_the_installed_wheel_plays_the_demonstration(elsewhere: Path, tmp_path: Path):
    """From the wheel alone, in an empty folder, the whole road is played and its reports and letters are there."""
    played = run(elsewhere, "chancery", "--debug", "demo", cwd=tmp_path)
    assert (played.returncode, played.stderr) == (0, ""), played.stderr
    left = tmp_path / "demo"
    assert len(list((left / "reports").glob("*.html"))) == 3
    assert len(list((left / "letters").rglob("*.eml"))) > 400


def test_no_other_distribution_owns_our_names(elsewhere: Path, tmp_path: Path):
    """Where we are installed, mailer and lists belong to us alone; the doctor names another that claims them."""
    site = next(elsewhere.parent.glob("lib/python3*/site-packages"))
    assert not [line for line in doctor_of_program(elsewhere, tmp_path) if line["state"] != "green"]
    rival = site / "lists-9.0.dist-info"
    rival.mkdir()
    try:
        (rival / "METADATA").write_text("Metadata-Version: 2.1\nName: lists\nVersion: 9.0\n")
        (rival / "RECORD").write_text("lists/__init__.py,,\n")
        (line,) = doctor_of_program(elsewhere, tmp_path)
    finally:
        for file in rival.iterdir():
            file.unlink()
        rival.rmdir()
    assert line["state"] == "red"
    assert "also belongs to lists" in line["what"]


def doctor_of_program(elsewhere: Path, cwd: Path) -> list[dict[str, str]]:
    """What the doctor says of the program itself."""
    code = "import json; from dataclasses import asdict; from mailer.checkup import program; print(json.dumps([asdict(l) for l in program()]))"
    done = run(elsewhere, "python", "-c", code, cwd=cwd)
    return [{**line, "state": line["light"]} for line in json.loads(done.stdout)]


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-test.lock"])
def test_lock_files(name: str):
    """Every pinned line has its hashes; no line names an index, another host, or a file."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"://|^\s*-(?!-hash)|--(?!hash=sha256:)|\s@\s", re.sub(r"#.*", "", text), re.MULTILINE)
    assert "://" not in text
    for requirement in re.split(r"\n(?=\S)", re.sub(r"(?m)^\s*#.*\n", "", text).strip()):
        assert re.match(r"[\w.\[\]-]+==\S+( ;[^\\]+)? \\\n", requirement), requirement
        assert "--hash=sha256:" in requirement


def test_the_two_locks_agree():
    """What tests install is what people install: a library in both files has one version."""
    pins = [
        dict(re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==(\S+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE))
        for name in ("requirements.lock", "requirements-test.lock")
    ]
    assert {name: pins[1].get(name) for name in pins[0]} == pins[0]


def test_tests_need_nothing_of_the_environment():
    """No file of ours but this session's own configuration names an index or a mirror of packages."""
    for path in [*ROOT.glob("*.lock"), ROOT / "Makefile", ROOT / "pyproject.toml", *(ROOT / ".ci").iterdir()]:
        assert not re.search(
            r"index[-_]url|find-links|trusted-host", path.read_text(encoding="utf-8").replace("--no-emit-index-url", "")
        ), path
    assert os.environ.get("CHANCERY_HOME") is None
