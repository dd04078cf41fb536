"""How large the flight journal grows over a real sending of several batches, watched from outside."""

from itertools import pairwise
from pathlib import Path

from tests.support import crash, office
from tests.support.rig import relay_process, taken

LETTERS, BATCHES = 2500, 5
COMPACT_AT = 50_000


def test_the_journal_stays_small_however_many_letters_leave(tmp_path: Path) -> None:
    """Of 2,500 letters in five batches, four of which leave at a time, it never holds more than its threshold and what one turn adds."""
    home = office.make(tmp_path / "home", LETTERS)
    home.variables |= {crash.COMPACT_AT: str(COMPACT_AT), "CHANCERY_DELIVERY__SLICE": "20"}
    sizes: list[int] = []
    files = set[int]()
    with relay_process(tmp_path, "relay", "", "--end-ms", "5", "--no-hash") as relay:
        home.use(relay)
        running = crash.start(home, "circular", "send", crash.REFERENCE, "--expect", str(LETTERS))
        while not running.ended:
            for path in (home.folder / "journal").glob("*.flight"):
                try:
                    found = path.stat()
                except FileNotFoundError:
                    continue  # its process has ended since
                sizes.append(found.st_size)
                files.add(found.st_ino)
            running.process.join(0.002)
        assert running.end() == 0, running.said
        assert sorted(taken(relay).values()) == [1] * LETTERS
    assert crash.rows(home, "SELECT count(*) FROM batch") == [(BATCHES,)]
    # without being compacted it reached 700,000 octets
    assert max(sizes) < 2 * COMPACT_AT
    assert sum(later < before for before, later in pairwise(sizes)) >= 5
    assert len(files) > 1
    assert list((home.folder / "journal").iterdir()) == []
    home.run("register", "verify")
