"""Single facts of a home, by name."""

from sqlalchemy import String, Text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from lists.db import Base

#: Changes when a home is restored, so that journals of another time are not believed.
EPOCH = "epoch"
#: The home was restored from a backup of this day: which references were given since then is not known.
ASKS_REFERENCE = "asks-reference"
#: A restore has put its rows here, and the home's folder does not have its name yet.
RESTORING = "restoring"


class Fact(Base):
    """A single fact of the home."""

    __tablename__ = "fact"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


async def get(session: AsyncSession, name: str) -> str | None:
    """A fact; None: it is not there."""
    fact = await session.get(Fact, name)
    return fact.value if fact else None


async def put(session: AsyncSession, name: str, value: str) -> None:
    """Note a fact, in the caller's transaction."""
    await session.merge(Fact(name=name, value=value))


async def drop(session: AsyncSession, name: str) -> None:
    """Forget a fact, in the caller's transaction; one that is not there is forgotten."""
    if (fact := await session.get(Fact, name)) is not None:
        await session.delete(fact)


async def epoch(session: AsyncSession) -> str:
    """The home's epoch; one that was never restored is in its first."""
    return await get(session, EPOCH) or "1"
