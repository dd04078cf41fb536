"""The works: a home with N organizations and an approved circular of about 4 KB a letter, made by the installed commands.

S is the letter alone, M has an enclosure of 300 KB, L one of 1 MB more.
"""

import email
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from email import policy
from pathlib import Path

from mailer.app import open_app
from mailer.circulars import letter_files
from mailer.settings.loader import load
from tests.support.postgres import Server

#: The installed command, beside the Python that runs this.
CHANCERY = Path(sys.executable).parent / "chancery"
REFERENCE = "BENCH/2006/001"

#: Enclosures by size, in octets.
ENCLOSURES = {"agenda.pdf": 300_000, "report.pdf": 1_000_000}
_SETTINGS = """[relays.main]
host = "127.0.0.1"
port = 9
tls = "none"
connections = 10
letters_per_connection = 0

[senders.secretariat]
name = "Secretariat of the Working Group"
address = "circulars@secretariat.example"
relay = "main"

[approval]
reference = "BENCH/{year}/{number:03}"
"""
_CIRCULAR = """template = "letter"
subject = {{ en = "Spring meeting of the working group" }}
issuers = ["chair"]
salutation = {{ en = "Dear colleagues," }}
closing = {{ en = "Yours sincerely," }}
sender = "secretariat"
date = 2006-07-07
to = ["organizations"]
languages = ["en"]
{enclosures}
[issuer.chair]
name = "The Chair"
capacity = {{ en = "Chair of the Working Group" }}
"""
_TEXT = """The Chair has the honour to invite **{{ organization }}** to the spring meeting of the working group.

The meeting opens at nine in the large hall and closes at noon. {{ organization }} is asked to confirm by Friday who will attend, in the
room or by video, and to tell the secretariat of any need that it should know of.

1. Adoption of the agenda
2. Budget of the coming year
3. Draft report, first reading
4. Any other business

Papers that arrive late will be tabled at the meeting. Comments on the draft report are welcome until the end of the month.
"""


@dataclass(frozen=True)
class Prepared:
    """A home ready to send, and what making it took, in seconds.

    Attributes:
        eml: one of its letters as bytes.
        fresh: makes a copy of its PostgreSQL database, and gives the copy's URL; None: the home is of SQLite.
    """

    home: Path
    letters: int
    imported: float
    approved: float
    eml: bytes
    fresh: Callable[[], str] | None = None


def address(number: int) -> str:
    """The mailbox of an organization, from 1."""
    return f"office{number:06}@org{number % 97}.example"


def environment(**more: str) -> dict[str, str]:
    """This process's environment without settings of ours, and without any that has Python compile us anew for each command."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("CHANCERY_", "PYTHON"))}
    return {**kept, "NO_COLOR": "1", "COLUMNS": "160", **more}


def chancery(home: Path, *arguments: str | Path, by: str = "anna") -> str:
    """Run a command to its end; what it printed.

    Raises:
        RuntimeError: it did not end with 0.
    """
    command: Sequence[str | Path] = [CHANCERY, "--home", home, "--by", by, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    if done.returncode:
        raise RuntimeError(f"chancery {' '.join(map(str, arguments))}: {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout


def enclosure(name: str) -> bytes:
    """A made-up file that does not compress."""
    chance = random.Random(name)  # noqa: S311 - the same file in each run
    return b"%PDF-1.4\n" + chance.randbytes(ENCLOSURES[name] - 9)


def prepare(folder: Path, letters: int, enclosed: Sequence[str] = (), server: Server | None = None) -> Prepared:
    """Make the home, for letters with the *enclosed* of `ENCLOSURES`; in a database of *server*, or in SQLite."""
    name = server.new() if server else None
    home = begin(folder, _database(server.url(name)) if server and name else "")
    if name:
        chancery(home, "db", "upgrade")
    (folder / "contacts.csv").write_text(sheet(range(1, letters + 1)), encoding="utf-8")
    start = time.perf_counter()
    chancery(home, "contacts", "import", folder / "contacts.csv")
    imported = time.perf_counter() - start
    files = [str(one) for one in draft(home, enclosed)]
    start = time.perf_counter()
    chancery(home, "circular", "approve", REFERENCE, by="bert")
    approved = time.perf_counter() - start
    text = chancery(home, "circular", "preview", REFERENCE, "--for", "Organization 0000001", "--as", "eml")
    lines = text.replace("\r\n", "\n").encode()
    (folder / "letter.eml").write_bytes(lines)  # smtp-source adds the CRs
    eml = lines.replace(b"\n", b"\r\n")
    sample = email.message_from_bytes(eml, policy=policy.default)
    bodies = {kind: sample.get_body((kind,)) for kind in ("plain", "html")}
    texts = {kind: str(body.get_content()) for kind, body in bodies.items() if body is not None}
    sample_of = {"text": texts["plain"], "html": texts["html"], "files": files}
    (folder / "letter.json").write_text(json.dumps(sample_of), encoding="utf-8")
    return Prepared(home, letters, imported, approved, eml, _copier(server, name))


def begin(folder: Path, more: str = "") -> Path:
    """An empty home in *folder*, with *more* settings."""
    folder.mkdir(exist_ok=True)
    home = folder / "home"
    chancery(home, "init", home)
    (home / "chancery.toml").write_text(_SETTINGS + more, encoding="utf-8")
    return home


def sheet(numbers: Iterable[int]) -> str:
    """A sheet with an organization of each number."""
    rows = "\n".join(f"Organization {no:07},ngo,{address(no)},en" for no in numbers)
    return f"organization,kind,address,languages\n{rows}\n"


def draft(home: Path, enclosed: Sequence[str] = ()) -> list[Path]:
    """Draft the circular; the files that it encloses."""
    folder = home / "circulars" / "meeting"
    folder.mkdir(parents=True)
    files = [folder / name for name in enclosed]
    for file in files:
        file.write_bytes(enclosure(file.name))
    listed = "".join(f'\n[[enclosures]]\ntitle = "{name}"\nfiles = {{ en = "{name}" }}\n' for name in enclosed)
    (folder / "circular.toml").write_text(_CIRCULAR.format(enclosures=listed), encoding="utf-8")
    (folder / "letter.en.md").write_text(_TEXT, encoding="utf-8")
    chancery(home, "circular", "new", folder)
    return files


def _database(url: str) -> str:
    return f'\n[database]\nurl = "{url}"\n'


def _copier(server: Server | None, name: str | None) -> Callable[[], str] | None:
    if server is None or name is None:
        return None
    made: list[str] = []

    def fresh() -> str:
        if made:
            server.drop(made.pop())
        made.append(server.new(name))
        return server.url(made[0])

    return fresh


def copy_of(prepared: Prepared, folder: Path, port: int, connections: int = 10) -> Path:
    """A fresh copy of the home whose relay is at *port*."""
    home = folder / "round"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(prepared.home, home)
    settings = _SETTINGS.replace("port = 9", f"port = {port}").replace(
        "connections = 10", f"connections = {connections}"
    )
    settings += _database(prepared.fresh()) if prepared.fresh else ""
    (home / "chancery.toml").write_text(settings, encoding="utf-8")
    return home


def claimed(home: Path) -> int:
    """How many letters the account of a home calls accepted."""
    counts = json.loads(chancery(home, "report", REFERENCE, "--format", "json"))["counts"]
    return int(counts["accepted"])


async def made_again(home: Path) -> list[str]:
    """The sha256 of each letter of a home that has left, made again from what its approval froze, where the account says the same.

    By itself the account can't be compared with a sink: of enclosures it names their common digest, not that of each letter's octets.
    """
    async with open_app(home, load(home).settings, by="bench") as app, app.database.read() as session:
        found = letter_files.read(session, 1, now=app.clock.now(), keys=app.keys)
        return [hashlib.sha256(one.data).hexdigest() async for one in found if one.as_sent]
