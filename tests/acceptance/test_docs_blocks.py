"""The blocks of README run as they stand: whoever follows them arrives."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from mailer.rehearsal.faults import Faults
from tests.support.processes import ROOT, environment, rehearsal_server

README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(name: str) -> str:
    """The bash block below the mark of that *name*."""
    found = re.search(rf"<!-- runs as a test: {name} -->\n```bash\n(.*?)```", README, re.DOTALL)
    assert found is not None, name
    return found[1]


def test_the_file_of_faults(tmp_path: Path):
    """The example of config/README.md is a file of faults."""
    page = (ROOT / "config" / "README.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- runs as a test: faults -->\n```toml\n(.*?)```", page, re.DOTALL)
    assert found is not None
    (tmp_path / "faults.toml").write_text(found[1], encoding="utf-8")
    assert len(Faults.load(tmp_path / "faults.toml").rules) == 4


def test_the_first_circular(tmp_path: Path):
    """The five minutes of README, with its own rehearsal server, end with every letter taken and none needing a person."""
    words = shlex.split(block("server"))
    assert words[:3] == ["python", "-m", "mailer.rehearsal"]
    port = words[words.index("--port") + 1]
    with rehearsal_server(tmp_path / "relay", "--tls", words[words.index("--tls") + 1]) as relay:
        os.link(relay.ca_file, tmp_path / words[words.index("--ca-file") + 1])
        commands = tmp_path / "bin"
        commands.mkdir()
        (commands / "chancery").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m mailer "$@"\n')
        (commands / "chancery").chmod(0o755)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block("first circular").replace(port, str(relay.port))],
            cwd=tmp_path,
            env=environment(PATH=f"{commands}:{os.environ['PATH']}"),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        taken = [json.loads(line) for line in relay.record.read_text(encoding="utf-8").splitlines()]
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nothing needs a person" in done.stdout
    french = "Ceci est une *première* lettre adressée à : Permanent Mission of France."
    assert french in done.stdout.replace("\u00a0", " ").replace("\u202f", " ")  # blanks that do not break a line
    text = json.dumps(taken)
    for address in (
        "mission@france.example",
        "registry@france.example",
        "mission@kenya.example",
        "bureau@samples.example",
    ):
        assert address in text
