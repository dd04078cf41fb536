"""What a cell says: text, date, role, kind, form, languages, lists, State. Each refuses in words; nothing is guessed."""

import datetime as dt
import re
import unicodedata

from lists.address import shown, trimmed
from lists.errors import BadInput
from lists.importing.sheet import Value
from lists.kinds import LANGUAGES, Form, OrganizationKind, Role
from lists.near import near
from lists.roll import fold

_FORMULA = frozenset("=+-@\t\r")
_LONGEST = 20_000
_LONGEST_LIST = 80
_FEW = 6
_YEARS = range(1900, 2201)

_KINDS = {
    "mission": "mission", "permanent mission": "mission", "mission permanente": "mission", "observer mission": "mission",
    "permanent observer mission": "mission",
    "ministry": "ministry", "ministere": "ministry", "foreign ministry": "ministry", "ministry of foreign affairs": "ministry",
    "international": "international", "international organization": "international", "international organisation": "international",
    "organisation internationale": "international", "igo": "international", "regional organization": "international",
    "ngo": "ngo", "ong": "ngo", "non governmental organization": "ngo", "non governmental organisation": "ngo",
    "organisation non gouvernementale": "ngo",
}  # fmt: skip
_FORMS = {
    "letter": "letter", "lettre": "letter", "memo": "memo", "memorandum": "memo",
    "note verbale": "note-verbale", "note": "note-verbale",
}  # fmt: skip
_ROLES = {"to": "to", "cc": "cc", "copy": "cc", "copie": "cc"}
_LANGUAGES = {
    "english": "en", "anglais": "en", "french": "fr", "francais": "fr", "spanish": "es", "espanol": "es", "espagnol": "es",
    "arabic": "ar", "arabe": "ar", "chinese": "zh", "chinois": "zh", "russian": "ru", "russe": "ru",
}  # fmt: skip


def unguarded(text: str) -> str:
    """Text without the apostrophe that an export puts before what a spreadsheet would take for a formula."""
    bare = text.lstrip("'")
    return text[1:] if text.startswith("'") and bare[:1] in _FORMULA else text


def guarded(text: str) -> str:
    """Text with an apostrophe before what a spreadsheet would take for a formula; `unguarded` takes it off again."""
    return f"'{text}" if text.lstrip("'")[:1] in _FORMULA and text else text


def text(value: Value, *, quoted: bool) -> str:
    """A cell as text, blanks and unseen characters at its ends removed; a whole number without its point.

    Raises:
        BadInput: it is longer than any cell needs to be.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:  # noqa: PLR2004 - beyond, a float has no whole digits
        return str(int(value))
    if not isinstance(value, str):
        return str(value)
    if len(value) > _LONGEST:
        raise BadInput(f"the cell holds {len(value):,} characters", remedy=f"at most {_LONGEST:,}")
    found = unicodedata.normalize("NFC", trimmed(value))
    return unguarded(found) if quoted else found


def date(value: Value, *, quoted: bool) -> dt.date | None:
    """A day: a date cell, `2006-07-07`, or `7.7.2006`; empty is None.

    Raises:
        BadInput: it is written so that it could be read two ways, or is no date.
    """
    if isinstance(value, dt.datetime):
        if value.time() != dt.time():
            raise BadInput(f"{value} has a time of day", remedy="give the day only, as 2006-07-07")
        return _in_range(value.date())
    if isinstance(value, dt.date):
        return _in_range(value)
    said = text(value, quoted=quoted)
    if not said:
        return None
    if isinstance(value, (int, float)):
        raise BadInput(f"{said} is a number, not a date", remedy="format the cell as a date, or write 2006-07-07")
    if re.fullmatch(r"\d{1,2}/\d{1,2}/\d{2,4}", said, re.ASCII):
        raise BadInput(f"{shown(said)} is read differently in different countries", remedy="write it as 2006-07-07")
    if match := re.fullmatch(r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[ T]00:00(?::00)?)?", said, re.ASCII):
        year, month, day = match.groups()
    elif match := re.fullmatch(r"(\d{1,2})\.\s?(\d{1,2})\.\s?(\d{4})", said, re.ASCII):
        day, month, year = match.groups()
    else:
        raise BadInput(f"{shown(said)} is not a date", remedy="write it as 2006-07-07")
    try:
        return _in_range(dt.date(int(year), int(month), int(day)))
    except ValueError as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"there is no day {shown(said)}", remedy="write it as 2006-07-07") from error


def _in_range(day: dt.date) -> dt.date:
    if day.year not in _YEARS:
        raise BadInput(f"{day} can't be meant", remedy="write it as 2006-07-07")
    return day


def _one_of(said: str, table: dict[str, str], what: str, values: str) -> str:
    try:
        return table[fold(said)]
    except KeyError:
        guess = near(said, table) if len(table) > _FEW else ""  # of few values, all are named
        raise BadInput(f"unknown {what} {shown(said)}", remedy=guess or f"write {values}") from None


def kind(said: str) -> OrganizationKind:
    """The kind of an organization, in English or French.

    Raises:
        BadInput: there is no such kind.
    """
    return OrganizationKind(_one_of(said, _KINDS, "kind", "mission, ministry, international or ngo"))


def form(said: str) -> Form:
    """The form of a letter.

    Raises:
        BadInput: there is no such form.
    """
    return Form(_one_of(said, _FORMS, "form", "letter, memo or note-verbale"))


def role(said: str) -> Role:
    """The role of a mailbox.

    Raises:
        BadInput: there is no such role.
    """
    return Role(_one_of(said, _ROLES, "role", "to or cc"))


def languages(said: str) -> tuple[str, ...]:
    """Languages in order, as codes or names.

    Raises:
        BadInput: one of them is unknown.
    """
    table = _LANGUAGES | {code: code for code in LANGUAGES}
    words = [word for word in re.split(r"[;,/|\s]+", said) if word]
    return tuple(dict.fromkeys(_one_of(word, table, "language", " or ".join(LANGUAGES)) for word in words))


def list_names(said: str) -> tuple[str, ...]:
    """Names of lists, parted by semicolons, commas or new lines.

    Raises:
        BadInput: a name is too long, or could not be written in a rule.
    """
    names = [" ".join(word.split()) for word in re.split(r"[;,\n\r]+", said)]
    for name in names:
        if len(name) > _LONGEST_LIST or re.search(r"[@:]| else ", name) or not name.isprintable():
            raise BadInput(f"{shown(name)} can't be a list's name", remedy="at most 80 characters, without @ and :")
    return tuple(dict.fromkeys(name for name in names if name))
