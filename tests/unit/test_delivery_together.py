import datetime as dt

import pytest

from lists.kinds import Form
from mailer.circulars.compose import compose
from mailer.circulars.frozen import COMPOSER, Frozen, boundary
from mailer.delivery.claims import Claim, Target
from mailer.delivery.together import Together
from mailer.errors import LetterError
from tests.support import letters_kit

NOW = dt.datetime(2006, 7, 7, 10, tzinfo=dt.UTC)


def _frozen() -> Frozen:
    document = {
        "composer": COMPOSER,
        "reference": "AUS/2006/011",
        "title": "Meeting",
        "sender": {"key": "s", "name": "Secretariat", "address": "s@secretariat.example", "reply_to": None},
        "texts": {"letter/en": letters_kit.compiled("To {{ organization }} of {{ state }}.").as_json()},
        "enclosures": {"en": {"boundary": boundary("AUS/2006/011", "en"), "files": []}},
    }
    return Frozen(document, {})


def _claims(count: int, broken: int | None = None, relay: str = "main") -> list[Claim]:
    return [
        Claim(
            attempt=f"{relay} {number}",
            letter=number,
            token=f"{number:026}",
            form=Form.LETTER,
            language="en",
            fields={} if number == broken else {"organization": f"Mission {number}", "state": "Norland"},
            dated=NOW,
            to=(("", f"m{number}@norland.example"),),
            cc=(),
            targets=(Target(number, f"m{number}@norland.example", 0, NOW),),
            fruitless=0,
            relay=relay,
        )
        for number in range(count)
    ]


def test_letters_composed_together_are_those_composed_one_by_one():
    """In whatever order they are asked for, announced or not, and while one can't be made: each claim gets its own letter, or its own error."""
    made, some = _frozen(), _claims(90, broken=7)
    together = Together(made)
    together.announce(some[:40])
    together.announce(some[40:70])
    for claim in (*some[3:20], *some[60:90], *some[20:60], *some[:3]):
        if claim is some[7]:
            with pytest.raises(LetterError, match="organization"):
                together.take(claim)
        else:
            assert together.take(claim) == compose(made, claim.row)


def test_what_is_composed_beforehand_is_bounded_and_let_go():
    """However slow one relay is, only a few letters wait to be taken, and none stays that was taken or forgotten."""
    together, quick, slow = Together(_frozen()), _claims(200), _claims(200, relay="slow")
    together.announce([claim for pair in zip(quick, slow, strict=True) for claim in pair])
    for number, claim in enumerate(quick):
        together.take(claim)
        if number % 10 == 0:
            together.take(slow[number // 10])
        assert len(together._made) < 64
    for claim in slow[20:]:
        together.forget(claim)
    assert not together._made
    assert not any(together._announced.values())
