import datetime as dt
from pathlib import Path

import pytest

from mailer.errors import BadInput
from mailer.rehearsal.faults import Faults, Manner, Occasion

NOON = dt.datetime(2006, 7, 7, 12, 0, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)
DEAD = "550 5.1.1 No such mailbox"


def at_rcpt(address: str, *, connection: int = 1, letter: int = 1, sender: str = "us@x.example") -> Occasion:
    """The moment of one RCPT."""
    return Occasion("rcpt", connection, letter, sender, (address,))


def test_a_pattern_matches_addresses_whatever_the_case_of_letters():
    """A rule for dead@* plays for DEAD@X.example and for nobody else."""
    faults = Faults.from_rules([{"at": "rcpt", "to": "dead@*", "reply": DEAD}])
    assert faults.at(at_rcpt("DEAD@X.example"), NOON).reply == (DEAD,)
    assert faults.at(at_rcpt("alive@x.example"), NOON) is None


def test_greylisting_ends_fifteen_minutes_after_the_first_try_of_each_address():
    """Each address has its own quarter of an hour, counted from its own first try."""
    faults = Faults.from_rules([{"at": "rcpt", "to": "*@slow.example", "reply": "451 4.7.1 Later", "for": "15m"}])
    assert faults.at(at_rcpt("a@slow.example"), NOON)
    assert faults.at(at_rcpt("a@slow.example"), NOON + 14 * MINUTE)
    assert faults.at(at_rcpt("b@slow.example"), NOON + 14 * MINUTE)
    assert faults.at(at_rcpt("a@slow.example"), NOON + 15 * MINUTE) is None
    assert faults.at(at_rcpt("b@slow.example"), NOON + 15 * MINUTE)
    assert faults.at(at_rcpt("b@slow.example"), NOON + 29 * MINUTE) is None


@pytest.mark.parametrize(
    ("more", "played"),
    [
        ({}, "aaaa"),
        ({"times": 1}, "a---"),
        ({"nth": 3}, "--a-"),
        ({"nth": [1, 4]}, "a--a"),
        ({"every": 2}, "-a-a"),
        ({"every": 2, "times": 1}, "-a--"),
    ],
)
def test_how_often_a_rule_plays_is_as_it_says(more, played):
    """times, nth and every count matches from one, together or alone."""
    faults = Faults.from_rules([{"at": "rcpt", "reply": DEAD, **more}])
    assert "".join("a" if faults.at(at_rcpt("a@x.example"), NOON) else "-" for _ in range(4)) == played
    assert faults.played(0) == played.count("a")


@pytest.mark.parametrize(
    ("per", "played"),
    [("all", "a----"), ("address", "ab---"), ("sender", "a---a"), ("connection", "a--b-")],
)
def test_what_is_counted_by_is_chosen_by_per(per, played):
    """One rule with times = 1 plays once in all, per address, per sender or per connection."""
    faults = Faults.from_rules([{"at": "rcpt", "reply": DEAD, "times": 1, "per": per}])
    occasions = [
        at_rcpt("a@x.example"),
        at_rcpt("b@x.example"),
        at_rcpt("a@x.example"),
        at_rcpt("b@x.example", connection=2),
        at_rcpt("a@x.example", connection=2, sender="them@x.example"),
    ]
    heard = [faults.at(occasion, NOON) is not None for occasion in occasions]
    assert "".join(o.addresses[0][0] if yes else "-" for o, yes in zip(occasions, heard, strict=True)) == played


def test_connection_letter_and_sender_narrow_a_rule():
    """A rule plays only on the connection, the letter and for the sender that it names."""
    rule = {"at": "rcpt", "reply": DEAD, "connection": 2, "letter": [3, 4], "sender": "us@*"}
    faults = Faults.from_rules([rule])
    assert faults.at(at_rcpt("a@x.example", connection=2, letter=4), NOON)
    assert not faults.at(at_rcpt("a@x.example", connection=1, letter=4), NOON)
    assert not faults.at(at_rcpt("a@x.example", connection=2, letter=5), NOON)
    assert not faults.at(at_rcpt("a@x.example", connection=2, letter=3, sender="them@x.example"), NOON)


def test_the_first_rule_that_is_not_used_up_plays():
    """Rules are tried in the order of the file; one that is used up lets the next play."""
    faults = Faults.from_rules(
        [
            {"at": "rcpt", "to": "a@*", "reply": "451 4.7.1 Later", "times": 1},
            {"at": "rcpt", "reply": DEAD},
        ]
    )
    assert faults.at(at_rcpt("a@x.example"), NOON).code == 451
    assert faults.at(at_rcpt("a@x.example"), NOON).code == 550


def test_a_rule_about_an_address_finds_it_among_the_accepted_ones_of_a_letter():
    """At the end of data a rule with `to` plays if any accepted recipient matches."""
    faults = Faults.from_rules([{"at": "reply", "to": "*@dropped.example", "do": "drop"}])
    letter = Occasion("reply", 1, 1, "us@x.example", ("a@x.example", "b@dropped.example"))
    assert faults.at(letter, NOON).do is Manner.DROP
    assert faults.at(Occasion("reply", 1, 1, "us@x.example", ("a@x.example",)), NOON) is None


def test_a_file_is_read_with_or_without_a_byte_order_mark(tmp_path: Path):
    """The format of the documentation loads, even as Notepad writes it."""
    file = tmp_path / "faults.toml"
    file.write_text(
        '\ufeff[[fault]]\nat = "rcpt"\nto = ["dead@*", "*@closed.example"]\nreply = "550 5.1.1 No such mailbox"\n'
        '[[fault]]\nat = "connect"\ndo = "stall"\nseconds = "90s"\n'
        '[[fault]]\nat = "mail"\ndo = "garbage"\nbytes = "\\u0000\\u00ff"\n',
        encoding="utf-8",
    )
    faults = Faults.load(file)
    assert [rule.at for rule in faults.rules] == ["rcpt", "connect", "mail"]
    assert faults.rules[0].to == ("dead@*", "*@closed.example")
    assert faults.rules[1].seconds == 90
    assert faults.rules[2].bytes == b"\x00\xff"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[fault]]\nat = "rcpt"\nrepyl = "550 no"', ["fault 1", '"repyl"', 'Did you mean "reply"']),
        ('[[fault]]\nat = "rctp"\nreply = "550 no"', ["fault 1", "at = 'rctp'", "rcpt"]),
        ('[[fault]]\nreply = "550 no"', ["fault 1", "phase"]),
        ('[[fault]]\nat = "rcpt"', ["fault 1", "does nothing"]),
        ('[[fault]]\nat = "rcpt"\nreply = "no"', ["reply = 'no'", "three digits"]),
        ('[[fault]]\nat = "rcpt"\nreply = ["250 a", "251 b"]', ["share their code"]),
        ('[[fault]]\nat = "rcpt"\nreply = "550 a\\r\\n250 b"', ["on one line"]),
        ('[[fault]]\nat = "rcpt"\nreply = "550 a"\ntimes = 0', ["times = 0", "from 1"]),
        ('\n\n[[fault]]\nat = "mail"\ndo = "overlong"\nsize = 1000000000000', ["line 3", "size = ", "to 1000000"]),
        ('[[fault]]\nat = "mail"\ndo = "stall"\nseconds = 1e300', ["seconds = 1e+300", "a year at most"]),
        ('[[fault]]\nat = "mail"\nreply = "451 a"\nfor = "inf"', ["for = 'inf'", "15m"]),
        ('[[fault]]\nat = "ehlo"\noffer = "SIZE\\r\\n250 X"', ["offer = ", "on one line"]),
        ('[[fault]]\nat = "rcpt"\nreply = "451 a"\nfor = "a while"', ["for = 'a while'", "15m"]),
        ('[[fault]]\nat = "mail"\nto = "a@*"\nreply = "451 a"', ["no recipient is known yet"]),
        ('[[fault]]\nat = "rcpt"\nhide = "SIZE"', ["ehlo"]),
        ('[[fault]]\nat = "starttls"\ndo = "certificate"', ["flaw", "other-name"]),
        ('[[fault]]\nat = "mail"\ndo = "early"', ["then"]),
        ('[[fault]]\nat = "data"\nreply = "250 a"', ["354"]),
        ('[[fault]]\nat = "mail"\nreply = "451 a"\nafter_bytes = 3', ["content"]),
        ('[fault]\nat = "rcpt"', ["[[fault]]"]),
        ('[[faults]]\nat = "rcpt"', ['"faults"', "[[fault]]"]),
        ("[[fault]]\nat = rcpt", ["quotation marks", "line 2"]),
    ],
)
def test_a_wrong_file_is_refused_in_plain_words(tmp_path: Path, text: str, words: list[str]):
    """What is wrong, in which rule, and how to mend it: in one line."""
    file = tmp_path / "faults.toml"
    file.write_text(text)
    with pytest.raises(BadInput) as caught:
        Faults.load(file)
    told = str(caught.value)
    assert "\n" not in told
    for word in ["faults.toml", *words]:
        assert word in told


def test_the_same_rules_may_be_json(tmp_path: Path):
    """A file whose name ends in .json has the same keys."""
    file = tmp_path / "faults.json"
    file.write_text('{"fault": [{"at": "rcpt", "to": "dead@*", "reply": "550 5.1.1 No"}]}')
    (rule,) = Faults.load(file).rules
    assert (rule.at, rule.to, rule.code) == ("rcpt", ("dead@*",), 550)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"fault": [\n{"at": rcpt}]}', ["line 2", "not JSON"]),
        ('[{"at": "rcpt"}]', ["[[fault]]"]),
        ('{"fault": {"at": "rcpt"}}', ["[[fault]]"]),
        ('{"faults": []}', ['"faults"']),
        ('{"fault": [{"at": "rcpt", "reply": "550 a"}, {"at": "rcpt", "reply": NaN}]}', ["fault 2", "reply = nan"]),
        ("[" * 100_000, ["too deeply"]),
    ],
)
def test_wrong_json_is_refused_in_plain_words(tmp_path: Path, text: str, words: list[str]):
    """What is wrong, where, and how to mend it: in one line."""
    file = tmp_path / "faults.json"
    file.write_text(text)
    with pytest.raises(BadInput) as caught:
        Faults.load(file)
    for word in ["faults.json", *words]:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path):
    """A file of faults that is not there is bad input, not a crash."""
    with pytest.raises(BadInput, match=r"missing\.toml"):
        Faults.load(tmp_path / "missing.toml")
