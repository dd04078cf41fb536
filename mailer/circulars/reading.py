"""Reads a circular's folder: circular.toml, the texts and the enclosures. Nothing is stored here.

The format is DESIGN section 7. Every error names file and line where that can be known. A text that one language lacks is no error
here but a finding of the check, so that a draft can be read while its translation is still awaited.
"""

import datetime as dt
import hashlib
import zoneinfo
from pathlib import Path
from typing import Any, Literal, cast

from lists.kinds import LANGUAGES
from mailer import tomlfile
from mailer.circulars.document import (
    ContactPerson,
    Document,
    Enclosure,
    EventSpec,
    FollowsSpec,
    IssuerSpec,
    ReminderSpec,
    StoredFile,
    Texts,
)
from mailer.circulars.table import Table
from mailer.errors import CircularError
from mailer.mime import limits

FILE = "circular.toml"


def read(folder: Path) -> Document:
    """What *folder* says.

    Raises:
        CircularError: something is missing or wrong; with file and line.
    """
    if folder.is_file():
        raise CircularError(
            "it is a file, and a circular is a folder", where=str(folder), remedy=f"name the folder: {folder.parent}"
        )
    if not folder.is_dir():
        raise CircularError(
            "there is no such folder", where=str(folder), remedy=f"make one: chancery circular start {folder}"
        )
    if not (folder / FILE).is_file():
        raise CircularError(f"it holds no {FILE}", where=str(folder), remedy="chancery circular start makes one")
    data, lines = _toml(folder / FILE)
    top = Table(data, file=FILE, lines=lines)
    reply_by = top.date("reply_by")
    event, event_reply_by = _event(top)
    issuers, own_issuers = _issuers(top)
    date = top.required("date", top.date("date"), "date = 2006-07-07")
    document = Document(
        template=top.string("template") or "letter",
        subject=_one_line(
            top, "subject", top.required("subject", top.text("subject"), 'subject = { en = "...", fr = "..." }')
        ),
        sender=top.required("sender", top.string("sender"), 'sender = "secretariat", one of [senders] in the settings'),
        date=date,
        as_of=top.date("as_of") or date,
        to=top.required("to", top.strings("to"), 'to = ["states-parties@geneva", "organizations"]'),
        cc=top.strings("cc") or (),
        except_=top.strings("except") or (),
        languages=_languages(top),
        issuers=issuers,
        own_issuers=own_issuers,
        from_line=top.text("from"),
        letterhead=top.text("letterhead"),
        salutation=_salutation(top),
        closing=top.text("closing"),
        print_reference=top.flag("print_reference", default=True),
        place=top.text("place"),
        follows=_follows(top),
        wording=_wording(top),
        values=_values(top),
        event=event,
        reply_by=_one_of(top, reply_by, event_reply_by),
        contact_persons=tuple(_person(table) for table in top.tables("contact_persons")),
        enclosures=tuple(_enclosure(table, folder) for table in top.tables("enclosures")),
        reminders=tuple(_reminder(table, folder) for table in top.tables("reminders")),
        texts=_texts(folder, "letter"),
        on_uncertain=cast("Literal['ask', 'resend']", top.word("on_uncertain", ["ask", "resend"]) or "ask"),
        archive=top.choice("archive"),
        lines=lines,
    )
    top.close()
    if not document.texts:
        raise CircularError(
            "there is no text of the letter", where=str(folder), remedy=f"write letter.{document.languages[0]}.md"
        )
    if document.reminders and document.reply_by is None:
        raise top.error("reminders", "a reminder needs a day by which to reply", "write reply_by = 2006-07-14")
    return document


def _one_line(table: Table, key: str, text: Texts) -> Texts:
    for one in text.values() if isinstance(text, dict) else (text,):
        if len(one.strip().splitlines()) > 1:
            raise table.error(key, "a subject is one line", "write it without line breaks")
    return text


def _salutation(top: Table) -> Texts | None:
    """A text per language, or "own" for all: in one language only it would be printed as a word."""
    given = top.text("salutation")
    if not isinstance(given, dict):
        return given
    own = [one.strip() == "own" for one in given.values()]
    if any(own) and not all(own):
        raise top.error("salutation", '"own" is for all languages, or for none', 'write salutation = "own"')
    return "own" if any(own) else given


def _toml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The tables of the file, and the line of each key by its dotted path (`enclosures.0.title`)."""
    try:
        found = tomlfile.read(path, CircularError)
    except CircularError as error:
        if error.what.startswith("[issuers."):
            error = CircularError(
                "issuers is a list above, so it can't be a section too",
                where=error.where,
                remedy="write [issuer.X], without the s",
            )
        raise error from None
    return found.data, {".".join(map(str, key)): line for key, line in found.lines.items()}


def file_bytes(folder: Path, stored: StoredFile) -> bytes:
    """The bytes of an enclosed file, as read before.

    Raises:
        CircularError: it changed, or went away, since `read`.
    """
    data = _bytes(folder / stored.path)
    if hashlib.sha256(data).hexdigest() != stored.sha256:
        raise CircularError("it changed while it was being read", where=stored.path, remedy="try again")
    return data


def _languages(top: Table) -> tuple[str, ...]:
    given = top.required("languages", top.strings("languages"), 'languages = ["en", "fr"]')
    for code in given:
        if code not in LANGUAGES:
            raise top.error("languages", f"{code!r} is no language", f"languages are {', '.join(LANGUAGES)}")
    return tuple(dict.fromkeys(given))


def _issuers(top: Table) -> tuple[tuple[str, ...], dict[str, IssuerSpec]]:
    """Who speaks, in order, and those that the file describes.

    TOML does not let `issuers` be a list and a section at once, so: a list of keys, each of the settings or of an `[issuer.X]` here;
    or sections `[issuers.X]` alone, which then speak in their order.
    """
    own = {}
    keys: list[str] = []
    if isinstance(top.data.get("issuers"), dict):
        table = top.table("issuers")
        keys = list(table.data) if table else []
    else:
        keys, table = list(top.strings("issuers") or ()), None
    for place in (table, top.table("issuer")):
        for key in list(place.data) if place else ():
            below = place.table(key) if place else None
            if below is None:
                continue
            texts = {name: below.text(name) or "" for name in ("name", "capacity", "letterhead", "address_block")}
            own[key] = IssuerSpec(**texts)
            below.close()
    return tuple(keys), own


def _follows(top: Table) -> FollowsSpec | None:
    value = top.data.get("follows")
    if value is None or isinstance(value, str):
        given = top.string("follows")
        return FollowsSpec(reference=given) if given else None
    table = top.table("follows")
    if table is None:
        return None
    follows = FollowsSpec(reference=table.string("reference"), date=table.date("date"), title=table.text("title") or "")
    table.close()
    if follows.reference is None and follows.date is None:
        raise top.error(
            "follows", "it names no letter", 'write a reference of ours, or { date = 2006-06-15, title = "..." }'
        )
    return follows


def _wording(top: Table) -> dict[str, str | dict[str, str]]:
    table = top.table("wording")
    if table is None:
        return {}
    return {key: text for key in list(table.data) if (text := table.text(key)) is not None}


def _values(top: Table) -> dict[str, object]:
    table = top.table("values")
    if table is None:
        return {}
    for key in table.data:
        if key in LANGUAGES:
            raise table.error(key, f"{key!r} is a language, and can't be the name of a value")
        if not key.isidentifier() or key.startswith("_"):
            raise table.error(key, f"{key!r} can't be the name of a value", "use letters, digits and _, a letter first")
    return table.rest_as_values()


def _event(top: Table) -> tuple[EventSpec | None, dt.date | None]:
    """The event, and a `reply_by` that stands below it (a key after a section's head belongs to that section)."""
    table = top.table("event")
    if table is None:
        return None, None
    reply_by = table.date("reply_by")
    event = EventSpec(
        title=table.required("title", table.text("title"), 'title = { en = "...", fr = "..." }'),
        start=table.required("start", table.moment("start"), "start = 2006-07-17T15:00:00"),
        end=table.moment("end"),
        timezone=table.required("timezone", table.string("timezone"), 'timezone = "Europe/Zurich"'),
        location=table.text("location") or "",
    )
    table.close()
    if event.end is not None and event.end <= event.start:
        raise table.error("end", "the event ends before it begins")
    try:
        zoneinfo.ZoneInfo(event.timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise table.error(
            "timezone", f"{event.timezone!r} is no time zone", 'write it as "Europe/Zurich" or "America/New_York"'
        ) from None
    return event, reply_by


def _one_of(top: Table, outside: dt.date | None, inside: dt.date | None) -> dt.date | None:
    if outside is not None and inside is not None and outside != inside:
        raise top.error("event.reply_by", "reply_by is given twice, with different days")
    return outside or inside


def _person(table: Table) -> ContactPerson:
    person = ContactPerson(
        name=table.required("name", table.text("name"), 'name = "..."'),
        title=table.text("title") or "",
        organization=table.text("organization") or "",
        phone=table.string("phone") or "",
        email=table.string("email") or "",
    )
    table.close()
    return person


def _enclosure(table: Table, folder: Path) -> Enclosure:
    title = table.required("title", table.text("title"), 'title = { en = "Agenda", fr = "Ordre du jour" }')
    only, to_follow, common = table.word("only", LANGUAGES), table.date("to_follow"), table.string("file")
    named = table.table("files")
    files = {}
    if named is not None:
        for code in list(named.data):
            if code not in LANGUAGES:
                raise named.error(code, f"{code!r} is no language", f"languages are {', '.join(LANGUAGES)}")
            path = named.string(code)
            if path is not None:
                files[code] = _stored(named, code, folder, path)
    table.close()
    if common is not None and files:
        raise table.error("file", "both file and files are given", "keep one of them")
    if to_follow is not None and (common is not None or files):
        raise table.error("to_follow", "it is to follow, and yet a file is given", "keep one of them")
    if to_follow is None and common is None and not files:
        raise table.error("", "this enclosure has no file", 'write file = "agenda.pdf", or to_follow = 2006-08-01')
    return Enclosure(
        title=title,
        common=_stored(table, "file", folder, common) if common is not None else None,
        files=files,
        only=only,
        to_follow=to_follow,
    )


def _stored(table: Table, key: str, folder: Path, path: str) -> StoredFile:
    whole = folder / path
    try:
        inside = whole.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):
        inside = False
    if not inside:
        raise table.error(key, f"{path!r} lies outside the circular's folder", "put a copy into the folder")
    if not whole.is_file():
        raise table.error(key, f"there is no file {path!r}", f"put it into {folder}, or correct its name")
    data = _bytes(whole)
    if not data:
        raise table.error(key, f"the file {path!r} is empty")
    return StoredFile(
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        media_type=limits.media_type_of(whole.name),
    )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CircularError(f"it can't be read ({error.strerror})", where=str(path)) from None


def _reminder(table: Table, folder: Path) -> ReminderSpec:
    before = table.required("before", table.days("before"), 'before = "P3D"')
    table.word("to", ["no-reply"])
    text = table.string("text") or "reminder"
    at, subject = table.hour("at"), table.text("subject")
    subject = _one_line(table, "subject", subject) if subject is not None else None
    table.close()
    if not text.replace("-", "").replace("_", "").isalnum() or text == "letter":
        raise table.error("text", f"{text!r} can't be the name of a text", "use letters, digits and hyphens")
    return ReminderSpec(before=before, at=at, text=text, texts=_texts(folder, text), subject=subject)


def _texts(folder: Path, name: str) -> dict[str, str]:
    return {
        code: tomlfile.decode(_bytes(path), path.name, CircularError)
        for code in LANGUAGES
        if (path := folder / f"{name}.{code}.md").is_file()
    }
