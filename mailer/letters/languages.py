"""Languages: which one a letter is in, and how each writes dates, hours and quotation marks."""
# ruff: noqa: RUF001 - quotation marks are the subject here

import re
from collections.abc import Mapping, Sequence

from lists.kinds import LANGUAGES, RIGHT_TO_LEFT

#: English names, for explanations on screen.
NAMES = {"en": "English", "fr": "French", "es": "Spanish", "ar": "Arabic", "zh": "Chinese", "ru": "Russian"}


def text_in(value: str | Mapping[str, str], language: str) -> str | None:
    """The text in *language*; a plain text holds for all languages; None where *value* lacks the language."""
    return value if isinstance(value, str) else value.get(language)


def choose(preferred: Sequence[str], offered: Sequence[str], fall_back: Sequence[str]) -> tuple[str, str]:
    """The language of an organization's letter, and why, in words.

    Args:
        preferred: the organization's own order; may be empty.
        offered: the circular's languages, in its order; not empty.
        fall_back: the order of the settings.

    Raises:
        ValueError: nothing is offered.
    """
    if not offered:
        raise ValueError("a circular has at least one language")
    for place, language in enumerate(preferred):
        if language in offered:
            return language, f"{NAMES.get(language, language)}, its {'first' if place == 0 else 'next'} choice"
    language = next((one for one in fall_back if one in offered), offered[0])
    wanted = " or ".join(NAMES.get(one, one) for one in preferred)
    why = f"the circular is not in {wanted}" if wanted else "it has named no language"
    return language, f"{NAMES.get(language, language)}, since {why}"


def direction(language: str) -> str:
    """`rtl` for Arabic, else `ltr`."""
    return "rtl" if language in RIGHT_TO_LEFT else "ltr"


def known(language: str) -> bool:
    """Whether it is one of the six."""
    return language in LANGUAGES


#: Outer and inner quotation marks; French ones with a no-break space inside (U+00A0: U+202F lacks in old mail fonts).
_QUOTES = {
    "en": ["“", "”", "‘", "’"],
    "fr": ["«\N{NO-BREAK SPACE}", "\N{NO-BREAK SPACE}»", "“", "”"],
    "es": ["«", "»", "“", "”"],
    "ar": ["«", "»", "“", "”"],
    "zh": ["“", "”", "‘", "’"],
    "ru": ["«", "»", "„", "“"],
}

_FRENCH_BEFORE = re.compile(r"[ \u202f](?=[:;?!»])")
_FRENCH_AFTER = re.compile(r"«[ \u202f]")
_APOSTROPHE = re.compile(r"(?<=\w)'(?=\w)")


def quotes(language: str) -> list[str]:
    """The four quotation marks that straight ones become."""
    return _QUOTES[language]


def space(text: str, language: str) -> str:
    """Make the spaces of French punctuation unbreakable; other languages are left as they are."""
    if language != "fr":
        return text
    return _FRENCH_AFTER.sub("«\N{NO-BREAK SPACE}", _FRENCH_BEFORE.sub("\N{NO-BREAK SPACE}", text))


def typeset(text: str, language: str) -> str:
    """Apostrophes and spaces of a text that is not Markdown (a title, a capacity, a subject)."""
    return space(_APOSTROPHE.sub("’", text), language)
