"""Statements for the busiest tables: compiled once, run straight on the driver, each reading or writing all its rows in one step.

SQLite runs in a thread of its own, and whenever it takes a step (a row read, a row written) that thread lets go of the interpreter and
has to win it back from the event loop, which is busy making letters: with one step per row that costs far more than SQLite does.
So rows go in as one JSON array, which the database takes apart, and come out as one; and a whole series of statements is handed
over at once (`straight`). On PostgreSQL the same statements take one round trip each.

A text that goes in holds no NUL: neither database would keep it.
"""

import datetime as dt
import json
import sqlite3
from collections.abc import Callable, Sequence
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, Protocol, TypeVar

from sqlalchemy import (
    JSON,
    Boolean,
    Dialect,
    Integer,
    Select,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    select,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.dml import Insert, Update
from sqlalchemy.types import TypeEngine

from lists.db import Document, EnumText, UtcDateTime

R = TypeVar("R")


class Wire(Protocol):
    """The connection of a transaction; statements on it run one after the other, and nobody awaits them."""

    dialect: Dialect

    def run(self, sql: str, parameters: Any) -> Sequence[Any]:
        """Run a statement; the rows that it gives, as the driver has them."""
        ...


async def straight(session: AsyncSession, work: Callable[[Wire], R]) -> R:
    """Do *work* in the transaction of *session*; it may run in another thread, so it must touch nothing of the event loop.

    A cancelled caller does not stop it: whatever is done to the session next waits until it has ended.
    """
    await session.flush()
    connection = await session.connection()
    if connection.dialect.name != "sqlite":
        return await connection.run_sync(lambda made: work(_Driven(made)))
    driver: Any = (await connection.get_raw_connection()).driver_connection
    wire = _Sqlite(driver._conn, connection.dialect)  # noqa: SLF001 - aiosqlite runs one call of sqlite3 at a time, save by this door
    try:
        done: R = await driver._execute(work, wire)  # noqa: SLF001 - as above
    except sqlite3.Error as error:
        raise DBAPIError.instance(wire.last, None, error, sqlite3.Error) from error
    return done


class _Sqlite:
    """SQLite's own connection, in its thread."""

    def __init__(self, connection: sqlite3.Connection, dialect: Dialect) -> None:
        self._connection, self.dialect, self.last = connection, dialect, ""

    def run(self, sql: str, parameters: Any) -> Sequence[Any]:
        """As `Wire` says."""
        self.last = sql
        return self._connection.execute(sql, parameters).fetchall()


class _Driven:
    """SQLAlchemy's connection, below its compiler: waiting is done behind our back."""

    def __init__(self, connection: Any) -> None:
        self._connection, self.dialect = connection, connection.dialect

    def run(self, sql: str, parameters: Any) -> Sequence[Any]:
        """As `Wire` says."""
        done = self._connection.exec_driver_sql(sql, parameters)
        return done.all() if done.returns_rows else ()


# --- statements ---------------------------------------------------------------------------------------------------------


class Given:
    """What a statement is given, as the dialect reads it out of JSON."""

    def __init__(self, dialect: Dialect) -> None:
        self._sqlite = dialect.name == "sqlite"

    def row(self, *columns: ColumnElement[Any]) -> tuple[Any, Any]:
        """The rows of `rows`, and the values of one of them by their columns' names."""
        source = self._each("rows")
        items = {str(one.key): self._item(source.c.value, place, one.type) for place, one in enumerate(columns)}
        return source, SimpleNamespace(**items)

    def numbers(self, name: str) -> Select[Any]:
        """The numbers of a parameter that is a JSON array of them, for `IN`."""
        value = self._each(name).c.value
        return select(value if self._sqlite else cast(cast(value, Text), Integer))

    def _each(self, name: str) -> Any:
        if self._sqlite:
            return func.json_each(bindparam(name, type_=Text)).table_valued("value", name=f"given_{name}")
        given = cast(bindparam(name, type_=Text), JSON)
        return func.json_array_elements(given).table_valued("value", name=f"given_{name}").render_derived()

    def _item(self, value: Any, place: int, kind: TypeEngine[Any]) -> ColumnElement[Any]:
        if self._sqlite:
            found: ColumnElement[Any] = func.json_extract(value, literal_column(f"'$[{place}]'"), type_=kind)
            return found
        if isinstance(kind, Document):
            return cast(value.op("->")(literal_column(str(place))), kind)
        text = value.op("->>", return_type=Text())(literal_column(str(place)))
        if isinstance(kind, UtcDateTime):
            return cast(text + literal_column("'+00'"), kind)
        return text if isinstance(kind, (Text, EnumText)) else cast(text, kind)


class Ready:
    """A statement that is compiled once for each dialect; make it where the module is loaded."""

    def __init__(self, make: Callable[[Given], Executable]) -> None:
        """Prepare what *make* gives; its `bindparam`s are given with each run."""
        self._make = make
        self._made: dict[str, _Compiled] = {}

    def run(self, wire: Wire, **given: Any) -> Sequence[Any]:
        """Run it; its rows as the driver has them."""
        made = self._made.get(wire.dialect.name) or self.compiled(wire.dialect)
        return wire.run(made.sql, made.parameters(given))

    def compiled(self, dialect: Dialect) -> "_Compiled":
        """It, as one dialect has it; made once."""
        if dialect.name not in self._made:
            self._made[dialect.name] = _Compiled(self._statement(dialect), dialect)
        return self._made[dialect.name]

    def _statement(self, dialect: Dialect) -> Executable:
        return self._make(Given(dialect))


class Many(Ready):
    """An INSERT or UPDATE of many rows."""

    def __init__(
        self,
        columns: Sequence[ColumnElement[Any]],
        make: Callable[[Any, Any], Insert | Update],
    ) -> None:
        """Prepare what *make* gives for the source of rows, and one of them: values by the names of *columns*, in whose order rows are given."""

        def with_rows(given: Given) -> Executable:
            return make(*given.row(*columns))

        super().__init__(with_rows)

    def write(self, wire: Wire, rows: str, **given: Any) -> None:
        """Run it for *rows*, as `pack` made them; several statements may read the same."""
        if rows != _NONE:
            self.run(wire, rows=rows, **given)


class Whole(Ready):
    """A SELECT of many rows: each is a list; times and days are texts (`moment`), JSON is read."""

    def read(self, wire: Wire, **given: Any) -> list[list[Any]]:
        """Run it."""
        found: list[list[Any]] = json.loads(self.run(wire, **given)[0][0])
        return found

    def _statement(self, dialect: Dialect) -> Executable:
        found = super()._statement(dialect)
        assert isinstance(found, Select)  # noqa: S101 - what it is made for
        rows = found.subquery("found")
        if dialect.name == "sqlite":
            cells = [func.json(one) if isinstance(one.type, Document) else one for one in rows.c]
            return select(func.json_group_array(func.json_array(*cells)))
        return select(func.coalesce(cast(func.json_agg(func.json_build_array(*rows.c)), Text), "[]"))


@lru_cache(maxsize=64)  # the time of a slice comes once per letter
def stamp(at: dt.datetime) -> str:
    """A time as `pack` writes it: UTC, in SQLAlchemy's spelling for SQLite."""
    if at.tzinfo is None:
        raise ValueError("a naive time reached the database")
    if at.tzinfo is not dt.UTC:
        at = at.astimezone(dt.UTC)
    return at.isoformat(" ", "microseconds")[:26]


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=stamp).encode
_NONE = "[]"


def pack(rows: Sequence[Sequence[Any]]) -> str:
    """Rows for `Many`: values in the order of its columns; times are aware, or as `stamp` has them."""
    return _encode(rows)


def moment(text: str | None) -> dt.datetime | None:
    """A time that `Whole` has read; aware."""
    if text is None:
        return None
    found = dt.datetime.fromisoformat(text)
    return found.replace(tzinfo=dt.UTC) if found.tzinfo is None else found.astimezone(dt.UTC)


def flag(name: str) -> ColumnElement[bool]:
    """For the columns of `Many`: a value that is none of the table's."""
    return literal_column(name, Boolean)


class _Compiled:
    """A statement as one dialect has it."""

    def __init__(self, statement: Executable, dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)  # type: ignore[attr-defined]  # every Executable here is a ClauseElement
        self.sql = str(compiled)
        self._positional = bool(compiled.positional)
        self._plan: list[tuple[str, Any, Callable[[Any], Any] | None]] = []
        for name in compiled.positiontup if self._positional else compiled.binds:
            bind = compiled.binds[name]
            convert = bind.type.dialect_impl(dialect).bind_processor(dialect)
            fixed = None if bind.required else bind.effective_value
            self._plan.append((name, convert(fixed) if convert else fixed, convert))

    def parameters(self, given: dict[str, Any]) -> Any:
        """*given*, and what the statement says itself, as the driver takes them."""
        made = []
        for name, fixed, convert in self._plan:
            if name not in given:
                made.append((name, fixed))
            else:
                value = given[name]
                made.append((name, convert(value) if convert else value))
        return tuple(value for _, value in made) if self._positional else dict(made)
