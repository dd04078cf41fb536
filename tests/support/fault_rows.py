"""The fault matrix: what a relay, a network, a disk or a clock may do to a circular, and what must come of it.

Three letters leave for four mailboxes: `one` alone, `two` with `cc` on one letter, and `three`, a bystander. A row says what is done
to them and what must be true. Keys, all but `what` and one of `faults` and `trouble` optional:

    what      the fault, in words
    faults    rules of the rehearsal server (`mailer/rehearsal/faults.py`), TOML as data
    trouble   a function of `tests/support/troubles.py`: what befalls our own machine
    relay     options of the rehearsal server
    ours      settings of the relay in our home
    soon      mailbox -> state once nothing more is due at that moment (default: as `end`, or kept back as queued)
    end       mailbox -> state after all retries, in simulated time (default: accepted)
    tries     mailbox -> how many tries it counts in the end (default: not looked at)
    held      words that say why everything waits for a person, who then sends again; None: nothing is held
    copies    mailbox -> copies that the relay has (default: 1 where accepted, 0 elsewhere; a doubt must say which)
    says      words that the report must have while things stand as in `soon`
    ends      words that the report must have in the end
    both      run with and without PIPELINING on offer (default: where a rule speaks of MAIL or anything later)
"""

from tests.support.faults.connecting import CONNECTING
from tests.support.faults.content import CONTENT
from tests.support.faults.envelope import ENVELOPE
from tests.support.faults.words import NO_TRY, Row

__all__ = ["CONNECTING", "CONTENT", "ENVELOPE", "HOME", "ROWS", "Row"]

#: Our own machine: the rows, the journal, the clock.
HOME: list[Row] = [
    {"what": "the database is locked for a moment", "trouble": "locked_for_a_moment", "tries": NO_TRY},
    {"what": "the database is locked for longer than we wait", "trouble": "locked_for_long", "tries": NO_TRY},
    {"what": "the disk is full for the rows", "trouble": "no_room_for_rows", "tries": NO_TRY},
    {"what": "the disk is full for everything, in the middle of a journal's line", "trouble": "no_room_at_all", "tries": NO_TRY},
    {"what": "the journal can't be written when content is to start", "trouble": "no_room_for_the_journal", "tries": NO_TRY},
    {"what": "the journal can't be written when the answer comes", "trouble": "no_room_for_the_answer", "tries": NO_TRY},
    {"what": "the journal can't be made", "trouble": "no_journal_folder", "tries": NO_TRY},
    {"what": "the machine sleeps ten hours before the content", "trouble": "asleep_before_content", "tries": NO_TRY},
    {"what": "the machine sleeps ten hours before the answer", "trouble": "asleep_before_the_answer", "tries": NO_TRY},
    {"what": "the wall clock is set a day ahead before the content", "trouble": "a_day_ahead", "tries": NO_TRY},
    {"what": "the wall clock is set a day back before the content", "trouble": "a_day_back", "tries": NO_TRY},
    {"what": "the program is told to stop in mid-send, and started again", "trouble": "stopped", "tries": NO_TRY},
    {"what": "the circular is paused in mid-send, and resumed", "trouble": "paused", "tries": NO_TRY},
]  # fmt: skip

ROWS = [*CONNECTING, *ENVELOPE, *CONTENT, *HOME]
