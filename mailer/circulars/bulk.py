"""Inserting many rows at once at nearly the speed of the driver.

SQLAlchemy's executemany builds and converts a dictionary of parameters per row, which costs more than the database does. Here
the statement is compiled once for the dialect at hand, and the caller hands over rows whose values the driver takes as they are;
`processor` gives the dialect's own conversion for the few columns that need one.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection


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
    convert = table.c[column].type.dialect_impl(connection.dialect).bind_processor(connection.dialect)
    return convert or (lambda value: value)
