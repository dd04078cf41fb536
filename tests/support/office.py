"""A small office: a home with organizations and one circular, made by the documented commands."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tests.support.rig import Home

SETTINGS = """[relays.main]
host = "127.0.0.1"
port = 9
tls = "none"
connections = 10

[senders.secretariat]
name = "Secretariat"
address = "circulars@secretariat.example"
relay = "main"
bounces = "bounces@secretariat.example"

[approval]
reference = "TEST/{year}/{number:03}"
"""

CIRCULAR = """template = "letter"
subject = { en = "Informal meeting" }
issuers = ["chair"]
salutation = { en = "Dear friends," }
closing = { en = "Yours sincerely," }
sender = "secretariat"
date = 2006-07-07
to = ["organizations"]
languages = ["en"]

[issuer.chair]
name = "The Chair"
capacity = { en = "Chair of the Meeting" }
"""

TEXT = """The Chair invites {{ organization }} to an informal meeting in Geneva.

The meeting is open to all.
"""


def make(
    folder: Path,
    organizations: int,
    *,
    enclosure: int = 0,
    addresses: Sequence[Sequence[str]] = (),
    settings: str = "",
    more: str = "",
    texts: Mapping[str, str] = MappingProxyType({}),
    approved: bool = True,
    database: str | None = None,
) -> Home:
    """Make a home with *organizations* that each have one mailbox, and an approved circular TEST/2006/001 for all of them.

    Args:
        folder: where; must not exist.
        organizations: how many letters there will be.
        enclosure: octets of an enclosed file; 0: none.
        addresses: the mailboxes of each organization, the first as `to`, the others as `cc`; default: one, office001@org.example.
        settings: further lines of chancery.toml, or tables that take the place of those here with the same heading.
        more: further lines of circular.toml, before its tables.
        texts: further files of the circular's folder.
        approved: False: the circular is left a draft.
        database: its URL; default: a file of the home.
    """
    home = Home(folder, {"CHANCERY_DATABASE__URL": database} if database else {})
    home.run("init", str(folder))
    (folder / "chancery.toml").write_text(_settings(settings), encoding="utf-8")
    sheet = folder / "contacts.csv"
    rows = [
        f"Organization {number:03},ngo,,{address},{'cc' if place else 'to'},en"
        for number in range(1, organizations + 1)
        for place, address in enumerate(addresses[number - 1] if addresses else (f"office{number:03}@org.example",))
    ]
    sheet.write_text("organization,kind,state,address,role,languages\n" + "\n".join(rows) + "\n", encoding="utf-8")
    home.run("contacts", "import", str(sheet))
    draft = folder / "circulars" / "meeting"
    draft.mkdir(parents=True)
    top, tables = CIRCULAR.split("\n[", 1)
    circular = f"{top}\n{more}\n[{tables}"
    text = TEXT
    if enclosure:
        circular += '\n[[enclosures]]\ntitle = { en = "Paper" }\nfile = "paper.pdf"\n'
        text += "\nA paper is enclosed.\n"
        (draft / "paper.pdf").write_bytes(b"%PDF-1.7\n" + bytes(range(256)) * (enclosure // 256))
    for name, content in {"circular.toml": circular, "letter.en.md": text, **texts}.items():
        (draft / name).write_text(content, encoding="utf-8")
    home.run("circular", "new", str(draft), by="anna")
    if approved:
        home.run("circular", "approve", "TEST/2006/001", by="bert")
    return home


def _settings(more: str) -> str:
    """SETTINGS with *more*; a table of both is the one in *more*."""
    tables = {table.partition("]")[0]: table for table in f"\n{SETTINGS}\n{more}".split("\n[") if table.strip()}
    return "\n".join(f"[{table}" for table in tables.values())
