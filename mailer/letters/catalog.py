"""The letter templates: folders with `template.toml`, a home's own before the shipped ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lists.kinds import LANGUAGES, Form
from mailer import shipped
from mailer.errors import LetterError, NotFound
from mailer.letters.kinds_of_fields import Kind
from mailer.letters.sandbox import is_name
from mailer.letters.wording import read_toml

LAYOUT = "_layout"
_KINDS = {
    kind.value: kind
    for kind in (Kind.TEXT, Kind.URL, Kind.NUMBER, Kind.YES_NO, Kind.DATE, Kind.DAYS, Kind.TEXTS, Kind.ROWS)
}
#: Keys of a circular that a template may insist on.
REQUIRABLE = ("issuers", "place", "reply_by", "event", "contact_persons", "enclosures", "follows", "closing", "from")


@dataclass(frozen=True, slots=True)
class Field:
    """A value that the template's text uses; a circular gives it under `[values]`."""

    name: str
    kind: Kind
    description: str
    required: bool


@dataclass(frozen=True, slots=True)
class Template:
    """A kind of letter.

    Attributes:
        form: the form it has unless the circular says otherwise; the first of `forms`.
        requires: keys of `circular.toml` that it can't do without.
        starting: language -> file with a text to start from.
        folders: where layouts are looked for, first wins.
    """

    name: str
    folder: Path
    title: str
    description: str
    forms: tuple[Form, ...]
    requires: tuple[str, ...]
    fields: Mapping[str, Field]
    starting: Mapping[str, Path]
    folders: tuple[Path, ...]

    @property
    def form(self) -> Form:
        """The form unless the circular says otherwise."""
        return self.forms[0]

    def file(self, form: Form, ending: str) -> Path:
        """The frame of *form* (`html`, `txt`, `css`): the template's own, else the layout's.

        Raises:
            LetterError: there is none, or the template does not make this form.
        """
        if form not in self.forms:
            made = " or ".join(self.forms)
            raise LetterError(f"it makes no {form.value}", where=f"template {self.name}", remedy=f"it makes a {made}")
        own = self.folder / f"frame.{ending}"
        candidates = [own, *(folder / LAYOUT / f"{form.value}.{ending}" for folder in self.folders)]
        for candidate in candidates:
            if candidate.is_file():
                return candidate
        raise LetterError(f"the frame {form.value}.{ending} is lacking", where=f"template {self.name}")

    def part(self, name: str, ending: str) -> Path:
        """A part that frames share: `_layout/parts/NAME.html`.

        Raises:
            LetterError: there is none.
        """
        for folder in (self.folder, *(one / LAYOUT / "parts" for one in self.folders)):
            if (found := folder / f"{name}.{ending}").is_file():
                return found
        raise LetterError(f"there is no part {name}.{ending}", where=f"template {self.name}")


def folders(home: Path | None = None) -> tuple[Path, ...]:
    """Where templates are looked for: the home's `templates`, then the shipped ones."""
    own = (home / "templates",) if home is not None and (home / "templates").is_dir() else ()
    return (*own, shipped.folder("templates"))


def find(name: str, folders: Sequence[Path]) -> Template:
    """The template *name*, from the first folder that has it.

    Raises:
        NotFound: there is none.
        LetterError: its `template.toml` is not right.
    """
    if is_name(name.replace("-", "_")):
        for folder in folders:
            if (folder / name / "template.toml").is_file():
                return _read(folder / name, tuple(folders))
    names = ", ".join(template.name for template in available(folders))
    raise NotFound(f"there is no template {name}", remedy=f"there are {names}")


def available(folders: Sequence[Path]) -> list[Template]:
    """All templates by name; a home's own hides a shipped one of the same name."""
    found: dict[str, Template] = {}
    for folder in folders:
        for file in sorted(folder.glob("*/template.toml")):
            if file.parent.name not in found and not file.parent.name.startswith("_"):
                found[file.parent.name] = _read(file.parent, tuple(folders))
    return [found[name] for name in sorted(found)]


def _read(folder: Path, folders: tuple[Path, ...]) -> Template:
    file = folder / "template.toml"
    document: dict[str, Any] = dict(read_toml(file))
    unknown = sorted(set(document) - {"title", "description", "forms", "requires", "fields"})
    if unknown:
        raise LetterError(f"there is no key {unknown[0]}", where=str(file))
    forms = document.get("forms")
    if not isinstance(forms, list) or not forms or not set(forms) <= {form.value for form in Form}:
        raise LetterError("forms is not a list of letter, memo, note-verbale", where=str(file))
    requires = document.get("requires", [])
    if not isinstance(requires, list) or not set(requires) <= set(REQUIRABLE):
        raise LetterError(f"requires may name {', '.join(REQUIRABLE)}", where=str(file))
    fields = {name: _field(name, spec, file) for name, spec in dict(document.get("fields", {})).items()}
    starting = {one: folder / f"letter.{one}.md" for one in LANGUAGES if (folder / f"letter.{one}.md").is_file()}
    return Template(
        name=folder.name,
        folder=folder,
        title=str(document.get("title", folder.name)),
        description=str(document.get("description", "")),
        forms=tuple(Form(form) for form in forms),
        requires=tuple(requires),
        fields=fields,
        starting=starting,
        folders=folders,
    )


def _field(name: str, spec: Any, file: Path) -> Field:
    where = f"{file}, [fields.{name}]"
    if not is_name(name) or not isinstance(spec, dict):
        raise LetterError(f"{name} can't be a field's name", where=where)
    kind = spec.get("kind", "text")
    if kind not in _KINDS:
        raise LetterError(f"there is no kind {kind}", where=where, remedy=f"the kinds are {', '.join(_KINDS)}")
    return Field(name, _KINDS[kind], str(spec.get("description", "")), bool(spec.get("required", False)))
