"""States and how their names are compared."""

import datetime as dt
import functools
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lists.kinds import LANGUAGES

_AND = {"en": "and", "fr": "et", "es": "y", "ru": "и"}
_ARTICLES = {"the", "la", "le", "les", "l", "el", "los"}
_NOT_WORD = re.compile(r"[^\w]+")


@dataclass(frozen=True, slots=True)
class State:
    """A State of the roll.

    Attributes:
        iso3: ISO 3166-1 alpha-3, upper case.
        iso2: ISO 3166-1 alpha-2, upper case.
        names: short name per language code (en fr es ar zh ru), as UNTERM has it.
        formal_en: formal English name with its article.
        exists_from: since when it is a State; None: on all dates of this treaty.
    """

    iso3: str
    iso2: str
    names: Mapping[str, str] = field(hash=False)
    formal_en: str
    exists_from: dt.date | None

    def name(self, language: str = "en") -> str:
        """Its short name in *language*; English where that language has none."""
        return self.names.get(language) or self.names["en"]

    def exists(self, on: dt.date) -> bool:
        """Whether it is a State on that day."""
        return self.exists_from is None or self.exists_from <= on


@functools.lru_cache(maxsize=2048)
def fold(text: str) -> str:
    """*text* for comparing: no case, no accents, no punctuation, one blank between words, no leading article."""
    plain = text.casefold()
    if not plain.isascii():
        plain = "".join(c for c in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(c))
    words = _NOT_WORD.sub(" ", plain.replace("_", " ")).split()
    while len(words) > 1 and words[0] in _ARTICLES:
        words = words[1:]
    return " ".join(words)


def sorted_by_name(states: Iterable[State], language: str = "en") -> list[State]:
    """In the order of their names in *language*, accents and case aside."""
    return sorted(states, key=lambda state: (fold(state.name(language)), state.iso3))


def in_words(states: Iterable[State], language: str = "en") -> str:
    """Their names as part of a sentence: `France, Norway and Peru`, `France, Norvège et Pérou`."""
    names = [state.name(language) for state in sorted_by_name(states, language)]
    if len(names) < 2:  # noqa: PLR2004 - one name needs no "and"
        return "".join(names)
    if language not in _AND:
        comma = {"ar": "، ", "zh": "、"}.get(language, ", ")
        return comma.join(names)
    return f"{', '.join(names[:-1])} {_AND[language]} {names[-1]}"


def state_of(row: Mapping[str, str]) -> State:
    """The State that a row of `states.csv` describes."""
    names = {language: row[language] for language in LANGUAGES if row.get(language)}
    since = dt.date.fromisoformat(row["exists_from"]) if row.get("exists_from") else None
    return State(row["iso3"], row["iso2"], names, row["formal_en"], since)
