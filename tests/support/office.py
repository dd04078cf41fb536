"""A small office: a home with organizations and one circular, made by the documented commands."""

from pathlib import Path

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


def make(folder: Path, organizations: int, *, enclosure: int = 0) -> Home:
    """Make a home with *organizations* that each have one mailbox, and an approved circular TEST/2006/001 for all of them.

    Args:
        folder: where; must not exist.
        organizations: how many letters there will be.
        enclosure: octets of an enclosed file; 0: none.
    """
    home = Home(folder)
    home.run("init", str(folder))
    (folder / "chancery.toml").write_text(SETTINGS, encoding="utf-8")
    sheet = folder / "contacts.csv"
    rows = [f"Organization {number:03},ngo,,office{number:03}@org.example,to,en" for number in range(1, organizations + 1)]
    sheet.write_text("organization,kind,state,address,role,languages\n" + "\n".join(rows) + "\n", encoding="utf-8")
    home.run("contacts", "import", str(sheet))
    draft = folder / "circulars" / "meeting"
    draft.mkdir(parents=True)
    circular = CIRCULAR
    text = TEXT
    if enclosure:
        circular += '\n[[enclosures]]\ntitle = { en = "Paper" }\nfile = "paper.pdf"\n'
        text += "\nA paper is enclosed.\n"
        (draft / "paper.pdf").write_bytes(b"%PDF-1.7\n" + bytes(range(256)) * (enclosure // 256))
    (draft / "circular.toml").write_text(circular, encoding="utf-8")
    (draft / "letter.en.md").write_text(text, encoding="utf-8")
    home.run("circular", "new", str(draft), by="anna")
    home.run("circular", "approve", "TEST/2006/001", by="bert")
    return home
