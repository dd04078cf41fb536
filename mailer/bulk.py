"""Writing many new rows at once at the speed of the driver.

SQLAlchemy's executemany builds and converts a dictionary of parameters per row, which costs more than the database does.
`insert_rows` hands rows to the driver as they are; `processor` gives the dialect's conversion for the few columns that need one.
Rows that many transactions write and change go by `statements`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Dialect, Table
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine


async def insert_rows(
    connection: AsyncConnection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Insert *rows*, whose values stand in the order of *columns* and are as the driver takes them.

    Columns that are not named get no value, not even their Python default.
    """
    sql, order = _insert_of(connection.dialect, table, tuple(columns))
    if order is None:
        parameters: list[Any] = [dict(zip(columns, row, strict=True)) for row in rows]
    elif list(order) == list(columns):
        parameters = rows if isinstance(rows, list) else [tuple(row) for row in rows]
    else:
        places = [list(columns).index(name) for name in order]
        parameters = [tuple(row[place] for place in places) for row in rows]
    if parameters:
        await connection.exec_driver_sql(sql, parameters)


_INSERTS: dict[tuple[str, str, tuple[str, ...]], tuple[str, Sequence[str] | None]] = {}


def _insert_of(dialect: Dialect, table: Table, columns: tuple[str, ...]) -> tuple[str, Sequence[str] | None]:
    """The insert as the dialect has it, compiled once; and the order of its values, where they have one."""
    key = (dialect.name, table.name, columns)
    if key not in _INSERTS:
        compiled = table.insert().compile(dialect=dialect, column_keys=list(columns))
        _INSERTS[key] = (str(compiled), compiled.positiontup if compiled.positional else None)
    return _INSERTS[key]


def processor(connection: AsyncConnection, table: Table, column: str) -> Callable[[Any], Any]:
    """How the dialect turns a value of *column* into what the driver takes."""
    return _conversion(table.c[column].type, connection.dialect) or (lambda value: value)


def _conversion(kind: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    return kind.dialect_impl(dialect).bind_processor(dialect)
