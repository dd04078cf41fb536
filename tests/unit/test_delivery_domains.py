"""What a domain's answers make of its pace, and who shares tokens and places with whom."""

import datetime as dt
from collections import Counter
from functools import partial

from mailer.clock import ManualClock
from mailer.delivery.domains import Domains, domain_of
from mailer.delivery.fair import Shares, Turnstile
from mailer.delivery.routes import Road, order
from mailer.delivery.tokens import Buckets
from mailer.settings import Pace

MINUTE = dt.timedelta(minutes=1)


def _domains(clock: ManualClock, **settings: object) -> Domains:
    return Domains(clock, Pace.model_validate(settings), Buckets(clock))


def test_one_greylisted_letter_slows_nobody(clock: ManualClock) -> None:
    """Answers of 4.7.x between letters that pass, or to further tries of a letter, change nothing."""
    domains = _domains(clock)
    for _ in range(5):
        domains.slower("org.example", "451 4.7.1 greylisted")
        domains.slower("org.example", "451 4.7.1 greylisted")
        domains.slower("org.example", "451 4.7.1 greylisted", first=False)
        domains.went_well("org.example")
    assert domains.limits("org.example") == (0, 0)
    assert not domains.any_limit


def test_each_asking_halves_the_pace_and_letters_that_pass_bring_it_back(clock: ManualClock) -> None:
    """Three answers in a row are an asking; those that come together with it are not another; three letters make a step back."""
    domains = _domains(clock)
    paces = []
    for _ in range(4):
        for _ in range(10):
            domains.slower("org.example", "421 4.7.0 slower")
        paces.append(domains.limits("org.example"))
        clock.advance(domains.interval("org.example"))
    assert paces == [(60, 1), (30, 1), (15, 1), (7.5, 1)]
    assert domains.limits("other.example") == (0, 0)
    for _ in range(3):
        domains.went_well("org.example")
    assert domains.limits("org.example") == (15, 1)
    for _ in range(9):
        domains.went_well("org.example")
    assert domains.limits("org.example") == (0, 0)


def test_a_slowed_domain_is_never_quicker_than_its_setting(clock: ManualClock) -> None:
    """A domain that the settings hold to 6 letters a minute stays there when it asks for less than that would be."""
    domains = _domains(clock, domains={"org.example": {"per_minute": 6}})
    for _ in range(3):
        domains.slower("org.example", "421 4.7.0 slower")
    assert domains.limits("org.example") == (6, 1)


def test_a_slowed_domain_is_forgotten_in_time(clock: ManualClock) -> None:
    """What a domain said hours ago holds no longer."""
    domains = _domains(clock)
    for _ in range(3):
        domains.slower("org.example", "421 4.7.0 slower")
    clock.advance(dt.timedelta(hours=3))
    assert not domains.any_limit


def test_the_domain_of_an_address() -> None:
    """What stands after the last @, in lower case."""
    assert domain_of("a@b@Org.Example") == "org.example"


async def test_tokens_are_divided_equally(clock: ManualClock) -> None:
    """Of two circulars that always want more, each gets half, whoever asks first and more often; one alone gets all."""
    shares = Shares(clock, Buckets(clock), "relay:main")
    got: Counter[int] = Counter()
    for _ in range(120):
        for circular in (1, 1, 1, 2):
            many, _ = await shares.take(circular, 50, 60)
            got[circular] += many
        clock.advance(dt.timedelta(seconds=1))
    assert abs(got[1] - got[2]) <= 7  # the first bucket was the first one's
    assert 115 <= got.total() <= 130
    before = got[1]
    for _ in range(60):
        clock.advance(dt.timedelta(seconds=1))
        many, _ = await shares.take(1, 50, 60)
        got[1] += many
    assert got[1] - before >= 50


async def test_what_is_not_used_goes_to_the_others(clock: ManualClock) -> None:
    """Tokens given back by a circular that has no letter left are there for the next."""
    shares = Shares(clock, Buckets(clock), "relay:main")
    assert (await shares.take(1, 6, 60))[0] == 6
    await shares.give_back(1, 6, 60)
    assert (await shares.take(2, 6, 60))[0] == 6


def test_places_are_given_in_turn() -> None:
    """With two places, a circular with ten letters that wait does not keep back one with two."""
    turnstile = Turnstile()
    inside: list[int] = []
    for circular in [1] * 10 + [2] * 2:
        turnstile.enter(circular, 2, partial(inside.append, circular))
    assert inside == [1, 1]
    for _ in range(12):
        turnstile.leave()
    assert inside == [1, 1, 1, 2, 1, 2, *[1] * 6]
    turnstile.enter(2, 1, partial(inside.append, 2))
    assert inside[12:] == [2]


def test_the_route_that_names_a_domain_best_decides() -> None:
    """The domain itself, then the nearest domain above it, then the sender's own relays."""
    road = Road(("main",), {"a.example": ("one",), "*.a.example": ("two",), "*.x.a.example": ("three",)})
    found = {name: road.relays(name) for name in ("a.example", "b.a.example", "y.x.a.example", "c.example")}
    assert found == {
        "a.example": ("one",),
        "b.a.example": ("two",),
        "y.x.a.example": ("three",),
        "c.example": ("main",),
    }
    assert road.names == ("main", "one", "two", "three")


def test_who_may_have_a_letter_that_was_tried_before() -> None:
    """One put off stays with its relay unless that is closed for long; one in doubt stays whatever happens."""
    road = Road(("main", "second"))
    assert order(road, "a.example", None, doubtful=False, long_closed=[]) == ("main", "second")
    assert order(road, "a.example", "second", doubtful=False, long_closed=[]) == ("second",)
    assert order(road, "a.example", "main", doubtful=False, long_closed=["main"]) == ("second", "main")
    assert order(road, "a.example", "main", doubtful=True, long_closed=["main"]) == ("main",)
