"""Writing many rows at once at nearly the speed of the driver.

SQLAlchemy's executemany builds and converts a dictionary of parameters per row, which costs more than the database does. Here a
statement is compiled once per dialect, its values are converted column by column, and the rows go to the driver as they are.
`insert_rows` leaves even the conversion to its caller; `processor` gives the dialect's own for the few columns that need one.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Dialect, Table
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import Insert, Update
from sqlalchemy.types import TypeEngine


class Many:
    """An INSERT or UPDATE that is run for many rows; make it once, where the module is loaded."""

    def __init__(self, statement: Insert | Update, *names: str) -> None:
        """Prepare *statement* for rows whose values stand in the order of *names*.

        Args:
            statement: an insert into a table, or an update with `bindparam`s; other values in it are the same for all rows.
            names: of the columns that the insert gives, or of the update's parameters.
        """
        self._statement, self._names = statement, names
        self._made: dict[str, _Made] = {}

    async def run(self, connection: AsyncConnection, rows: Sequence[Sequence[Any]]) -> None:
        """Run it for *rows*, in the connection's transaction."""
        if not rows:
            return
        dialect = connection.dialect
        made = self._made.get(dialect.name)
        if made is None:
            made = self._made[dialect.name] = _Made(self._statement, self._names, dialect)
        await connection.exec_driver_sql(made.sql, made.parameters(rows))


class _Made:
    """The statement as one dialect has it."""

    def __init__(self, statement: Insert | Update, names: Sequence[str], dialect: Dialect) -> None:
        keys = list(names) if isinstance(statement, Insert) else None
        compiled = statement.compile(dialect=dialect, column_keys=keys)
        self.sql = str(compiled)
        order: Sequence[str] = (
            compiled.positiontup if compiled.positional else list(compiled.bind_names.values())
        ) or ()
        given = compiled.params
        self._positional = bool(compiled.positional)
        self._order = order
        #: per parameter: which value of a row it is, or the value that all rows share; and how the driver wants it
        self._plan: list[tuple[int | None, Any, Callable[[Any], Any] | None]] = []
        for name in order:
            convert = _conversion(compiled.binds[name].type, dialect)
            if name in names:
                self._plan.append((list(names).index(name), None, convert))
            else:
                value = given[name]
                self._plan.append((None, convert(value) if convert else value, None))

    def parameters(self, rows: Sequence[Sequence[Any]]) -> Any:
        """*rows* as the driver takes them."""
        columns = list(zip(*rows, strict=True))
        ready: list[Sequence[Any]] = []
        for place, value, convert in self._plan:
            if place is None:
                ready.append((value,) * len(rows))
            elif convert is None:
                ready.append(columns[place])
            else:
                ready.append(_converted(columns[place], convert))
        made = list(zip(*ready, strict=True))
        return made if self._positional else [dict(zip(self._order, row, strict=True)) for row in made]


def _converted(values: Sequence[Any], convert: Callable[[Any], Any]) -> list[Any]:
    """Each value as the driver takes it; a run of the same one (the time of a slice) is converted once."""
    made: list[Any] = []
    last: Any = _NOTHING
    for value in values:
        if value is not last:
            last, ready = value, convert(value)
        made.append(ready)
    return made


_NOTHING = object()


async def insert_rows(
    connection: AsyncConnection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Insert *rows*, whose values stand in the order of *columns* and are as the driver takes them.

    Columns that are not named get no value, not even their Python default.
    """
    compiled = table.insert().compile(dialect=connection.dialect, column_keys=list(columns))
    order = compiled.positiontup if compiled.positional else None
    if order is None:
        parameters: list[Any] = [dict(zip(columns, row, strict=True)) for row in rows]
    elif list(order) == list(columns):
        parameters = [tuple(row) for row in rows]
    else:
        places = [list(columns).index(name) for name in order]
        parameters = [tuple(row[place] for place in places) for row in rows]
    if parameters:
        await connection.exec_driver_sql(str(compiled), parameters)


def processor(connection: AsyncConnection, table: Table, column: str) -> Callable[[Any], Any]:
    """How the dialect turns a value of *column* into what the driver takes."""
    return _conversion(table.c[column].type, connection.dialect) or (lambda value: value)


def _conversion(kind: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    return kind.dialect_impl(dialect).bind_processor(dialect)
