"""Addresses: what passes, what is refused, and how a cell of several is read."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lists import address
from lists.address import Parsed, display_name, normalise, parse_many, read_many
from lists.errors import BadInput
from tests.support.corpora import corpus


@pytest.mark.parametrize(
    ("given_", "stored"),
    [
        ("a@x.test", "a@x.test"),
        ("Mission.FRA@Geneva.Missions.EXAMPLE", "Mission.FRA@geneva.missions.example"),
        ("o'neill+x@x.example", "o'neill+x@x.example"),
        ("info@bücher.example", "info@xn--bcher-kva.example"),
        ("info@xn--bcher-kva.example", "info@xn--bcher-kva.example"),
        ("u\u0308ber@x.example", "\u00fcber@x.example"),
        (f"{'a' * 64}@x.example", f"{'a' * 64}@x.example"),
    ],
)
def test_normalise(given_: str, stored: str):
    """What is stored has its domain in lower case and A-labels and its local part in form NFC."""
    assert stored == normalise(given_)
    assert stored == normalise(stored)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "a",
        "a@localhost",
        "a@host.local",
        "a@x.invalid",
        "a@x.onion",
        "a@[127.0.0.1]",
        '"a b"@x.test',
        "a@x",
        "a..b@x.test",
        " a@x.test",
        "a@x.test\n",
        f"{'a' * 65}@x.example",
        f"{'ü' * 33}@x.example",  # 66 octets
        f"a@{'b' * 63}.{'c' * 63}.{'d' * 63}.{'e' * 63}.example",
        "a" * 100_000,
        "a@" + "x." * 50_000 + "test",
        "a\ud83d@x.test",
    ],
)
def test_refused(bad: str):
    """What can't be written to is refused in one printable line."""
    with pytest.raises(BadInput) as caught:
        normalise(bad)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("cell", "parsed"),
    [
        (
            'a@x.test; Name <b@y.test>, "Doe, J." <c@z.test>\nd@q.test',
            [("", "a@x.test"), ("Name", "b@y.test"), ("Doe, J.", "c@z.test"), ("", "d@q.test")],
        ),
        ("Doe, John <j@x.test>, k@x.test", [("Doe, John", "j@x.test"), ("", "k@x.test")]),
        ("a@x.test,,;\r\n b@x.test;", [("", "a@x.test"), ("", "b@x.test")]),
        ('"A \\"B\\" C" <x@y.test>', [('A "B" C', "x@y.test")]),
        ("<a@x.test>", [("", "a@x.test")]),
        ("a@x.test <a@x.test>", [("a@x.test", "a@x.test")]),
        ("\u200ba@x.test\u00a0", [("", "a@x.test")]),
        ('"semi;colon" <s@x.test>', [("semi;colon", "s@x.test")]),
        ("", []),
    ],
)
def test_parse_many(cell: str, parsed: list[tuple[str, str]]):
    """A cell may hold several addresses, with or without names, parted by semicolons, commas or new lines."""
    assert [Parsed(*one) for one in parsed] == parse_many(cell)


@pytest.mark.parametrize(
    ("cell", "good", "bad"),
    [
        ("a@x.test b@y.test", 0, 1),
        ("Doe, John", 0, 1),
        ("a@x.test; b@; c@y.test; d", 2, 2),
        ("A@x.test; a@X.test", 1, 1),
        ("<a@x.test", 0, 1),
        ("a@x.test> <b@y.test", 0, 1),
        ("Name\x07 <a@x.test>", 0, 1),
        ("Safe\u202etxet <a@x.test>", 0, 1),
        ("x" * 30_000, 0, 1),
    ],
)
def test_every_bad_address_of_a_cell_is_named(cell: str, good: int, bad: int):
    """One bad address hides no other."""
    found, problems = read_many(cell)
    assert (good, bad) == (len(found), len(problems))


@given(
    st.lists(st.tuples(st.text(max_size=30), st.sampled_from(["a@x.test", "b@y.test", "c.d@z.example"])), max_size=3)
)
def test_quoted_names_come_back(pairs: list[tuple[str, str]]):
    """Whatever a quoted name holds, it never becomes an address."""
    cell = "; ".join('"' + name.replace("\\", "\\\\").replace('"', '\\"') + f'" <{address}>' for name, address in pairs)
    found, _ = read_many(cell)
    assert {one.address for one in found} <= {address for _, address in pairs}


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str):
    """Nothing that a cell may hold makes the reader fail otherwise."""
    found, _ = read_many(text)
    for one in found:
        assert one.address == normalise(one.address)
        assert not any(c in one.address for c in "\r\n\0 <>,;")


def test_names_are_tidied():
    """A name loses its quotes and double blanks."""
    assert display_name(' "Doe,  J." ') == "Doe, J."


def _cases(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


@pytest.mark.corpora
def test_addresses_of_four_test_suites():
    """All addresses that four test suites call valid pass, and all they call invalid are refused."""
    wrong = []
    for case in _cases(corpus("addresses"))["cases"]:
        try:
            normalise(case["address"])
            passed = True
        except BadInput:
            passed = False
        if case["expect"] != "policy" and passed is not (case["expect"] == "valid"):
            wrong.append(case)
    assert wrong == []


@pytest.mark.corpora
def test_hostile_envelopes_are_refused_or_harmless():
    """No hostile address reaches an SMTP command with anything that could end it or add to it."""
    for text in _cases(corpus("hostile"))["envelope"]:
        try:
            address = normalise(text)
        except BadInput:
            continue
        assert address == text
        assert address.count("@") == 1
        assert not any(c in address for c in '\r\n\0 \t<>,;()"[]\\')
    for text in _cases(corpus("hostile"))["envelope"]:
        assert all("evil" not in one.address or one.address == "b@evil.test" for one in read_many(text)[0])


@given(
    st.from_regex(address._PLAIN, fullmatch=True)
    | st.from_regex(rf"a@b\.({'|'.join(address._RESERVED)})", fullmatch=True)
)
def test_the_plainest_addresses_are_those_that_the_validator_passes(text: str):
    """What is taken without asking the validator is taken by it, too, and in the same form; what it reserves is asked about."""
    try:
        asked = address._validated(text)
    except BadInput:
        with pytest.raises(BadInput):
            normalise(text)
    else:
        assert normalise(text) == asked
