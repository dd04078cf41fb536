"""From rows to drafts of organizations. Every bad cell is named; nothing is looked up in the database here.

Rows of one organization are those with its id, or with its State, seat, kind and name. They may not contradict each other; a blank
cell says nothing, and the first row that says a thing says it for all.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lists import address as addresses
from lists.contacts import Mail
from lists.errors import BadInput
from lists.findings import Finding
from lists.importing import cells
from lists.importing.columns import rows_of
from lists.importing.sheet import Cell, Grid, Row, error, warning
from lists.kinds import OrganizationKind, Role
from lists.organizations import Particulars, problems, seat_key, tidy
from lists.roll import Roll, fold

T = TypeVar("T")

#: Not said of a cell that is bad already.
_SECOND = frozenset({"missing-cell", "does-not-fit"})
NO_LANGUAGES: tuple[str, ...] = ()
#: Columns that say something of the organization, by the attribute of `Draft`.
SAID = {
    "organization": "name",
    "kind": "kind",
    "state": "state_iso3",
    "seat": "seat",
    "form": "form",
    "languages": "languages",
    "salutation": "salutation",
}


@dataclass(slots=True)
class Draft:
    """An organization as the sheet has it.

    Attributes:
        sheet_id: its id; empty: none.
        rows: its rows, as Excel counts them.
        values: by attribute (`SAID`), what the sheet says; what it leaves blank is absent.
        cells: by attribute, the cell that says it, for messages.
        mails: its mailboxes, each with the row.
        lists: names of lists that it is on.
        first: the cells of its first row.
    """

    sheet_id: str
    rows: list[int] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    cells: dict[str, Cell] = field(default_factory=dict)
    mails: list[tuple[Mail, int]] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)
    first: Mapping[str, Cell] = field(default_factory=dict)

    def at(self, column: str) -> str:
        """Where a column's value stands, or should: the cell that says it, else that of the first row."""
        cell = self.cells.get(SAID.get(column, "")) or self.first.get(column)
        return cell.where if cell else f"{self.where}, column {column}"

    @property
    def key(self) -> tuple[Any, ...] | None:
        """State, seat, kind, normalised name; None where the sheet does not say enough."""
        name, kind = self.values.get("name"), self.values.get("kind")
        if not name or not kind:
            return None
        return (self.values.get("state_iso3"), self.values.get("seat"), kind, fold(name))

    @property
    def where(self) -> str:
        """`row 14`."""
        return f"row {self.rows[0]}"


@dataclass(frozen=True, slots=True)
class Checked:
    """What a sheet says: drafts in its order, the columns that it has, and what is wrong."""

    drafts: tuple[Draft, ...]
    columns: frozenset[str]
    findings: tuple[Finding, ...]


@dataclass(slots=True)
class _Read:
    """One row, read."""

    number: int
    cells: dict[str, Cell]
    sheet_id: str
    values: dict[str, Any]
    mails: list[Mail]
    lists: tuple[str, ...]
    whole: bool


class _Reader:
    """Reads the cells of rows, collecting what is wrong."""

    def __init__(self, roll: Roll, *, quoted: bool) -> None:
        self.roll = roll
        self.quoted = quoted
        self.findings: list[Finding] = []

    def _try(self, cell: Cell | None, read: Callable[[str], T], nothing: T) -> T:
        """What *read* makes of the cell's text; *nothing* for a blank cell and, with a finding, for a bad one."""
        if cell is None:
            return nothing
        try:
            said = cells.text(cell.value, quoted=self.quoted)
            return read(said) if said else nothing
        except BadInput as bad:
            self.findings.append(error("bad-cell", cell.where, bad.what, bad.remedy or ""))
            return nothing

    def _date(self, cell: Cell | None) -> dt.date | None:
        if cell is None:
            return None
        try:
            return cells.date(cell.value, quoted=self.quoted)
        except BadInput as bad:
            self.findings.append(error("bad-cell", cell.where, bad.what, bad.remedy or ""))
            return None

    def row(self, row: Row) -> _Read:
        """Read a row."""
        before = len(self.findings)
        at = row.cells.get
        values: dict[str, Any] = {
            "name": self._try(at("organization"), _name, ""),
            "kind": self._try(at("kind"), cells.kind, None),
            "state_iso3": self._try(at("state"), lambda said: self.roll.find(said).iso3, None),
            "seat": self._try(at("seat"), seat_key, None),
            "form": self._try(at("form"), cells.form, None),
            "languages": self._try(at("languages"), cells.languages, NO_LANGUAGES),
            "salutation": self._try(at("salutation"), tidy, ""),
        }
        sheet_id = self._try(at("id"), tidy, "")
        whole = len(self.findings) == before
        return _Read(
            row.number,
            dict(row.cells),
            sheet_id,
            {key: value for key, value in values.items() if value},
            self._mails(row),
            self._try(at("lists"), cells.list_names, ()),
            whole,
        )

    def _mails(self, row: Row) -> list[Mail]:
        at = row.cells.get
        name = self._try(at("name"), addresses.display_name, "")
        role = self._try(at("role"), cells.role, Role.TO)
        first, last = self._date(at("from")), self._date(at("until"))
        if first and last and last < first:
            where = row.cells["until"].where
            self.findings.append(
                error("bad-cell", where, f"it ends on {last}, before it begins on {first}", "correct one")
            )
            last = None
        cell = at("address")
        if cell is None:
            return []
        nothing: tuple[list[addresses.Parsed], list[str]] = ([], [])
        parsed, wrong = self._try(cell, addresses.read_many, nothing)
        self.findings.extend(
            error("bad-cell", cell.where, what, "write a@x.example; Name <b@y.example>") for what in wrong
        )
        self.findings.extend(
            warning("address-beyond-ascii", cell.where, *told)
            for one in parsed
            if (told := addresses.doubt(one.address)) is not None
        )
        return [Mail(one.address, one.name or name, role, first, last) for one in parsed]


def _name(said: str) -> str:
    name = tidy(said)
    addresses.assert_clean(name)
    return name


def check(grid: Grid, roll: Roll) -> Checked:
    """What the sheet says, and all that is wrong with it, in the order of its rows."""
    rows, columns, findings = rows_of(grid)
    if any(finding.code == "missing-column" for finding in findings):
        return Checked((), columns, (*grid.notes, *findings))
    reader = _Reader(roll, quoted=grid.quoted)
    read = [reader.row(row) for row in rows]
    findings.extend(reader.findings)
    drafts = _grouped(read, findings)
    for draft in drafts:
        _finish(draft, findings)
    bad = {finding.where for finding in findings if finding.code == "bad-cell"}
    findings = [one for one in findings if one.code not in _SECOND or one.where not in bad]
    findings.extend(_shared(drafts))
    return Checked(tuple(drafts), columns, (*grid.notes, *sorted(findings, key=_place)))


def _place(finding: Finding) -> int:
    digits = finding.where.removeprefix("row ").partition(",")[0]
    return int(digits) if digits.isdecimal() else 0


def _grouped(read: Iterable[_Read], findings: list[Finding]) -> list[Draft]:
    """Rows put together by id, else by State, seat, kind and name; a row with a bad cell of these stands alone."""
    read = list(read)
    by_id: dict[str, Draft] = {}
    by_key: dict[tuple[Any, ...], Draft] = {}
    drafts: list[Draft] = []
    for row in read:
        fresh = Draft(row.sheet_id, values=row.values)
        draft = by_id.get(row.sheet_id) if row.sheet_id else None
        if draft is None and not row.sheet_id and row.whole and fresh.key:
            draft = by_key.get(fresh.key)
        if draft is None:
            draft = Draft(row.sheet_id)
            drafts.append(draft)
            if row.sheet_id:
                by_id[row.sheet_id] = draft
        _add(draft, row, findings)
        if row.whole and draft.key:
            other = by_key.setdefault(draft.key, draft)
            if draft.sheet_id and not other.sheet_id:
                by_key[draft.key] = draft
            if other is not draft and other.sheet_id and draft.sheet_id:
                what = f"the same State, seat, kind and name as in {other.where} under another id ({other.sheet_id})"
                findings.append(error("same-organization", f"row {row.number}", what, "give both rows the same id"))
    return _merged(drafts, findings)


def _merged(drafts: list[Draft], findings: list[Finding]) -> list[Draft]:
    """Rows without an id that came before the first row with its id go to that one."""
    kept: list[Draft] = []
    with_id = {draft.key: draft for draft in reversed(drafts) if draft.sheet_id and draft.key}
    for draft in drafts:
        owner = with_id.get(draft.key) if not draft.sheet_id and draft.key else None
        if owner is None:
            kept.append(draft)
            continue
        owner.rows = sorted([*owner.rows, *draft.rows])
        for attribute, value in draft.values.items():
            _say(owner, attribute, value, draft.cells[attribute], findings)
        owner.mails.extend(draft.mails)
        owner.lists.extend(name for name in draft.lists if name not in owner.lists)
    return kept


def _add(draft: Draft, row: _Read, findings: list[Finding]) -> None:
    draft.rows.append(row.number)
    draft.first = draft.first or row.cells
    for column, attribute in SAID.items():
        if attribute in row.values:
            _say(draft, attribute, row.values[attribute], row.cells[column], findings)
    draft.mails.extend((mail, row.number) for mail in row.mails)
    draft.lists.extend(name for name in row.lists if name not in draft.lists)
    if not row.mails and "address" in row.cells and row.cells["address"].value in (None, ""):
        findings.append(
            warning(
                "no-address", row.cells["address"].where, "the row has no address", "without one, no letter goes there"
            )
        )


def _say(draft: Draft, attribute: str, value: Any, cell: Cell, findings: list[Finding]) -> None:
    """Let the draft have the value, unless an earlier row said another one."""
    if attribute not in draft.values:
        draft.values[attribute] = value
        draft.cells[attribute] = cell
    elif draft.values[attribute] != value and not (attribute == "name" and fold(draft.values["name"]) == fold(value)):
        said, earlier = _words(value), draft.cells[attribute].row
        findings.append(
            error(
                "contradiction",
                cell.where,
                f"{said}, but row {earlier} says {_words(draft.values[attribute])} of the same organization",
                "make them the same, or leave this cell empty",
            )
        )


def _words(value: Any) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


def _finish(draft: Draft, findings: list[Finding]) -> None:
    """What can be said of a draft only when all its rows are read."""
    first: dict[str, int] = {}
    for mail, row in draft.mails:
        earlier = first.setdefault(addresses.same(mail.address), row)
        if earlier != row:
            what = f"{mail.address} stands in row {earlier} too, for the same organization"
            findings.append(error("duplicate-address", f"row {row}, column address", what, "keep one of them"))
    if draft.mails and all(mail.role is Role.CC for mail, _ in draft.mails):
        what = "all its addresses are cc"
        findings.append(
            warning("only-cc", draft.where, what, "give one the role to, so that the letter has an addressee")
        )
    if draft.sheet_id:
        return  # what the sheet leaves out may be known already; planning looks
    findings.extend(missing(draft))
    findings.extend(wrong(draft, particulars(draft)) if draft.key else ())


def missing(draft: Draft) -> list[Finding]:
    """Findings for what an organization that is not known yet must have: a name and a kind."""
    found = []
    for column, attribute, remedy in (
        ("organization", "name", "write the organization's name as letters should print it"),
        ("kind", "kind", "write mission, ministry, international or ngo"),
    ):
        if attribute not in draft.values:
            found.append(error("missing-cell", draft.at(column), "the cell is empty", remedy))
    return found


def particulars(draft: Draft) -> Particulars:
    """The particulars that the sheet gives; `name` and `kind` must be there."""
    values = draft.values
    return Particulars(
        name=values["name"],
        kind=OrganizationKind(values["kind"]),
        state_iso3=values.get("state_iso3"),
        seat=values.get("seat"),
        form=values.get("form"),
        languages=values.get("languages", ()),
        salutation=values.get("salutation"),
        sheet_id=draft.sheet_id or None,
    )


def wrong(draft: Draft, one: Particulars) -> list[Finding]:
    """What does not fit together in an organization, at the cell where it shows."""
    found = []
    for column, what, remedy in problems(one):
        found.append(error("does-not-fit", draft.at(column), what, remedy))
    return found


def _shared(drafts: Iterable[Draft]) -> list[Finding]:
    """Addresses that stand at two organizations: allowed, and told."""
    owner: dict[str, Draft] = {}
    found = []
    for draft in drafts:
        for mail, row in draft.mails:
            other = owner.setdefault(addresses.same(mail.address), draft)
            if other is not draft:
                what = f"{mail.address} belongs to the organization of {other.where} too"
                found.append(warning("shared-address", f"row {row}, column address", what, "it will get two letters"))
    return found
