"""What the layouts say in each language: labels, notes of enclosures, and how audiences are printed. Data of `_layout/wording.XX.toml`."""

import datetime as dt
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from mailer import shipped
from mailer.errors import LetterError
from mailer.letters import days


@dataclass(frozen=True, slots=True)
class Wording:
    """The words of one language."""

    language: str
    labels: Mapping[str, str]
    audiences: Mapping[str, str]
    notes: Mapping[str, str]

    def label(self, name: str) -> str:
        """The label *name*.

        Raises:
            LetterError: the language's file lacks it.
        """
        if name not in self.labels:
            raise LetterError(f"the label {name} is lacking", where=f"_layout/wording.{self.language}.toml")
        return self.labels[name]

    def namespace(self) -> SimpleNamespace:
        """The labels as the frames see them: `label.to`."""
        return SimpleNamespace(**self.labels)

    def audience(self, rule: str) -> str | None:
        """How the audience *rule* is printed; None where there are no words for it.

        Of `states-parties@geneva else new-york` those for `states-parties@geneva`, else those for `states-parties`.
        """
        wanted = rule.partition(" else ")[0].strip()
        return self.audiences.get(wanted) or self.audiences.get(wanted.partition("@")[0])

    def only(self, language: str) -> str:
        """The note of an enclosure that exists in *language* only: `English only`."""
        return self.notes.get(f"only-{language}", "")

    def to_follow(self, day: dt.date | None = None) -> str:
        """The note of an enclosure that comes later: `to follow`, `to follow by 1 August 2006`."""
        if day is None:
            return self.notes.get("to-follow", "")
        return self.notes.get("to-follow-by", "").replace("{date}", days.date(day, self.language))


def load(language: str, folders: Sequence[Path] | None = None) -> Wording:
    """The words of *language*: the shipped ones, and over them those of the home's `templates/_layout`.

    Args:
        language: one of the six.
        folders: template folders, first wins; default: the shipped one.

    Raises:
        LetterError: there are none, or a file can't be read.
    """
    merged: dict[str, dict[str, str]] = {"labels": {}, "audiences": {}, "notes": {}}
    files = [folder / "_layout" / f"wording.{language}.toml" for folder in folders or (shipped.folder("templates"),)]
    found = [file for file in files if file.is_file()]
    if not found:
        raise LetterError(f"the layouts have no words in {language}", remedy=f"add _layout/wording.{language}.toml")
    for file in reversed(found):
        for part, words in read_toml(file).items():
            if part not in merged or not all(isinstance(word, str) for word in words.values()):
                raise LetterError(f"[{part}] is not labels, audiences or notes", where=str(file))
            merged[part].update(words)
    return Wording(language, merged["labels"], merged["audiences"], merged["notes"])


def read_toml(file: Path) -> dict[str, dict[str, str]]:
    """A TOML file, a BOM allowed.

    Raises:
        LetterError: it can't be read, with the line.
    """
    try:
        return tomllib.loads(file.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LetterError(f"it can't be read: {error}", where=str(file)) from None
