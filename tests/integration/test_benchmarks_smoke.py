"""`make bench` stays runnable: a small run of it, with the sink that this machine can have."""

import subprocess
import sys

import pytest

from tests.support.processes import ROOT, environment


@pytest.mark.parametrize("compiler", [True, False])
def test_the_benchmark_runs_and_counts(compiler: bool, tmp_path) -> None:
    """Forty letters, one round: ours are counted once each at the sink, with a C compiler and without one."""
    few = {"BENCH_LETTERS": "40", "BENCH_ROUNDS": "1", "BENCH_FLOOR": "0.1", "TMPDIR": str(tmp_path)}
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
    assert "letters checked and frozen" in done.stdout
    lines = {line[:32].strip(): line[32:].split() for line in done.stdout.splitlines()}
    assert lines["chancery circular send"][0] == "40"
    assert lines["chancery circular send"][-1] == "1.00"
    assert lines["aiosmtplib.send, one by one"][0] == "4"
    assert "Counted at the sink: every letter of ours, once, in 1 of 1 rounds; the report says the same." in done.stdout
    if not compiler:
        assert "the rehearsal server (no C compiler found)" in done.stdout
