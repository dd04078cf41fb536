"""The stage of the demonstration: a home of its own, and the relay that we play."""

import datetime as dt
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from mailer.app import App, open_app
from mailer.clock import ManualClock
from mailer.database import Database
from mailer.errors import BadInput
from mailer.homes import PASSWORD_FILE, without_password, write_private
from mailer.migrations import runner
from mailer.rehearsal.faults import Faults
from mailer.rehearsal.server import Options, Server, TlsMode
from mailer.settings.loader import load

HERE = Path(__file__).resolve().parent
#: Says that a folder is a demonstration's, so that the next one may clear it away.
_MARK = ".chancery-demo"
#: Of a server that lives for the demonstration, on loopback.
_USER, _PASSWORD = "secretariat", "rehearsal-only"

_HOME = """# The home of the demonstration. Its relay lives only as long as `chancery demo` runs.
[relays.main]
host = "127.0.0.1"
port = {port}
tls = "starttls"
ca_file = "relay-ca.pem"
username = "{user}"
password_file = "relay.password"
connections = 8
bounces = "token"

[senders.secretariat]
name = {{ en = "Convention Secretariat", fr = "Secrétariat de la Convention" }}
address = "circulars@secretariat.example"
reply_to = "secretariat@secretariat.example"
relay = "main"
bounces = "bounces@secretariat.example"

[approval]
reference = "APM/{{year}}/{{number:03}}"
two_people = true
"""


@dataclass
class Stage:
    """The open home, the relay, and the clock that the demonstration moves."""

    app: App
    server: Server
    clock: ManualClock


@asynccontextmanager
async def stage(folder: Path, start: dt.datetime, database: str | None = None) -> AsyncIterator[Stage]:
    """Make the home in *folder*, start the relay, open both; *database* names an empty PostgreSQL in place of a file.

    Raises:
        BadInput: the folder holds something that is not an earlier demonstration's, or the database holds something.
        DatabaseError: the database can't be read.
    """
    if database is not None:
        await _refuse_used(database)
    _clear(folder)
    clock = ManualClock(start)
    options = Options(tls=TlsMode.STARTTLS, user=_USER, password=_PASSWORD, keep_data=True)
    async with Server(
        options, Faults.load(HERE / "faults.toml"), folder / "relay.jsonl", clock=clock, ca_file=folder / "relay-ca.pem"
    ) as server:
        told = _HOME.format(port=server.port, user=_USER) + _name(folder, database)
        (folder / "chancery.toml").write_text(told, encoding="utf-8")
        password = folder / "relay.password"
        password.touch(mode=0o600)
        password.write_text(_PASSWORD, encoding="utf-8")
        settings = load(folder, {}).settings
        async with open_app(folder, settings, by="A. Drafter", clock=clock, check_schema=False) as app:
            await runner.upgrade(app.database)
            yield Stage(app, server, clock)


async def _refuse_used(url: str) -> None:
    """Stop at a database that is somebody's: a demonstration clears none away."""
    opened = Database(url)
    try:
        if opened.sqlite:
            raise BadInput(
                "it is no PostgreSQL", where="--database", remedy="leave it out: then the rows are in the folder"
            )
        if await runner.current(opened) is not None:
            raise BadInput(
                "it holds a home already", where=opened.name, remedy="have an empty one made (createdb), and name that"
            )
    finally:
        await opened.close()


def _name(folder: Path, database: str | None) -> str:
    """The section of the settings that names the database; its password goes into a file."""
    if database is None:
        return ""
    url, password = without_password(database)
    if password is None:
        return f"\n[database]\nurl = {json.dumps(url)}\n"
    write_private(folder / PASSWORD_FILE, f"{password}\n")
    return f"\n[database]\nurl = {json.dumps(url)}\npassword_file = {json.dumps(PASSWORD_FILE)}\n"


def _clear(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARK).is_file():
            raise BadInput(
                "the folder is not empty, and not an earlier demonstration's",
                where=str(folder),
                remedy="name another one: chancery demo --folder FOLDER",
            )
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = {"made_by": "chancery demo", "note": "the next demonstration clears this folder away"}
    (folder / _MARK).write_text(json.dumps(made), encoding="utf-8")
