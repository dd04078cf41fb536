"""The crash harness where rows and tables are made: strikes in an approval and in `db upgrade`; counted from the rows."""

import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.support import office
from tests.support.crash import REFERENCE, Count, rows, start
from tests.support.rig import Home


def approving(folder: Path, chance: random.Random, strikes: int, letters: int = 1200) -> Count:
    """Strike while an approval freezes its rows in batches, three times each; approve again; each organization has one letter."""
    count = Count("kill -9 in an approval")
    prepared = folder / "drafted"
    office.make(prepared, letters, approved=False)
    whole = Home(folder / "whole")
    shutil.copytree(prepared, whole.folder)
    begun = time.monotonic()
    assert start(whole, "circular", "approve", REFERENCE).end() == 0
    seconds = time.monotonic() - begun
    digest = rows(whole, "SELECT text_digest, mailbox_digest FROM circular")
    while count.strikes < strikes:
        home = Home(folder / f"approving{count.strikes}")
        shutil.copytree(prepared, home.folder)
        for _ in range(min(3, strikes - count.strikes)):
            running = start(home, "circular", "approve", REFERENCE)
            time.sleep(seconds * chance.uniform(0.1, 1.0))
            running.strike(signal.SIGKILL)
            running.end()
            count.strikes, count.starts = count.strikes + 1, count.starts + 1
            if rows(home, "SELECT state FROM circular")[0][0] == "approved":
                break
        last = start(home, "circular", "approve", REFERENCE)
        code, count.starts = last.end(), count.starts + 1
        made = Counter(number for (number,) in rows(home, "SELECT organization_id FROM letter"))
        written = [address for (address,) in rows(home, "SELECT address FROM recipient")]
        count.letters += letters
        count.lost += letters - len(set(written))
        count.twice += sum(number > 1 for number in made.values()) + len(written) - len(set(written))
        if rows(home, "SELECT state FROM circular")[0][0] != "approved":
            count.wrong.append(f"it ends with {code} and is not approved: {last.said[-2000:]}")
        if rows(home, "SELECT text_digest, mailbox_digest FROM circular") != digest:
            count.wrong.append("another text was approved")
        home.run("register", "verify")
    return count


def _schema(home: Home) -> list[tuple[Any, ...]]:
    return sorted(rows(home, "SELECT type, name, tbl_name, sql FROM sqlite_master"))


def migrating(folder: Path, chance: random.Random, strikes: int) -> Count:
    """Strike while the tables are made; run it again; the schema is whole."""
    count = Count("kill -9 in `db upgrade`")
    whole = Home(folder / "migrated")
    whole.run("init", str(whole.folder))

    def without_tables(name: str) -> Home:
        home = Home(folder / name)
        shutil.copytree(whole.folder, home.folder)
        for file in home.folder.glob("chancery.sqlite3*"):
            file.unlink()
        return home

    begun = time.monotonic()
    assert start(without_tables("measured"), "db", "upgrade").end() == 0
    seconds = time.monotonic() - begun
    for number in range(strikes):
        home = without_tables(f"migrating{number}")
        running = start(home, "db", "upgrade")
        time.sleep(seconds * chance.uniform(0.1, 1.0))
        running.strike(signal.SIGKILL)
        running.end()
        last = start(home, "db", "upgrade")
        code = last.end()
        count.strikes, count.starts = count.strikes + 1, count.starts + 2
        if code or _schema(home) != _schema(whole):
            count.wrong.append(f"it ends with {code}, or the tables are not whole: {last.said[-2000:]}")
        home.run("db", "check")
    return count
