"""Approves circular 1 of a home by the product's own verb, in a process of its own, and prints what its phases cost, as JSON.

Until the first letter is written: resolved, composed, checked, planned. From there on: rows written, read back, digests compared.
"""

import asyncio
import json
import resource
import sys
import time
from pathlib import Path

from mailer.app import open_app
from mailer.circulars import service
from mailer.settings.loader import load


def _now() -> tuple[float, float, float]:
    """Seconds on the wall, seconds of CPU, peak memory in MB."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


async def approve(home: Path) -> dict[str, list[float]]:
    """Wall, CPU and peak memory of the check and of the writing."""
    marks = [_now()]

    def progress(done: int, _total: int) -> None:
        if not done:
            marks.append(_now())

    async with open_app(home, load(home).settings, by="bert") as app:
        done = await service.approve(app.desk, 1, by="bert", progress=progress)
    assert not done.stopped, done.stopped
    marks.append(_now())
    first, second, third = marks
    return {
        "checked": [second[0] - first[0], second[1] - first[1], second[2]],
        "written": [third[0] - second[0], third[1] - second[1], third[2]],
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(approve(Path(sys.argv[1])))))  # noqa: T201 - what it is for
