"""What the doctor says of a PostgreSQL server: whether the promises can be kept on it."""

import datetime as dt

from sqlalchemy import event

from mailer import checkup, database_checkup
from mailer.checkup import Light
from mailer.clock import Clock, ManualClock, SystemClock
from mailer.database import Database
from mailer.settings import Database as Named
from mailer.settings import Settings
from tests.support.postgres import Server, pg_server

LEASE = dt.timedelta(seconds=120)


async def _told(opened: Database, clock: Clock | None = None) -> list[tuple[Light, str]]:
    lines = [line async for line in database_checkup.server(opened, clock or SystemClock(), LEASE)]
    assert {line.name for line in lines} == {"database server"}
    assert all(line.mend or line.light is Light.GREEN for line in lines)
    await opened.close()
    return [(line.light, line.what) for line in lines]


async def test_a_server_that_keeps_what_is_committed(tmp_path):
    """A server as Debian sets it up is one green line, after that of the schema; clocks that differ are told, by how much it matters."""
    with pg_server(durable=True) as server:
        name = await server.upgraded()
        settings = Settings(database=Named(url=server.url(name)))
        line = await checkup.database(tmp_path, settings)
        (green,) = [line async for line in checkup.server(tmp_path, settings, SystemClock())]
        assert (line.light, line.what) == (Light.GREEN, "schema 0001, can be written")
        assert green.light is Light.GREEN
        assert green.what.startswith("PostgreSQL ")
        assert green.what.endswith("; what is committed is on its disk; its clock agrees with ours")
        for seconds, light in ((40, Light.YELLOW), (110, Light.RED), (-110, Light.RED)):
            now = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
            told = await _told(Database(server.url(name)), ManualClock(now))
            assert [one for one, _ in told] == [Light.GREEN, light]
            assert told[1][1].startswith("its clock and ours differ by ")


async def test_a_server_that_may_forget(postgres: Server):
    """A server without fsync and full_page_writes, as the tests' own runs, is red for each, with the remedy."""
    name = postgres.new()
    told = await _told(Database(postgres.url(name)))
    assert [light for light, _ in told] == [Light.GREEN, Light.RED, Light.RED]
    assert told[1][1].startswith("fsync is off: a power cut there loses what was sent")
    assert told[2][1].startswith("full_page_writes is off")
    postgres.drop(name)


async def test_a_pooler_that_forgets_and_an_encoding_that_is_too_small(postgres: Server):
    """What we have set and is not so any more, and a database that can't hold every name, are red."""
    postgres.run("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C'")
    opened = Database(postgres.url("latin"))

    @event.listens_for(opened._reader.sync_engine, "checkout")
    def _forget(connection, _record, _proxy):
        cursor = connection.cursor()
        cursor.execute("SET synchronous_commit = off")
        cursor.close()
        connection.commit()

    told = [what for _, what in await _told(opened)]
    assert any(what.startswith("synchronous_commit is off although we set it") for what in told)
    assert "its encoding is LATIN1, which can't hold every name" in told
    postgres.drop("latin")
