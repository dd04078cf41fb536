"""A desk with a few missions and an organization, and a circular's folder to read."""

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from lists import contacts, organizations
from lists.contacts import Mail
from lists.kinds import OrganizationKind, Role
from lists.organizations import Particulars
from lists.roll import Roll
from mailer import shipped
from mailer.circulars.desk import Desk
from mailer.circulars.planning import Planned
from mailer.circulars.preparing import Prepared
from mailer.clock import Clock
from mailer.database import Database
from mailer.settings import Approval, Issuer, Relay, Sender, Settings, Tls

SETTINGS = Settings(
    relays={"main": Relay(host="127.0.0.1", port=2525, tls=Tls.NONE)},
    senders={
        "secretariat": Sender(
            name={"en": "The Secretariat", "fr": "Le Secrétariat"},
            address="circulars@secretariat.example",
            reply_to="secretariat@secretariat.example",
        )
    },
    issuers={
        "president": Issuer(
            name="Ann Example",
            capacity={"en": "President-Designate", "fr": "Présidente désignée"},
            address_block="Permanent Mission of Norway",
        )
    },
    approval=Approval(reference="AUS/{year}/{number:03}"),
)

TOML = """\
template = "letter"
subject = { en = "Preparations for the Seventh Meeting", fr = "Préparation de la septième Assemblée" }
issuers = ["president"]
salutation = { en = "Dear friends,", fr = "Chers amis," }
closing = { en = "Yours sincerely,", fr = "Veuillez agréer nos salutations distinguées." }
print_reference = false
sender = "secretariat"
place = { en = "Geneva", fr = "Genève" }
date = 2006-07-07
to = ["NOR", "FRA", "organizations"]
cc = ["PER"]
languages = ["en", "fr"]

[wording]
"organizations" = { en = "Relevant organizations", fr = "Organisations concernées" }
"NOR" = { en = "The Mission of Norway", fr = "La Mission de la Norvège" }
"FRA" = { en = "The Mission of France", fr = "La Mission de la France" }
"PER" = { en = "The Mission of Peru", fr = "La Mission du Pérou" }

[values]
meeting = { en = "Seventh Meeting", fr = "septième Assemblée" }
meeting_days = { first = 2006-09-18, last = 2006-09-22 }

[event]
title = { en = "Informal meeting", fr = "Réunion informelle" }
start = 2006-07-17T15:00:00
end = 2006-07-17T18:00:00
timezone = "Europe/Zurich"
location = { en = "WMO Building, Salle A", fr = "Bâtiment de l'OMM, Salle A" }
reply_by = 2006-07-14

[[contact_persons]]
name = "Bo Sample"
phone = "+41 22 000 00 00"
email = "bo@secretariat.example"

[[enclosures]]
title = { en = "Agenda", fr = "Ordre du jour" }
files = { en = "agenda-en.pdf", fr = "agenda-fr.pdf" }

[[enclosures]]
title = { en = "Draft report", fr = "Projet de rapport" }
file = "report.pdf"
only = "en"

[[reminders]]
before = "P3D"
to = "no-reply"
text = "reminder"
"""

TEXTS = {
    "letter.en.md": "The {{ meeting }} takes place {{ meeting_days | date_range }}. An informal meeting is on\n\n{{ event | block }}\n\n"
    "Please answer to {{ contact_persons | sentence }} by {{ reply_by | date }}. The agenda is enclosed for {{ organization }}.\n",
    "letter.fr.md": "La {{ meeting }} a lieu {{ meeting_days | date_range }}. Une réunion informelle a lieu\n\n{{ event | block }}\n\n"
    "Réponse à {{ contact_persons | sentence }} avant le {{ reply_by | date }}. L'ordre du jour est ci-joint pour {{ organization }}.\n",
    "reminder.en.md": "We await the answer of {{ organization }} ({{ state }}) by {{ reply_by | date }}.\n",
    "reminder.fr.md": "Nous attendons la réponse de {{ organization }} ({{ state }}) avant le {{ reply_by | date }}.\n",
}
FILES = {"agenda-en.pdf": b"%PDF-en" * 50, "agenda-fr.pdf": b"%PDF-fr" * 50, "report.pdf": b"%PDF-report" * 50}


@dataclass
class Folder:
    """A circular's folder on disk; `toml`, `texts` and `files` may be changed and written again."""

    path: Path
    toml: str = TOML
    texts: dict[str, str] = field(default_factory=lambda: dict(TEXTS))
    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))

    def write(self) -> Path:
        """Write it; files that are no longer named are removed."""
        self.path.mkdir(exist_ok=True)
        for old in self.path.iterdir():
            old.unlink()
        (self.path / "circular.toml").write_text(self.toml, "utf-8")
        for name, text in self.texts.items():
            (self.path / name).write_text(text, "utf-8")
        for name, data in self.files.items():
            (self.path / name).write_bytes(data)
        return self.path

    def replace(self, old: str, new: str) -> Path:
        """Change circular.toml and write it."""
        assert old in self.toml
        self.toml = self.toml.replace(old, new)
        return self.write()


def desk_for(database: Database, clock: Clock, settings: Settings = SETTINGS) -> Desk:
    """A desk with the shipped roll and templates."""
    return Desk(database, clock, settings, Roll.load(), [shipped.folder("templates")])


async def add(
    database: Database,
    name: str,
    kind: OrganizationKind,
    *boxes: str,
    state: str | None = None,
    languages: tuple[str, ...] = ("en",),
    **other: object,
) -> int:
    """Add an organization with mailboxes; those that begin with `cc:` are under Cc."""
    async with database.write() as session:
        seat = "geneva" if state else None
        row, _ = await organizations.add(
            session, Particulars(name, kind, state_iso3=state, seat=seat, languages=languages, **other)
        )
        for box in boxes:
            role = Role.CC if box.startswith("cc:") else Role.TO
            await contacts.add(session, row.id, Mail(box.removeprefix("cc:"), f"Registry {name[:20]}", role))
        return row.id


async def seed(database: Database) -> dict[str, int]:
    """Norway (English), France (French, with a cc), Peru (Spanish only), and an organization; their ids."""
    mission = OrganizationKind.MISSION
    return {
        "NOR": await add(database, "Permanent Mission of Norway", mission, "mission@norway.example", state="NOR"),
        "FRA": await add(
            database,
            "Mission permanente de la France",
            mission,
            "mission@france.example",
            "cc:deputy@france.example",
            state="FRA",
            languages=("fr", "en"),
        ),
        "PER": await add(
            database, "Misión Permanente del Perú", mission, "mision@peru.example", state="PER", languages=("es",)
        ),
        "ICBL": await add(database, "Campaign <Mines> & Co", OrganizationKind.NGO, "office@campaign.example"),
    }


def day(year: int, month: int, number: int) -> dt.date:
    """A date, short."""
    return dt.date(year, month, number)


async def planned(session: AsyncSession, prepared: Prepared) -> list[Planned]:
    """The letters of a draft that was checked."""
    return [letter async for _, letters in prepared.pieces(session) for letter in letters]
