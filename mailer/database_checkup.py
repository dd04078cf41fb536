"""What `doctor` says of a PostgreSQL server: its version, whether a commit outlives a power cut there, and its clock."""

import datetime as dt
from collections.abc import AsyncIterator

from sqlalchemy import text

from mailer.checkup import Light, Line
from mailer.clock import Clock
from mailer.database import Database

#: The oldest version that is tested (its manual calls it 13; `server_version_num` counts so).
_OLDEST = 130000
#: A difference of clocks that NTP would not leave.
_ODD = dt.timedelta(seconds=2)
_NAME = "database server"
_WHERE = "ask its administrator (postgresql.conf)"
_LOOK = text(
    """
    SELECT current_setting('server_version') AS version, current_setting('server_version_num')::integer AS number,
           current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
           current_setting('synchronous_commit') AS synchronous_commit, current_setting('server_encoding') AS encoding,
           pg_is_in_recovery() AS standby, clock_timestamp() AS now
    """
)


async def server(opened: Database, clock: Clock, lease: dt.timedelta) -> AsyncIterator[Line]:
    """A line that says what it is, and one for each thing that is not as the promises need it.

    Args:
        opened: the database; it is PostgreSQL.
        clock: ours.
        lease: `delivery.lease`: processes whose clocks differ by half of it may take each other for dead.

    Raises:
        DatabaseError: it can't be read.
    """
    async with opened.read() as session:
        await session.execute(text("SELECT 1"))  # connected: what comes now takes no longer than an answer
        before = clock.now()
        seen = (await session.execute(_LOOK)).one()
        after = clock.now()
    found = []
    if seen.number < _OLDEST:
        found.append(Line(_NAME, Light.RED, "it is older than PostgreSQL 13", "have it upgraded"))
    if seen.standby:
        found.append(
            Line(_NAME, Light.RED, "it is a standby, which can only be read", "name the primary in database.url")
        )
    if seen.fsync != "on":
        what = "fsync is off: a power cut there loses what was sent, and letters would go twice"
        found.append(Line(_NAME, Light.RED, what, f"have it set to on; {_WHERE}"))
    if seen.full_page_writes != "on":
        what = "full_page_writes is off: a power cut there may damage the database"
        found.append(Line(_NAME, Light.RED, what, f"have it set to on; {_WHERE}"))
    if seen.synchronous_commit not in {"on", "remote_apply"}:
        what = f"synchronous_commit is {seen.synchronous_commit} although we set it, so something between us and the server forgets that"
        mend = "have a connection pooler keep sessions apart (pgbouncer: pool_mode = session)"
        found.append(Line(_NAME, Light.RED, what, mend))
    if seen.encoding != "UTF8":
        what = f"its encoding is {seen.encoding}, which can't hold every name"
        found.append(Line(_NAME, Light.RED, what, "have it made again (createdb -E UTF8), and restore a backup to it"))
    apart = max(seen.now - after, before - seen.now, dt.timedelta())
    if apart > _ODD:
        light = Light.RED if apart > lease / 2 else Light.YELLOW
        what = f"its clock and ours differ by {apart.total_seconds():.0f} s"
        found.append(Line(_NAME, light, what, "have both set by NTP (timedatectl)"))
    version = f"PostgreSQL {str(seen.version).split()[0]}"
    if found:
        yield Line(_NAME, Light.GREEN, version)
    else:
        yield Line(_NAME, Light.GREEN, f"{version}; what is committed is on its disk; its clock agrees with ours")
    for line in found:
        yield line
