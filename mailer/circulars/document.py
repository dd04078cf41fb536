"""What a circular's folder says, as a tree of frozen values: read once by `circulars.reading`, stored as JSON in the draft.

A text is `"x"`, common to all languages, or `{en: "x", fr: "y"}`. Values of the letter may nest: a text per language, a list,
a range of days; `in_language` takes one language out of such a tree.
"""

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter

from lists.kinds import LANGUAGES
from mailer.letters.source import of_json, to_json
from mailer.register.chain import canonical

#: A text, or one per language.
Texts = str | dict[str, str]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the folder, known by its content.

    Attributes:
        path: as written in circular.toml, relative to the folder.
        size: in bytes.
    """

    path: str
    sha256: str
    size: int
    media_type: str

    @property
    def filename(self) -> str:
        """The name that the reader of the letter sees."""
        return self.path.replace("\\", "/").rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class Enclosure:
    """An enclosed document: `common` is one file for all languages, `files` one per language.

    Attributes:
        only: the language it exists in by intent; other languages get that file, and their list says so.
        to_follow: sent later; it has no file.
    """

    title: Texts
    common: StoredFile | None = None
    files: dict[str, StoredFile] = field(default_factory=dict)
    only: str | None = None
    to_follow: dt.date | None = None

    def file_for(self, language: str) -> tuple[StoredFile, str | None] | None:
        """The file that a letter in *language* encloses, and the language it is in where that is another one; None: none."""
        if self.common is not None:
            return self.common, self.only if self.only not in {None, language} else None
        if language in self.files:
            return self.files[language], None
        if not self.files:
            return None
        other = self.only if self.only in self.files else next(code for code in LANGUAGES if code in self.files)
        return self.files[other], other

    @property
    def stored(self) -> list[StoredFile]:
        """All its files."""
        return [*([self.common] if self.common else []), *self.files.values()]


@dataclass(frozen=True, slots=True)
class EventSpec:
    """A meeting; `start` and `end` are local times of `timezone` (an IANA name)."""

    title: Texts
    start: dt.datetime
    timezone: str
    end: dt.datetime | None = None
    location: Texts = ""


@dataclass(frozen=True, slots=True)
class ContactPerson:
    """Whom to ask."""

    name: Texts
    title: Texts = ""
    organization: Texts = ""
    phone: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True)
class IssuerSpec:
    """Who speaks: of the file, else of the settings."""

    name: Texts = ""
    capacity: Texts = ""
    letterhead: Texts = ""
    address_block: Texts = ""


@dataclass(frozen=True, slots=True)
class FollowsSpec:
    """The letter that this one continues: `reference` of ours, or date and title of an older one."""

    reference: str | None = None
    date: dt.date | None = None
    title: Texts = ""


@dataclass(frozen=True, slots=True)
class ReminderSpec:
    """A reminder: so many days before `reply_by`, to those who have not replied.

    Attributes:
        before: days before `reply_by`.
        at: local time of the day; None: the home's.
        text: first part of its files' names (`reminder` for reminder.en.md).
        texts: Markdown per language.
        subject: None: the circular's, told as a reminder by the template.
    """

    before: int
    to: Literal["no-reply"] = "no-reply"
    at: dt.time | None = None
    text: str = "reminder"
    texts: dict[str, str] = field(default_factory=dict)
    subject: Texts | None = None


@dataclass(frozen=True)
class Document:
    """All that a circular's folder says.

    Attributes:
        texts: the letter's Markdown per language, of every letter.<lang>.md in the folder.
        issuers: keys, in order; `own_issuers` are those that the file itself describes.
        salutation: a text; "own" takes each organization's; None: the template's.
        values: the letter's own fields, all languages together (see `in_language`).
        lines: line of circular.toml per dotted key, for findings; not part of the digest.
    """

    __pydantic_config__ = ConfigDict(extra="ignore")

    subject: Texts
    sender: str
    date: dt.date
    as_of: dt.date
    to: tuple[str, ...]
    languages: tuple[str, ...]
    template: str = "letter"
    issuers: tuple[str, ...] = ()
    own_issuers: dict[str, IssuerSpec] = field(default_factory=dict)
    from_line: Texts | None = None
    letterhead: Texts | None = None
    salutation: Texts | None = None
    closing: Texts | None = None
    print_reference: bool = True
    place: Texts | None = None
    cc: tuple[str, ...] = ()
    except_: tuple[str, ...] = ()
    follows: FollowsSpec | None = None
    wording: dict[str, Texts] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    event: EventSpec | None = None
    reply_by: dt.date | None = None
    contact_persons: tuple[ContactPerson, ...] = ()
    enclosures: tuple[Enclosure, ...] = ()
    reminders: tuple[ReminderSpec, ...] = ()
    texts: dict[str, str] = field(default_factory=dict)
    on_uncertain: Literal["ask", "resend"] = "ask"
    #: whether the bytes of what has left are kept; None: as the settings say
    archive: bool | None = None
    lines: dict[str, int] = field(default_factory=dict, compare=False)

    def as_json(self) -> dict[str, Any]:
        """The document as plain JSON; `from_json` gives it back."""
        plain: dict[str, Any] = _document().dump_python(self, mode="json", exclude={"values"})
        return {**plain, "values": {key: to_json(value) for key, value in self.values.items()}}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Document":
        """Back from `as_json`."""
        values = {key: of_json(value) for key, value in plain.get("values", {}).items()}
        made: Document = _document().validate_python({**plain, "values": values})
        return made

    @cached_property
    def digest(self) -> str:
        """sha256 over all that it says, enclosures by their content: a waiver holds for one digest only."""
        plain = self.as_json()
        del plain["lines"]
        return hashlib.sha256(canonical(plain)).hexdigest()

    def where(self, key: str) -> str:
        """`circular.toml line 12` for a dotted key, as far as the line is known."""
        while key and key not in self.lines:
            key = key.rpartition(".")[0]
        return f"circular.toml line {self.lines[key]}" if key else "circular.toml"

    @property
    def files(self) -> dict[str, StoredFile]:
        """Every enclosed file by its sha256."""
        return {stored.sha256: stored for enclosure in self.enclosures for stored in enclosure.stored}

    @property
    def title(self) -> str:
        """Its subject in its first language, for listings."""
        if isinstance(self.subject, str):
            return self.subject
        return self.subject.get(self.languages[0]) or next(iter(self.subject.values()))

    def all_texts(self) -> Iterator[tuple[str, Texts]]:
        """Every text that may differ by language, with its dotted key."""
        for one in fields(self):
            if one.name in {"subject", "from_line", "letterhead", "salutation", "closing", "place"}:
                text = getattr(self, one.name)
                if text is not None:
                    yield {"from_line": "from"}.get(one.name, one.name), text
        for key, issuer in self.own_issuers.items():
            yield from ((f"issuers.{key}.{name}", text) for name, text in asdict(issuer).items() if text)
        yield from ((f"wording.{key}", text) for key, text in self.wording.items())
        if self.event:
            yield "event.title", self.event.title
            yield "event.location", self.event.location
        if self.follows and self.follows.title:
            yield "follows.title", self.follows.title
        for number, person in enumerate(self.contact_persons):
            for name in ("name", "title", "organization"):
                yield f"contact_persons.{number}.{name}", getattr(person, name)
        yield from ((f"enclosures.{number}.title", one.title) for number, one in enumerate(self.enclosures))
        for number, reminder in enumerate(self.reminders):
            if reminder.subject is not None:
                yield f"reminders.{number}.subject", reminder.subject
        yield from ((f"values.{key}", value) for key, value in _texts_within(self.values))


def _document() -> TypeAdapter[Document]:
    global _ADAPTER  # noqa: PLW0603 - built on first use: it takes milliseconds that `--help` need not pay
    if _ADAPTER is None:
        _ADAPTER = TypeAdapter(Document)
    return _ADAPTER


_ADAPTER: TypeAdapter[Document] | None = None


def by_language(value: Any) -> bool:
    """Whether *value* is a table whose keys are languages."""
    return isinstance(value, dict) and bool(value) and all(key in LANGUAGES for key in value)


def in_language(value: Any, language: str) -> Any:
    """*value* with one language taken at every depth; a language that is lacking gives None."""
    if by_language(value):
        return in_language(value.get(language), language)
    if isinstance(value, list | tuple):
        return [in_language(one, language) for one in value]
    if isinstance(value, dict):
        return {key: in_language(one, language) for key, one in value.items()}
    return value


def _texts_within(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if by_language(value):
            yield prefix + key, value
        elif isinstance(value, list | dict):
            below = value if isinstance(value, dict) else {str(number): one for number, one in enumerate(value)}
            yield from _texts_within(below, f"{prefix}{key}.")
