"""The report against the truth: what the relay did to each address, derived from its own file and its script."""

import signal
from pathlib import Path

from tests.support import office
from tests.support.rig import Home, relay_process, wait_for
from tests.support.truth import Truth, letters_of, truth

REFERENCE = "TEST/2006/001"
ORGANIZATIONS = 60

SETTINGS = """
[relays.main]
host = "127.0.0.1"
port = 9
tls = "none"
connections = 10

[relays.main.timeouts]
command = 2
final = 1

[delivery]
first_retry = 2
"""

#: every rule is different from every other: the record names a rule by its place
SCRIPT = """
[[fault]]                                   # --- the relay as a whole, once or twice
at = "connect"
connection = 2
reply = "421 4.3.2 Too busy"
[[fault]]
at = "mail"
letter = 3
reply = "421 4.3.2 Closing"
[[fault]]
at = "mail"
letter = 9
reply = "452 4.3.1 No room"
[[fault]]
at = "mail"
letter = 12
do = "drop"
[[fault]]                                   # --- this letter is too large, whichever it is
at = "mail"
letter = 15
reply = "552 5.3.4 Too large for us"
[[fault]]                                   # --- addresses
at = "rcpt"
to = "dead*"
reply = "550 5.1.1 No such mailbox"
[[fault]]
at = "rcpt"
to = "policy*"
reply = "550 5.7.1 Not from you"
[[fault]]
at = "rcpt"
to = "full*"
reply = "452 4.2.2 Mailbox full"
[[fault]]
at = "rcpt"
to = "grey*"
reply = "451 4.7.1 Greylisted"
for = "3s"
[[fault]]
at = "rcpt"
to = "slow*"
reply = "421 4.7.0 Slower, please"
times = 1
[[fault]]
at = "rcpt"
to = "cut*"
do = "drop"
times = 1
[[fault]]
at = "rcpt"
to = "mute*"
do = "stall"
times = 1
[[fault]]                                   # --- leave to send
at = "data"
to = "notnow*"
reply = "451 4.3.0 Not now"
times = 1
[[fault]]
at = "data"
to = "noleave*"
reply = "554 5.6.0 No leave"
[[fault]]
at = "data"
to = "gone*"
do = "reset"
times = 1
[[fault]]                                   # --- the content
at = "content"
to = "torn*"
do = "drop"
[[fault]]
at = "content"
to = "reset*"
do = "reset"
after_bytes = 500
[[fault]]                                   # --- judged, and not taken
at = "dot"
to = "spam*"
reply = "550 5.7.1 Looks like spam"
[[fault]]
at = "dot"
to = "heavy*"
reply = "552 5.3.4 Too large after all"
[[fault]]
at = "dot"
to = "again*"
reply = "451 4.3.0 Try again"
[[fault]]
at = "dot"
to = "crowded*"
reply = "452 4.3.1 Disk full"
times = 1
[[fault]]
at = "dot"
to = "lost*"
do = "drop"
[[fault]]
at = "dot"
to = "silent*"
do = "stall"
[[fault]]                                   # --- taken, and said strangely or not at all
at = "reply"
to = "dropped*"
do = "drop"
[[fault]]
at = "reply"
to = "unheard*"
do = "stall"
[[fault]]
at = "reply"
to = "garbled*"
do = "garbage"
[[fault]]
at = "reply"
to = "halved*"
do = "half"
[[fault]]
at = "reply"
to = "drip*"
do = "split"
[[fault]]
at = "reply"
to = "wordy*"
do = "multiline"
lines = 40
"""

#: what befalls the second mailbox of a letter, and what befalls its only one
_BESIDE = (
    *("dead", "policy", "full", "grey", "slow", "cut", "mute", "notnow", "noleave", "gone", "torn", "spam", "again"),
    *("lost", "dropped", "garbled"),
)
_ALONE = (
    *("dead", "policy", "full", "grey", "slow", "mute", "notnow", "noleave", "gone", "torn", "reset", "spam", "heavy"),
    *("again", "crowded", "lost", "silent", "dropped", "unheard", "garbled", "halved", "drip", "wordy"),
)
_PAIRS = (("full", "dead"), ("grey", "dead"), ("grey", "full"), ("grey", "dropped"))


def _mailboxes() -> list[tuple[str, ...]]:
    """The mailboxes of each organization: what happens to an address is its name."""
    sheet: list[tuple[str, ...]] = [("good", kind) for kind in _BESIDE]
    sheet += [(kind,) for kind in _ALONE]
    sheet += _PAIRS
    sheet += [("good",)] * (ORGANIZATIONS - len(sheet))
    return [
        tuple(f"{kind}{number:02}-{place}@org{number:02}.example" for place, kind in enumerate(kinds))
        for number, kinds in enumerate(sheet, start=1)
    ]


def _compare(home: Home, lines: list, *, given_up: bool = False) -> Truth:
    """Hold the report against the truth, address by address and letter by letter; the truth."""
    report = home.report(REFERENCE)
    of_letters = letters_of(report)
    assert sorted(map(sorted, of_letters.values())) == sorted(map(sorted, _mailboxes()))
    found = truth(lines, SCRIPT, of_letters, given_up=given_up)
    told = {one["address"]: one["state"] for letter in report["letters"] for one in letter["recipients"]}
    assert told == found.states
    counted = {state: count for state, count in report["counts"].items() if state != "letters" and count}
    assert counted == dict(found.letters(of_letters))
    assert report["counts"]["letters"] == len(of_letters) == ORGANIZATIONS
    assert found.sins == []
    assert {address for address, count in found.taken.items() if count > 1} == set()
    for address, state in found.states.items():
        assert (state, found.taken[address]) in {
            ("accepted", 1),
            *(("uncertain", count) for count in (0, 1)),
            *((state, 0) for state in ("deferred", "refused", "expired")),
        }, address
    return found


def test_the_report_is_the_truth(tmp_path: Path) -> None:
    """Through thirty kinds of faults each address is told as what the relay's own file makes it, none twice, none lost."""
    home = office.make(tmp_path / "home", ORGANIZATIONS, addresses=_mailboxes(), settings=SETTINGS)
    grey = {address for each in _mailboxes() for address in each if address.startswith("grey")}
    with relay_process(tmp_path, "relay", SCRIPT, "--record-all") as relay:
        home.use(relay)
        letters = letters_of(home.report(REFERENCE))
        with home.start("circular", "send", REFERENCE, "--expect", str(ORGANIZATIONS)) as sender:
            looked_at = 0

            def all_were_met() -> bool:
                nonlocal looked_at
                size = relay.record.stat().st_size if relay.record.exists() else 0
                if size == looked_at:  # deriving it all costs more than sending it
                    return sender.poll() is not None
                looked_at = size
                states = truth(relay.lines(), SCRIPT, letters).states
                met = "queued" not in states.values() and all(states[address] != "deferred" for address in grey)
                return met or sender.poll() is not None

            wait_for(all_were_met, "a word about every address")
            sender.send_signal(signal.SIGTERM)
            printed = sender.communicate()
        assert sender.returncode == 130, printed
        first = _compare(home, relay.lines())
        assert set(first.states.values()) == {"accepted", "deferred", "refused", "uncertain"}

        hasty = ("FIRST_RETRY", "LONGEST_RETRY", "GIVE_UP_AFTER")
        home.variables |= {f"CHANCERY_DELIVERY__{name}": "1" for name in hasty}
        done = home.run("circular", "send", REFERENCE, expect=1)
        last = _compare(home, relay.lines(), given_up=True)
    assert {address for address, state in first.states.items() if state == "deferred"} == {
        address for address, state in last.states.items() if state == "expired"
    }
    assert f"{sum(state == 'uncertain' for state in last.states.values())} in doubt" in done.stdout
    home.run("register", "verify")
