"""`make bench` stays runnable: a small run of it, with the sink that this machine can have."""

import subprocess
import sys

import pytest

from tests.support.processes import ROOT, environment


@pytest.mark.parametrize("compiler", [True, False])
def test_the_benchmark_runs_and_counts(compiler: bool, tmp_path) -> None:
    """A few letters of two works or one, one round: ours are counted once each at the sink, with a C compiler and without one."""
    works = "S L" if compiler else "S"
    few = {"BENCH_WORKS": works, "BENCH_SCALE": "0.01", "BENCH_ROUNDS": "1", "TMPDIR": str(tmp_path)}
    path = {} if compiler else {"PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "benchmarks" / "run.py"],
        env=environment(**few, **path),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "S: 100 personal letters" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("chancery circular send")]
    assert [(row[3], row[-1]) for row in rows] == [("100", "1.00"), ("10", "1.00")][: len(rows)]
    assert len(rows) == len(works.split())
    counted = "Counted at the sink: every letter of ours, once, in 1 of 1 rounds; the report says the same."
    assert done.stdout.count(counted) == len(rows)
    assert done.stdout.count(
        "Hashed in a sending of its own: each letter that came has the sha256 of the one in the account, made again."
    ) == len(rows)
    assert "Peak memory: " in done.stdout
    if not compiler:
        assert "the rehearsal server (no C compiler found)" in done.stdout
