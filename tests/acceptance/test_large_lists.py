"""Memory of commands that look through a list, in processes of their own: it does not grow with the list."""

import sqlite3
import subprocess
import sys

import pytest

from tests.support import office
from tests.support.processes import environment

FEW, MANY = 2_000, 20_000
#: What ten times the list may add, in MB. Held whole, a row took some 2 KB (json) or 4 KB (a table) of memory: 30 to 80 MB.
MORE = 8


def _grow(home, first, last):
    """Copies of the one organization and of its letter, as an approval would have written them."""
    with sqlite3.connect(home.folder / "chancery.sqlite3") as database:
        for table, key, other in (
            (
                "organization",
                "id",
                {"sheet_id": "'o-' || n", "match_key": "'||ngo|organization ' || n", "name": "'Organization ' || n"},
            ),
            ("contact", "id", {"organization_id": "n", "address": "'office' || n || '@org.example'"}),
            (
                "letter",
                "id",
                {"position": "n", "organization_id": "n", "organization": "'Organization ' || n", "token": "'t' || n"},
            ),
        ):
            names = [row[1] for row in database.execute(f"pragma table_info({table})")]
            values = [{key: "n", **other}.get(name, f"{table}.{name}") for name in names]
            made = f"insert into {table} ({', '.join(names)}) select {', '.join(values)} from {table}, number where {table}.id = 1"  # noqa: S608 - names of our own tables
            numbers = (
                f"with recursive number(n) as (select {first} union all select n + 1 from number where n < {last})"  # noqa: S608 - numbers of ours
            )
            database.execute(f"{numbers} {made}")


#: Runs a command from a small process: Linux counts as a child's peak what its parent held when it was forked.
_LAUNCHER = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def _peak(home, *words):
    """Peak memory of a command in MB, and what it printed."""
    command = [sys.executable, "-c", _LAUNCHER, sys.executable, "-m", "mailer", "--home", str(home.folder), *words]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1]) / 1024, done.stdout


LOOKS = {
    "audience": ("audience", "show", "organizations"),
    "audience as json": ("audience", "show", "organizations", "--format", "json"),
    "answers": ("replies", "list", "TEST/2006/001"),
}


@pytest.fixture(scope="module")
def peaks(tmp_path_factory):
    """For each of LOOKS, peak memory and output with few and with many organizations."""
    home = office.make(tmp_path_factory.mktemp("large") / "office", 1)
    found = {}
    for first, last in ((2, FEW), (FEW + 1, MANY)):
        _grow(home, first, last)
        for name, words in LOOKS.items():
            found.setdefault(name, []).append(_peak(home, *words))
    return found


@pytest.mark.parametrize("name", LOOKS)
def test_ten_times_the_list_takes_no_more_memory(peaks, name):
    """A command that goes through a list holds a piece of it at a time, and shows all that it is asked for."""
    (few, said), (many, more) = peaks[name]
    assert (said.count("Organization 1999"), more.count("Organization 19999")) == (1, 1)
    assert len(more) > 9 * len(said)
    assert many - few < MORE, f"{few:.0f} MB for {FEW:,}, {many:.0f} MB for {MANY:,}"
