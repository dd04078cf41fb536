"""The letter's state and the recipient's moves."""

import itertools

import pytest

from mailer.circulars.states import LetterState, RecipientState
from mailer.delivery.states import check_recipient_move, letter_state, recipient_moves
from mailer.errors import NotAllowedNow

R = RecipientState
EVERY = sorted(R)
SETS = [chosen for size in range(1, len(EVERY) + 1) for chosen in itertools.combinations(EVERY, size)]


def expected(chosen: frozenset[R]) -> LetterState:
    """DESIGN section 5 word for word, written the other way round: by what must be absent."""
    order = [R.SENDING, R.UNCERTAIN, R.DEFERRED, R.QUEUED]
    present = [state for state in order if state in chosen]
    if present:
        return LetterState(present[0].value)
    if chosen == {R.ACCEPTED}:
        return LetterState.ACCEPTED
    if R.ACCEPTED in chosen:
        return LetterState.PARTLY
    return LetterState(next(s for s in (R.REFUSED, R.EXPIRED, R.WITHHELD, R.CANCELLED) if s in chosen).value)


def test_every_set_of_recipient_states_gives_the_state_of_the_plan():
    """Each of the 511 sets of recipient states gives the letter state that the first matching rule names."""
    assert len(SETS) == 2 ** len(EVERY) - 1
    for chosen in SETS:
        assert letter_state(chosen) is expected(frozenset(chosen)), chosen


def test_order_and_repeats_do_not_matter():
    """A letter's state is the same in whatever order and number its recipients are read."""
    for chosen in itertools.product(EVERY, repeat=3):
        assert letter_state(chosen) is letter_state(reversed(chosen + chosen))


def test_a_letter_to_nobody_is_withheld():
    """A letter without recipients is not counted as handed over."""
    assert letter_state(()) is LetterState.WITHHELD


@pytest.mark.parametrize("now", EVERY)
@pytest.mark.parametrize("to", EVERY)
def test_a_move_is_allowed_or_refused_with_its_name(now, to):
    """Each pair of states is either in the table or refused with the address and both states in words."""
    if to in recipient_moves(now):
        check_recipient_move(now, to, name="a@b.example")
        return
    with pytest.raises(NotAllowedNow) as refused:
        check_recipient_move(now, to, name="a@b.example")
    assert "a@b.example" in str(refused.value)
    assert now.value in str(refused.value)
    assert to.value in str(refused.value)


def test_what_the_relay_has_never_moves():
    """Nothing leads out of accepted or cancelled, and nothing but a claim leads to sending."""
    assert recipient_moves(R.ACCEPTED) == frozenset()
    assert recipient_moves(R.CANCELLED) == frozenset()
    assert {now for now in R if R.SENDING in recipient_moves(now)} == {R.QUEUED, R.DEFERRED}


def test_only_an_attempt_or_a_settled_doubt_leads_to_accepted():
    """A recipient becomes accepted only from sending or from uncertain."""
    assert {now for now in R if R.ACCEPTED in recipient_moves(now)} == {R.SENDING, R.UNCERTAIN}


def test_no_state_leads_to_itself():
    """To stay is not a move."""
    assert not [now for now in R if now in recipient_moves(now)]
