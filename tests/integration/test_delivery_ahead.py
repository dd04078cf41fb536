"""Letters of a circular over one connection: envelopes go ahead in a whole sending, with claims, composing and journal."""

import asyncio
import datetime as dt
from pathlib import Path

from mailer.clock import ManualClock
from mailer.database import Database
from mailer.dispatch import sending
from mailer.rehearsal.faults import Faults
from mailer.rehearsal.server import Server
from mailer.settings import Relay, Tls
from mailer.transport.pool import SmtpTransport
from tests.support.approved import SETTINGS, addresses, office, states

SECOND = dt.timedelta(seconds=1)
HELD_BACK = (10, 17, 24, 31)


async def test_the_next_envelope_is_there_in_time(
    sqlite_database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """Whichever letter's last word the relay holds back, the envelope of the next has left with its end; all forty arrive once."""
    faults = Faults.from_rules([{"at": "dot", "nth": list(HELD_BACK), "do": "stall", "seconds": 1}])
    async with Server(faults=faults, clock=clock) as server:
        relay = Relay(host="127.0.0.1", port=server.port, tls=Tls.NONE, connections=1)
        chosen = SETTINGS.model_copy(update={"relays": {"main": relay}})
        app, circular = await office(sqlite_database, clock, tmp_path, addresses(40), chosen)
        async with sending(app, what="test") as made:
            await made.delivery.start(circular, by="anna")
            working = asyncio.create_task(made.work(until=lambda due: due is None or due > clock.now()))
            for nth in HELD_BACK:
                await server.reached("dot", nth)
                transport = made._lines["main"].transport
                assert isinstance(transport, SmtpTransport)
                (connection,) = transport._carrying.values()
                assert connection.ahead is not None, nth
                clock.advance(SECOND)
            await working
        assert sorted(each.accepted for each in server.taken) == sorted((one,) for (one,) in addresses(40))
    assert set((await states(sqlite_database, circular)).values()) == {"accepted"}
