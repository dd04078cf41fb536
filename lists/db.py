"""The declarative base and the column types of every table. Opens nothing."""

import datetime as dt
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import JSON, DateTime, Dialect, MetaData, String, TypeDecorator
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeEngine

E = TypeVar("E", bound=StrEnum)


class UtcDateTime(TypeDecorator[dt.datetime]):
    """An aware time, stored as UTC and handed back aware. SQLite would hand back a naive one; a naive one is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """To the database: UTC; SQLite has no zones, so it gets a naive one."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive time reached the database")
        value = value.astimezone(dt.UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:  # noqa: ARG002
        """From the database: aware UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


class Document(TypeDecorator[Any]):
    """JSON: text on SQLite, JSONB on PostgreSQL, whose dialect is loaded only there (it costs every command a tenth of a second)."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The type that this database stores it in."""
        if dialect.name == "postgresql":
            from sqlalchemy.dialects.postgresql import JSONB

            return dialect.type_descriptor(JSONB())
        return dialect.type_descriptor(JSON())


#: JSON on SQLite, JSONB on PostgreSQL.
Json = Document()


class EnumText(TypeDecorator[E]):
    """A StrEnum as plain text, so that a new value needs no migration; handed back as the enum's member."""

    impl = String(24)
    cache_ok = True

    def __init__(self, kind: type[E]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: E | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """To the database: the value; a word that is no member is refused here, not found later."""
        return None if value is None else self.kind(value).value

    def process_result_value(self, value: str | None, dialect: Dialect) -> E | None:  # noqa: ARG002
        """From the database: the member."""
        return None if value is None else self.kind(value)


class Base(DeclarativeBase):
    """Base of all tables; constraints have names, so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dt.datetime: UtcDateTime(), dict[str, Any]: Json, list[Any]: Json}  # noqa: RUF012 - SQLAlchemy's own form
