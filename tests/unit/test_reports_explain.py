"""What happened in plain words, and the next step."""

import datetime as dt

import pytest

from mailer.circulars.states import CircularState, LetterState, RecipientState
from mailer.reports.explain import (
    CIRCULAR_WORDS,
    LETTER_WORDS,
    RECIPIENT_WORDS,
    Step,
    audience_words,
    explain,
)
from mailer.reports.formats import safe_cell

R = RecipientState


@pytest.mark.parametrize(
    ("state", "code", "enhanced", "said", "step"),
    [
        (R.REFUSED, 550, "5.1.1", "there is no such mailbox", Step.ADDRESS),
        (R.REFUSED, 550, "5.1.10", "takes no mail at all", Step.ADDRESS),
        (R.REFUSED, 553, None, "not well formed", Step.ADDRESS),
        (R.REFUSED, 550, None, "refused the address", Step.ADDRESS),
        (R.REFUSED, 550, "5.0.0", "refused the address", Step.ADDRESS),
        (R.REFUSED, 552, "5.2.2", "mailbox is full", Step.FULL),
        (R.REFUSED, 552, "5.3.4", "too large for the mail server", Step.SIZE),
        (R.REFUSED, 550, "5.7.1", "does not allow our letters", Step.SENDER),
        *((R.REFUSED, 550, f"5.7.{code}", "a rule of its own", Step.SENDER) for code in (25, 26, 27, 29, 515)),
        (R.REFUSED, 553, "5.6.7", "no address with such characters", Step.ADDRESS),
        (R.REFUSED, 599, None, "refused it", Step.ADDRESS),
        (R.EXPIRED, 452, "4.2.2", "given up after many tries: the mailbox is full", Step.FULL),
        (R.EXPIRED, 451, None, "another try later", Step.TELEPHONE),
        (R.EXPIRED, None, None, "given up after many tries", Step.TELEPHONE),
        (R.DEFERRED, 451, "4.7.1", "tried again by itself", Step.NONE),
        (R.DEFERRED, 499, None, "could not take it just then", Step.NONE),
        (R.UNCERTAIN, None, None, "the connection broke", Step.DOUBT),
        (R.WITHHELD, None, None, "not written to", Step.WITHHELD),
        (R.ACCEPTED, 250, "2.0.0", "our mail server has it", Step.NONE),
        (R.QUEUED, None, None, "not yet sent", Step.NONE),
        (R.SENDING, None, None, "on the way", Step.NONE),
        (R.CANCELLED, None, None, "cancelled", Step.NONE),
    ],
)
def test_each_outcome_has_its_reason_and_its_step(state, code, enhanced, said, step):
    """A reply is read by its enhanced code, else by its subject, else by its reply code; the state says what a person can do."""
    told = explain(state, code, enhanced)
    assert said in told.what
    assert told.step is step


def test_our_own_reason_is_told_where_no_relay_spoke():
    """A withheld or refused address without a reply says why in the account's words."""
    assert explain(R.WITHHELD, why="the contact has ended").what == "not written to: the contact has ended"
    assert "head too long" in explain(R.REFUSED, why="head too long").what
    assert explain(R.REFUSED, why="head too long").step is Step.TELEPHONE
    assert explain(R.REFUSED, why="no such characters (5.6.7)").step is Step.ADDRESS


def test_every_state_has_words():
    """No state is shown by its code name."""
    assert set(LETTER_WORDS) == set(LetterState)
    assert set(RECIPIENT_WORDS) == set(R)
    assert set(CIRCULAR_WORDS) == set(CircularState)


def test_next_steps_are_exact_commands():
    """The next step names the circular, the organization and the letter; a reference with a blank is quoted."""
    doubt = explain(R.UNCERTAIN).next_step(reference="A/1", organization_id=7, letter_id=9)
    assert "chancery circular resolve A/1 9 --sent" in doubt
    dead = explain(R.REFUSED, 550, "5.1.1").next_step(reference="A 1", organization_id=7, letter_id=9)
    assert "chancery letter show 'A 1' 7 --as eml" in dead
    assert explain(R.ACCEPTED).next_step(reference="A", organization_id=1, letter_id=1) == ""


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("states-parties@geneva", "States Parties (Geneva)"),
        ("states-not-parties@new-york", "States not Parties (New York)"),
        ("organizations", "Organizations"),
        ("list:recused", "List recused"),
        ("NOR", "NOR"),
    ],
)
def test_audiences_have_names(rule, words):
    """An audience's rule is told in words."""
    assert audience_words(rule) == words


@pytest.mark.parametrize(
    "text", ["=1+1", "+41 22", "-1", "@x", "\t=1", "\r=1", "\n=1", "  =1", "\uff1d1", "=cmd|' /C calc'!A0"]
)
def test_no_cell_is_a_formula(text):
    """Whatever a spreadsheet could take for a formula becomes a text."""
    assert safe_cell(text) == f"'{text}"


def test_plain_cells_stay_as_they_are():
    """Numbers, days, names and nothing are not touched."""
    assert safe_cell(-3) == -3
    assert safe_cell(None) == ""
    assert safe_cell(R.QUEUED) == "queued"
    assert safe_cell("Côte d'Ivoire") == "Côte d'Ivoire"
    assert safe_cell(dt.date(2006, 7, 7)) == "2006-07-07"
