"""The fields that a template and a text see: which there are, of which kind, and what is missing or unused."""

from collections.abc import Mapping
from dataclasses import fields as parts_of
from dataclasses import is_dataclass, replace
from types import SimpleNamespace
from typing import Any

from lists.findings import Finding
from lists.kinds import Severity
from lists.near import near
from mailer.letters import languages
from mailer.letters.catalog import Template
from mailer.letters.clean import is_url
from mailer.letters.kinds_of_fields import Kind, kind_of
from mailer.letters.source import Enclosure, Event, Follows, Issuer, Person, Source

#: What each letter brings of its own: name -> description. All are texts.
LETTER_FIELDS: dict[str, str] = {
    "organization": "the organization's name",
    "state": "its State's name in the letter's language; empty for an organization of no State",
    "salutation": "how it is addressed; the circular's own salutation where it has a common one",
}

#: What every text may use besides `[values]`: name -> (kind, description).
TEXT_FIELDS: dict[str, tuple[Kind, str]] = {
    "place": (Kind.TEXT, "where the letter is written"),
    "date": (Kind.DATE, "its date"),
    "reference": (Kind.TEXT, "its reference, where it is printed"),
    "issuers": (Kind.ISSUERS, "who speaks: name, capacity, address_block"),
    "event": (
        Kind.EVENT,
        "the meeting: title, start, end, location; {{ event | block }} sets day, hours and place off",
    ),
    "reply_by": (Kind.DATE, "until when an answer is asked for"),
    "contact_persons": (Kind.PERSONS, "whom to ask: name, title, organization, phone, email"),
    "enclosures": (Kind.ENCLOSURES, "the enclosures: title, note"),
    "follows": (Kind.FOLLOWS, "the earlier letter: reference, date, title"),
}

#: What only the frames see.
FRAME_FIELDS: dict[str, tuple[Kind, str]] = {
    "language": (Kind.TEXT, "two letters"),
    "direction": (Kind.TEXT, "ltr or rtl"),
    "to_lines": (Kind.TEXTS, "the audiences as printed"),
    "cc_lines": (Kind.TEXTS, "those under CC"),
    "from_line": (Kind.TEXT, "the issuers as a memo prints them"),
    "closing": (Kind.TEXT, "the close"),
    "label": (Kind.ROW, "the words of the layout in the letter's language"),
    "names_contacts": (Kind.YES_NO, "whether the text itself names the contact persons"),
    "several_enclosures": (Kind.YES_NO, "whether there is more than one enclosure"),
    "has_letterhead": (Kind.YES_NO, "whether there is a letterhead"),
}

#: circular.toml's key -> the field it gives, where they differ.
_KEYS = {"from": "from_line"}


def scope_of_text(template: Template, source: Source) -> dict[str, Kind]:
    """The kind of every name that the circular's text, subject and letterhead may use."""
    kinds = {name: kind for name, (kind, _) in TEXT_FIELDS.items()}
    kinds |= {name: field.kind for name, field in template.fields.items()}
    kinds |= {name: kind_of(value) for name, value in source.values.items()}
    return kinds | dict.fromkeys(LETTER_FIELDS, Kind.TEXT)


def values_of_text(template: Template, source: Source) -> dict[str, Any]:
    """The common values by name, set in the language's typography; an optional field that is not given is None."""
    made: dict[str, Any] = dict.fromkeys(template.fields)
    made |= {name: typeset(value, source.language) for name, value in source.values.items()}
    made |= {name: typeset(getattr(source, name), source.language) for name in TEXT_FIELDS}
    if source.salutation is not None:
        made["salutation"] = languages.typeset(source.salutation, source.language)
    return made


def own_fields(source: Source) -> frozenset[str]:
    """The fields that each letter brings, less those that the circular has in common."""
    return frozenset(LETTER_FIELDS) - ({"salutation"} if source.salutation is not None else set())


def typeset(value: Any, language: str) -> Any:
    """*value* with its texts typeset; names, telephone numbers, addresses and links stay as they are."""
    if isinstance(value, str):
        return value if is_url(value) else languages.typeset(value, language)
    if isinstance(value, (list, tuple)):
        return tuple(typeset(item, language) for item in value)
    if isinstance(value, Mapping):
        return SimpleNamespace(**{key: typeset(item, language) for key, item in value.items()})
    if is_dataclass(value) and isinstance(value, (Issuer, Enclosure, Person, Event, Follows)):
        texts = {part.name for part in parts_of(value)} & {
            "title",
            "note",
            "organization",
            "capacity",
            "address_block",
            "location",
        }
        return replace(value, **{name: typeset(getattr(value, name), language) for name in texts})
    return value


def missing(template: Template, source: Source, used: Mapping[str, list[str]]) -> list[Finding]:
    """What the text names and the circular does not give, and what the template insists on.

    Args:
        template: of the circular.
        source: in one language.
        used: name -> the places that name it.
    """
    scope = scope_of_text(template, source)
    values = values_of_text(template, source)
    found = [
        _lacking(name, places[0], f"the field {name} is not known", near(name, scope, most=1))
        for name, places in sorted(used.items())
        if name not in scope
    ]
    found += [
        _lacking(name, used.get(name, [f"template {template.name}"])[0], f"{name} is not given ({field.description})")
        for name, field in template.fields.items()
        if field.required and values.get(name) is None
    ]
    for key in template.requires:
        if not getattr(source, _KEYS.get(key, key)):
            found.append(
                Finding(
                    "field-missing",
                    Severity.ERROR,
                    "circular.toml",
                    f"the template {template.name} needs {key}",
                    f"give {key} in circular.toml",
                    key,
                )
            )
    return found


def _lacking(name: str, where: str, what: str, guess: str = "") -> Finding:
    remedy = f"give {name} under [values], or correct its name"
    return Finding("field-missing", Severity.ERROR, where, what, f"{guess}; else {remedy}" if guess else remedy, name)


def unused(source: Source, used: Mapping[str, list[str]]) -> list[Finding]:
    """Values that the circular gives and its text in this language never names."""
    return [
        Finding(
            "value-unused",
            Severity.WARNING,
            f"circular.toml, [values] {name}",
            f"{source.body_where} does not use {name}",
            "use it in the text, or take it out",
            f"{name}.{source.language}",
        )
        for name in sorted(source.values)
        if name not in used
    ]


def clashes(template: Template, source: Source) -> list[Finding]:
    """Values whose name is taken, or whose kind is not the one that the template asks for."""
    found = []
    for name, value in sorted(source.values.items()):
        where = f"circular.toml, [values] {name}"
        if name in LETTER_FIELDS or name in TEXT_FIELDS or name in FRAME_FIELDS:
            found.append(
                Finding(
                    "value-name",
                    Severity.ERROR,
                    where,
                    f"{name} is a field of every letter",
                    "choose another name",
                    name,
                )
            )
        elif name in template.fields and not _fits(template.fields[name].kind, kind_of(value)):
            wanted = template.fields[name].kind.value
            found.append(
                Finding(
                    "value-kind", Severity.ERROR, where, f"it is a {kind_of(value).value}, and not a {wanted}", "", name
                )
            )
    return found


def _fits(wanted: Kind, given: Kind) -> bool:
    return given is wanted or (wanted is Kind.TEXT and given is Kind.URL) or {wanted, given} == {Kind.TEXTS, Kind.ROWS}
