"""The columns of a sheet of contacts, and how headings are told."""

import re
from collections.abc import Sequence

from lists.findings import Finding
from lists.importing.sheet import Cell, Grid, Row, Value, error, warning
from lists.near import near
from lists.roll import fold

#: Column -> what it is for, as the starter sheet and the documents say it.
COLUMNS = {
    "id": "Your own id of the organization. May stay empty; an export fills it, and it finds the organization again even if its name changes.",
    "organization": "Name of the organization as letters and reports print it.",
    "kind": "mission, ministry, international or ngo.",
    "state": "For a mission or ministry: the State, by name in any of six languages or by code (FRA). Else empty.",
    "seat": "Where it is: Geneva, New York ... A mission needs it.",
    "form": "letter, memo or note-verbale, if this organization wants another form than the circular's. Else empty.",
    "languages": "Its languages in order of preference: fr en. Codes: en fr es ar zh ru.",
    "salutation": "How letters to it begin, where a circular asks for each one's own: Excellency,",
    "address": "E-mail address; several are parted by semicolons, each may have a name: a@x.example; Name <b@y.example>",
    "name": "Name beside the address, such as Chancery. May stay empty.",
    "role": "to or cc: where the address stands in the mail. Empty means to.",
    "from": "First day on which the address is right, as 2006-07-07. May stay empty.",
    "until": "Last day on which the address is right, as 2006-07-07. May stay empty.",
    "lists": "Lists on which the organization is, parted by semicolons. The import adds; it takes nobody off.",
}
#: One of each must be there.
NEEDED = (("organization", "id"), ("address",))
_OTHER_NAMES = {
    "organisation": "organization",
    "organizationname": "organization",
    "organisationname": "organization",
    "emailaddress": "address",
    "email": "address",
    "emails": "address",
    "mail": "address",
    "addresses": "address",
    "emailaddresses": "address",
    "language": "languages",
    "list": "lists",
    "country": "state",
    "validfrom": "from",
    "validuntil": "until",
}
#: So alike is a heading that was mistyped; `date` is not a mistyped `state`.
_TYPO = 0.8
_NOT_LETTER = re.compile(r"[^\w]|_")


def column_of(heading: Value) -> str | None:
    """The column that a heading names, whatever its case, blanks, hyphens and underscores; None: unknown."""
    key = _NOT_LETTER.sub("", fold(str(heading or "")))
    if key in COLUMNS:
        return key
    return _OTHER_NAMES.get(key)


def rows_of(grid: Grid) -> tuple[list[Row], frozenset[str], list[Finding]]:
    """The rows under the heading row, the columns that the sheet has, and what is wrong with the headings.

    The heading row is the first that is not blank. Rows that begin with `# ` are comments.
    """
    filled = [(number, cells) for number, cells in grid.rows if not _comment(cells)]
    if not filled:
        what = "the sheet is empty"
        return [], frozenset(), [error("empty-sheet", grid.name, what, "its first row must hold the headings")]
    head_row, headings = filled[0]
    places, findings = _places(head_row, headings)
    for options in NEEDED:
        if not any(option in places for option in options):
            names = " or ".join(options)
            findings.append(
                error(
                    "missing-column",
                    f"row {head_row}",
                    f"there is no column {names}",
                    f"name it in the heading row; the columns are {', '.join(COLUMNS)}",
                )
            )
    rows = []
    for number, cells in filled[1:]:
        known = {
            column: Cell(number, column, _said(headings[place]), cells[place] if place < len(cells) else None)
            for column, place in places.items()
        }
        if any(cell.value not in (None, "") for cell in known.values()):
            rows.append(Row(number, known))
        if len(cells) > len(headings):
            findings.append(
                warning(
                    "cell-without-heading",
                    f"row {number}",
                    f"{len(cells) - len(headings)} cells stand under no heading",
                )
            )
    return rows, frozenset(places), findings


def _places(row: int, headings: Sequence[Value]) -> tuple[dict[str, int], list[Finding]]:
    places: dict[str, int] = {}
    unknown: list[str] = []
    twice: dict[str, list[str]] = {}
    findings: list[Finding] = []
    for place, heading in enumerate(headings):
        if heading in (None, "") or not (said := _said(heading)):
            continue
        column = column_of(heading)
        if column is None:
            guess = near(said, COLUMNS, most=1, alike=_TYPO)
            if guess:
                findings.append(error("unknown-column", f"row {row}, column {said}", "unknown heading", guess))
            else:
                unknown.append(said)
        elif column in places:
            twice.setdefault(column, [_said(headings[places[column]])]).append(said)
        else:
            places[column] = place
    for column, names in twice.items():
        findings.append(
            error(
                "duplicate-column",
                f"row {row}",
                f"the column {column} stands there {len(names)} times: {_listed(names)}",
                "keep one",
            )
        )
    if unknown:
        what = f"these columns are not used: {_listed(list(dict.fromkeys(unknown)))}"
        findings.append(warning("unknown-column", f"row {row}", what))
    return places, findings


def _listed(names: Sequence[str], most: int = 10) -> str:
    """So many names as fit into a line."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(name[:60] for name in names[:most]) + more


def _said(heading: Value) -> str:
    return " ".join(str(heading or "").split())


def _comment(cells: Sequence[Value]) -> bool:
    first = next((cell for cell in cells if cell not in (None, "")), "")
    return isinstance(first, str) and first.startswith("# ")
