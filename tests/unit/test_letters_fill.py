"""Wrapping of the text form."""

from hypothesis import given
from hypothesis import strategies as st

from mailer.letters.text_fill import WIDTH, fill, hold, hold_in_html


@given(words=st.lists(st.text("abcdefghij", min_size=1, max_size=90), min_size=1, max_size=60))
def test_words_stay_and_lines_fit(words):
    """All words come out in order, and a line is longer than its measure only where one word is."""
    lines = fill(" ".join(words), "- ", "  ").split("\n")
    assert [word for line in lines for word in line[2:].split()] == words
    assert all(len(line) <= WIDTH or " " not in line[2:] for line in lines)
    assert all(line.startswith("- " if place == 0 else "  ") for place, line in enumerate(lines))


def test_a_tab_hangs_what_follows():
    """After a label and a tab, all further lines begin where the first text did, those of a newline too."""
    out = fill("To:\t" + "word " * 20 + "\nsecond").split("\n")
    assert out[0].startswith("To:         word")
    assert all(line.startswith(" " * 12) and line[12] != " " for line in out[1:])
    assert out[-1].strip() == "second"


def test_numbers_and_names_hold_together():
    """A telephone number and a form of address with its name are never torn apart."""
    for pad in range(40, 72):
        out = fill(hold("x" * pad + " Mme Solvang +41 22 555 04 11 y 22 September 1er juin, Article 5"))
        assert "Mme Solvang" in out
        assert "+41 22 555 04 11" in out
        assert "22 September" in out
        assert "1er juin" in out
        assert "Article 5" in out
    assert fill("no\xa0break " * 12).count("no\xa0break") == 12


def test_html_holds_the_same_and_leaves_markup_alone():
    """In HTML no-break spaces hold names and numbers; days stay searchable; tags, comments and style sheets are untouched."""
    page = '<style>p { x: Article 5 }</style><p title="Mr. X">On 17 July, Article 5, <!-- Mr. Y -->M. Z, +41 22 5</p>'
    assert hold_in_html(page) == (
        '<style>p { x: Article 5 }</style><p title="Mr. X">On 17 July, Article\xa05, <!-- Mr. Y -->M.\xa0Z, +41\xa022\xa05</p>'
    )


def test_nothing_stays_nothing():
    """An empty text is an empty line, and double spaces are one."""
    assert fill("") == ""
    assert fill("  a   b ") == "a b"
