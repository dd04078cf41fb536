"""Reads the roll's tables. Every bad row is named with its file and line; nothing is guessed."""

import csv
import datetime as dt
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lists.errors import BadInput, CannotDo, Defect

SHIPPED = Path(__file__).resolve().parent / "data"

#: Larger files are no roll: the shipped events are 50 KB.
_LARGEST = 5_000_000
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class EventKind(StrEnum):
    """What a State did about the treaty, or what became of it."""

    SIGNED = "signed"
    DEPOSITED = "deposited"  #: its instrument (ratification, accession, acceptance, approval, succession)
    IN_FORCE = "in-force"  #: the treaty entered into force for it
    NOTIFIED = "notified-withdrawal"
    WITHDREW = "withdrew"  #: the withdrawal took effect: no longer a Party on this date


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a treaty for one State, with where it is known from.

    Attributes:
        iso3: the State.
        kind: what happened.
        date: when it took effect.
        instrument: of a deposit: ratification, accession, acceptance, approval or succession; else empty.
        source: where the date is from.
        basis: how the date is known (`published: ...`, `computed: Art.17(2)`).
        confidence: high, medium or low; empty where nobody said.
        note: what else a reader should know.
        where: file and line, for messages.
    """

    iso3: str
    kind: EventKind
    date: dt.date
    instrument: str = ""
    source: str = ""
    basis: str = ""
    confidence: str = ""
    note: str = ""
    where: str = ""


def rows(path: Path, needed: tuple[str, ...], known: tuple[str, ...]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """The rows of a CSV file with a heading row, each with its line number; blank rows are passed over.

    Raises:
        BadInput: a column is missing or unknown, or a row has too many cells.
        CannotDo: the file can't be read.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise BadInput("it is too large for a roll", where=str(path), remedy="a row per event is enough")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput("it is not UTF-8", where=str(path), remedy="save it as CSV UTF-8") from error
    except OSError as error:
        raise CannotDo(f"it can't be read ({error.strerror})", where=str(path)) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        head = [cell.strip().casefold() for cell in next(reader, [])]
        if missing := [column for column in needed if column not in head]:
            raise BadInput(
                f"the heading row lacks {', '.join(missing)}", where=f"{path} line 1", remedy=f"use {','.join(known)}"
            )
        if unknown := [column for column in head if column not in known]:
            raise BadInput(
                f"unknown column {unknown[0]!r}", where=f"{path} line 1", remedy=f"the columns are {','.join(known)}"
            )
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(head):
                raise BadInput(
                    f"the row has {len(cells)} cells, the heading row {len(head)}",
                    where=f"{path} line {reader.line_num}",
                    remedy="put quotes around a cell that holds a comma",
                )
            filled = [cell.strip() for cell in cells] + [""] * (len(head) - len(cells))
            yield reader.line_num, dict(zip(head, filled, strict=True))
    except csv.Error as error:
        raise BadInput(f"it is no proper CSV ({error})", where=f"{path} line {reader.line_num}") from error


def date_in(text: str, where: str) -> dt.date:
    """A date written as YYYY-MM-DD.

    Raises:
        BadInput: it is written otherwise, or there is no such day.
    """
    try:
        if _ISO_DATE.fullmatch(text):
            return dt.date.fromisoformat(text)
    except ValueError:
        pass
    raise BadInput(f"{text!r} is not a date", where=where, remedy="write it as YYYY-MM-DD, such as 2006-07-07")


_EVENT_COLUMNS = ("iso3", "event", "date", "instrument", "source", "basis", "confidence", "note")


def events(path: Path, states: Mapping[str, object]) -> list[Event]:
    """The events of a file, in its order.

    Raises:
        BadInput: a row names an unknown State or event, has a bad date, no source, or says the same event twice.
    """
    found: list[Event] = []
    seen: dict[tuple[str, str, dt.date], int] = {}
    for line, row in rows(path, ("iso3", "event", "date", "source"), _EVENT_COLUMNS):
        where = f"{path} line {line}"
        iso3 = row["iso3"].upper()
        if iso3 not in states:
            raise BadInput(f"no State has the code {row['iso3']!r}", where=where, remedy="use ISO codes such as FRA")
        try:
            kind = EventKind(row["event"].casefold().replace(" ", "-").replace("_", "-"))
        except ValueError as error:
            known = ", ".join(EventKind)
            raise BadInput(
                f"unknown event {row['event']!r}", where=where, remedy=f"an event is one of {known}"
            ) from error
        date = date_in(row["date"], where)
        if not row["source"]:
            raise BadInput("the row has no source", where=where, remedy="say where the date is from")
        if (earlier := seen.setdefault((iso3, kind, date), line)) != line:
            raise BadInput(f"it says again what line {earlier} says", where=where, remedy="remove one of them")
        rest = {column: row.get(column, "") for column in ("instrument", "source", "basis", "confidence", "note")}
        found.append(Event(iso3, kind, date, **rest, where=where))
    return found


def shipped_rows(name: str, needed: tuple[str, ...], known: tuple[str, ...]) -> list[Mapping[str, str]]:
    """The rows of a shipped table.

    Raises:
        Defect: the installation lacks it, or it is damaged.
    """
    try:
        return [row for _, row in rows(SHIPPED / name, needed, known)]
    except (BadInput, CannotDo) as error:
        raise Defect(f"the shipped roll is damaged ({error})", remedy="install chancery-mail again") from error
