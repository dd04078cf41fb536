"""Making the folder of a new circular: commented, from a template, or as a copy of an earlier circular."""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from sqlalchemy import select

from mailer.circulars.desk import Desk, find, name_of
from mailer.circulars.document import Document, Enclosure
from mailer.circulars.models import Blob
from mailer.circulars.reading import FILE
from mailer.errors import CannotDo, CircularError
from mailer.letters import catalog
from mailer.letters.kinds_of_fields import Kind
from mailer.letters.source import DateRange
from mailer.settings import Settings

_STARTER = Path("_start") / "circular.toml"
#: What a value of that kind looks like before it is filled in.
_BLANK = {
    Kind.TEXT: '""',
    Kind.URL: '"https://"',
    Kind.NUMBER: "0",
    Kind.YES_NO: "false",
    Kind.TEXTS: "[]",
    Kind.ROWS: "[]",
}


def start_folder(
    folder: Path, template: str, *, folders: Sequence[Path], settings: Settings, today: dt.date
) -> list[Path]:
    """Make *folder* with a commented circular.toml and the template's starting texts.

    Args:
        folder: must not hold a circular yet; made if it is not there.
        template: name of a letter template.
        folders: of letter templates, the home's first.
        settings: for sender and zone.
        today: the date that it starts with.

    Returns:
        The files made.

    Raises:
        NotFound: there is no such template.
        CircularError: the folder holds a circular already.
        CannotDo: it can't be written.
    """
    found = catalog.find(template, folders)
    starter = next(one / _STARTER for one in folders if (one / _STARTER).is_file()).read_text("utf-8")
    languages = list(found.starting) or list(settings.languages.fall_back)
    blank = "{ " + ", ".join(f'{language} = ""' for language in languages) + " }"
    event = dt.datetime.combine(today + dt.timedelta(days=14), dt.time(15))
    places = {
        "template": _toml(found.name),
        "subject": blank,
        "issuers": _toml(list(settings.issuers)[:1]),
        "sender": _toml(next(iter(settings.senders), "")),
        "date": _toml(today),
        "languages": _toml(languages),
        "reply_by": _toml(today + dt.timedelta(days=7)),
        "values": _values(found, blank, today),
        "event_title": blank,
        "event_start": event.isoformat(),
        "event_end": (event + dt.timedelta(hours=3)).isoformat(),
        "timezone": _toml(settings.calendar.timezone),
    }
    for name, value in places.items():
        starter = starter.replace(f"@{name}@", value)
    texts = {
        f"letter.{language}.md": found.starting[language].read_text("utf-8") if language in found.starting else ""
        for language in languages
    }
    return _write(folder, {FILE: starter, **texts}, {})


def _values(template: catalog.Template, blank: str, today: dt.date) -> str:
    lines = []
    for field in template.fields.values():
        value = _BLANK.get(field.kind) or (
            f"{{ first = {today}, last = {today} }}" if field.kind is Kind.DAYS else _toml(today)
        )
        if field.kind is Kind.TEXT:
            value = blank
        mark = "" if field.required or field.kind is Kind.TEXT else "# "
        lines.append(f"{mark}{field.name} = {value}    # {field.description}\n")
    return "".join(lines)


async def start_from(desk: Desk, folder: Path, id_text: str) -> list[Path]:
    """Make *folder* as a copy of an earlier circular: its circular.toml, texts and enclosures, dated today.

    Raises:
        NotFound: there is no such circular.
        CircularError: the folder holds a circular already.
        CannotDo: it can't be written.
    """
    async with desk.database.read() as session:
        circular = await find(session, id_text)
        document = Document.from_json(circular.draft)
        blobs = dict(
            (await session.execute(select(Blob.sha256, Blob.data).where(Blob.sha256.in_(document.files)))).all()
        )
    texts = {f"letter.{language}.md": text for language, text in document.texts.items()}
    for reminder in document.reminders:
        texts |= {f"{reminder.text}.{language}.md": text for language, text in reminder.texts.items()}
    head = (
        f"# A copy of {name_of(circular)} of {document.date:%-d %B %Y}. Look at every date before anything else: date is today's,\n"
        "# and event, reply_by and follows are those of the earlier circular.\n\n"
    )
    enclosed = {stored.path: blobs[stored.sha256] for stored in document.files.values() if stored.sha256 in blobs}
    return _write(folder, {FILE: head + toml_of(document, date=desk.today), **texts}, enclosed)


def toml_of(document: Document, *, date: dt.date) -> str:
    """circular.toml for *document*, dated *date*; `as_of` is left out where it was the date."""
    top: dict[str, Any] = {}
    for one in fields(document):
        if one.name not in _SECTIONS:
            key = {"from_line": "from", "except_": "except"}.get(one.name, one.name)
            top[key] = getattr(document, one.name)
    top["date"] = date
    if document.as_of == document.date:
        del top["as_of"]
    if document.follows is not None:
        follows = document.follows
        top["follows"] = (
            follows.reference
            if follows.reference and not follows.date and not follows.title
            else _kept({"reference": follows.reference, "date": follows.date, "title": follows.title})
        )
    parts = [_lines(top)]
    parts += [f"[wording]\n{_lines(document.wording)}"] if document.wording else []
    for key, issuer in document.own_issuers.items():
        parts.append(f"[issuer.{_key(key)}]\n{_lines(_plain(issuer))}")
    parts += [f"[values]\n{_lines(document.values)}"] if document.values else []
    parts += [f"[event]\n{_lines(_plain(document.event))}"] if document.event else []
    parts += [f"[[contact_persons]]\n{_lines(_plain(one))}" for one in document.contact_persons]
    parts += [f"[[enclosures]]\n{_lines(_enclosure(one))}" for one in document.enclosures]
    parts += [
        "[[reminders]]\n"
        + _lines({"before": f"P{one.before}D", "to": one.to, "at": one.at, "text": one.text, "subject": one.subject})
        for one in document.reminders
    ]
    return "\n".join(parts)


_SECTIONS = frozenset(
    [
        "own_issuers",
        "wording",
        "values",
        "event",
        "contact_persons",
        "enclosures",
        "reminders",
        "texts",
        "lines",
        "follows",
    ]
)


def _enclosure(one: Enclosure) -> dict[str, Any]:
    return {
        "title": one.title,
        "file": one.common.path if one.common else None,
        "files": {language: stored.path for language, stored in one.files.items()} or None,
        "only": one.only,
        "to_follow": one.to_follow,
    }


def _plain(part: Any) -> dict[str, Any]:
    return _kept({one.name: getattr(part, one.name) for one in fields(part)})


def _kept(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, "")}


def _lines(values: Mapping[str, Any]) -> str:
    return "".join(f"{_key(key)} = {_toml(value)}\n" for key, value in values.items() if value is not None)


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if "\n" in value and '"""' not in value:
            escaped = json.dumps(value, ensure_ascii=False)[1:-1].replace("\\n", "\n").replace('\\"', '"')
            return f'"""\n{escaped}"""' if not escaped.endswith('"') else json.dumps(value, ensure_ascii=False)
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, DateRange):
        return f"{{ first = {value.first}, last = {value.last} }}"
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_inline(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_inline(one) for one in value) + "]"
    return str(value)


def _inline(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else _toml(value)


def _write(folder: Path, texts: Mapping[str, str], enclosed: Mapping[str, bytes]) -> list[Path]:
    if (folder / FILE).exists():
        raise CircularError("it holds a circular already", where=str(folder), remedy="name another folder")
    made = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in {**{name: text.encode() for name, text in texts.items()}, **enclosed}.items():
            path = folder / name
            if path.exists():
                raise CircularError(f"it holds a {name} already", where=str(folder), remedy="name another folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            made.append(path)
    except OSError as error:
        raise CannotDo(f"it can't be written ({error.strerror})", where=str(folder)) from None
    return made
