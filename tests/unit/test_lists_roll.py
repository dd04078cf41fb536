"""The roll: who is what to the treaty on which date, and how States are found."""

import datetime as dt
from pathlib import Path

import pytest

from lists.errors import BadInput, NotFound
from lists.kinds import LANGUAGES, Counting, Severity, Standing
from lists.roll import EventKind, Roll, in_words
from lists.roll.checking import in_force_by_rule

D = dt.date


@pytest.fixture(scope="module")
def roll() -> Roll:
    """The shipped roll."""
    return Roll.load()


# The checkpoint table of the treaty's data: date, deposited, in force.
CHECKPOINTS = [
    (D(1999, 2, 28), 67, 0),
    (D(1999, 3, 1), 67, 45),
    (D(2001, 9, 18), 120, 111),
    (D(2002, 6, 19), 124, 122),
    (D(2002, 9, 16), 126, 122),
    (D(2003, 9, 15), 136, 132),
    (D(2004, 11, 29), 143, 142),
    (D(2005, 11, 28), 147, 144),
    (D(2006, 7, 7), 151, 148),
    (D(2006, 7, 17), 151, 148),
    (D(2006, 9, 18), 151, 150),
    (D(2009, 11, 29), 156, 156),
    (D(2014, 6, 23), 161, 161),
    (D(2014, 12, 31), 162, 161),
    (D(2019, 11, 25), 164, 164),
    (D(2025, 7, 1), 166, 164),
    (D(2026, 2, 3), 162, 162),
    (D(2026, 2, 19), 162, 162),
    (D(2026, 2, 20), 161, 161),
]


@pytest.mark.parametrize(("on", "deposited", "in_force"), CHECKPOINTS, ids=str)
def test_parties_at_checkpoints(roll: Roll, on: dt.date, deposited: int, in_force: int):
    """States Parties are as many as sources say, by both ways of counting."""
    assert deposited == len(roll.parties(on, Counting.DEPOSITED))
    assert in_force == len(roll.parties(on))


@pytest.mark.parametrize(("on", "others", "all_states"), [(D(2002, 6, 19), 73, 195), (D(2006, 7, 7), 48, 196)])
def test_not_parties_are_all_other_states_of_the_day(roll: Roll, on: dt.date, others: int, all_states: int):
    """Every State that existed on the date and is not a Party is a State not Party."""
    assert others == len(roll.not_parties(on))
    assert all_states == len(roll.existing(on))
    assert set(roll.existing(on)) == set(roll.parties(on)) | set(roll.not_parties(on))


@pytest.mark.parametrize(
    ("iso3", "on", "counting", "standing"),
    [
        ("SSD", D(2011, 7, 9), Counting.IN_FORCE, Standing.PARTY),  # retroactive: deposited in November only
        ("SSD", D(2011, 7, 9), Counting.DEPOSITED, Standing.NOT_PARTY),
        ("SSD", D(2011, 11, 11), Counting.DEPOSITED, Standing.PARTY),
        ("MNE", D(2006, 10, 23), Counting.DEPOSITED, Standing.PARTY),
        ("MNE", D(2007, 3, 31), Counting.IN_FORCE, Standing.NOT_IN_FORCE),
        ("MNE", D(2007, 4, 1), Counting.IN_FORCE, Standing.PARTY),
        ("POL", D(2006, 7, 7), Counting.IN_FORCE, Standing.SIGNATORY),
        ("POL", D(2026, 2, 19), Counting.IN_FORCE, Standing.PARTY),
        ("POL", D(2026, 2, 20), Counting.IN_FORCE, Standing.WITHDRAWN),
        ("POL", D(2026, 2, 20), Counting.DEPOSITED, Standing.WITHDRAWN),
        ("FIN", D(2026, 1, 9), Counting.IN_FORCE, Standing.PARTY),
        ("FIN", D(2026, 1, 10), Counting.IN_FORCE, Standing.WITHDRAWN),
        ("CAN", D(1999, 2, 28), Counting.IN_FORCE, Standing.NOT_IN_FORCE),
        ("CAN", D(1999, 3, 1), Counting.IN_FORCE, Standing.PARTY),
        ("USA", D(2026, 1, 1), Counting.IN_FORCE, Standing.NOT_PARTY),
        ("COK", D(2006, 7, 7), Counting.IN_FORCE, Standing.NOT_IN_FORCE),
        ("COK", D(2006, 7, 7), Counting.DEPOSITED, Standing.PARTY),
    ],
)
def test_standing(roll: Roll, iso3: str, on: dt.date, counting: Counting, standing: Standing):
    """A State is what its events up to that day make it, and no longer a Party on the day its withdrawal takes effect."""
    assert standing is roll.standing(iso3, on, counting)


@pytest.mark.parametrize(("iso3", "first"), [("TLS", D(2002, 5, 20)), ("MNE", D(2006, 6, 3)), ("SSD", D(2011, 7, 9))])
def test_a_state_is_on_the_roll_from_its_first_day(roll: Roll, iso3: str, first: dt.date):
    """A new State counts from the day it came into being, not before."""
    assert roll.state(iso3) in roll.existing(first)
    assert roll.state(iso3) not in roll.existing(first - dt.timedelta(days=1))


def test_names_in_all_languages(roll: Roll):
    """All 197 States have a name in six languages."""
    assert len(roll.states) == 197
    assert all(state.name(language) for state in roll.states for language in LANGUAGES)
    assert roll.state("NOR").name("fr") == "Norvège"
    assert roll.state("NOR").name("de") == "Norway"


@pytest.mark.parametrize(
    ("text", "iso3"),
    [
        ("nor", "NOR"),
        ("no", "NOR"),
        ("NORVEGE", "NOR"),
        ("Норвегия", "NOR"),
        ("cote d\u2019ivoire", "CIV"),
        ("Côte d'Ivoire", "CIV"),
        ("the Gambia", "GMB"),
        ("Republic of the Gambia", "GMB"),
        ("Swaziland", "SWZ"),
        ("Turkey", "TUR"),
        ("Czech Republic", "CZE"),
        ("Nauru", "NRU"),
        ("The former Yugoslav Republic of Macedonia", "MKD"),
        ("Korea, Republic of", "KOR"),
        ("法国", "FRA"),
        ("فرنسا", "FRA"),
        ("  etats-unis ", "USA"),
        ("Niger", "NER"),
        ("Congo", "COG"),
    ],
)
def test_find(roll: Roll, text: str, iso3: str):
    """A State is found by code, by any name in six languages, and by names it had."""
    assert iso3 == roll.find(text).iso3


@pytest.mark.parametrize("text", ["Germny", "Atlantis", "", "XX", "ZZZ", "*", "a" * 5000])
def test_find_names_what_is_near(roll: Roll, text: str):
    """What is no State's name is refused in one line."""
    with pytest.raises(NotFound) as caught:
        roll.find(text)
    assert "\n" not in str(caught.value)
    if text == "Germny":
        assert "Germany (DEU)" in str(caught.value)


def test_every_name_belongs_to_one_state(roll: Roll):
    """No two States share a name by which they are found."""
    for state in roll.states:
        for name in (*state.names.values(), state.formal_en, state.iso2, state.iso3):
            assert state is roll.find(name)


def test_in_words(roll: Roll):
    """A list of States reads as a sentence, in the alphabet of its language."""
    three = [roll.state(code) for code in ("PER", "NOR", "DEU")]
    assert in_words(three) == "Germany, Norway and Peru"
    assert in_words(three, "fr") == "Allemagne, Norvège et Pérou"
    assert in_words(three[:1]) == "Peru"
    assert in_words([]) == ""


def test_shipped_events_fit_together(roll: Roll):
    """The shipped events follow Articles 17 and 20; the two known departures and one uncertain date are notes."""
    findings = roll.check()
    assert [Severity.NOTE] * len(findings) == [finding.severity for finding in findings]
    assert {"MNE", "SSD", "POL"} == {finding.subject for finding in findings}


@pytest.mark.parametrize(
    ("deposited", "in_force"),
    [
        (D(1998, 9, 16), D(1999, 3, 1)),
        (D(1998, 9, 17), D(1999, 3, 1)),
        (D(1998, 10, 1), D(1999, 4, 1)),
        (D(2005, 7, 31), D(2006, 1, 1)),
        (D(2005, 12, 1), D(2006, 6, 1)),
    ],
)
def test_article_17(deposited: dt.date, in_force: dt.date):
    """Entry into force is the first day of the sixth month after the deposit."""
    assert in_force == in_force_by_rule(deposited)


HEAD = "iso3,event,date,source\n"


def test_a_home_adds_and_replaces_events(tmp_path: Path):
    """A home's event of the same State and kind replaces the shipped one; another is added."""
    file = tmp_path / "roll-events.csv"
    file.write_text(
        "\ufeffISO3,Event,Date,Source,Note\nmne,in-force,2006-06-03,our reading,\n\nUSA,deposited,2026-03-01,made up,x\n"
        "USA,in-force,2026-09-01,made up,\n",
        encoding="utf-8",
    )
    roll = Roll.load(file)
    assert Standing.PARTY is roll.standing("MNE", D(2006, 6, 3))
    assert Standing.NOT_IN_FORCE is roll.standing("USA", D(2026, 8, 31))
    assert Standing.PARTY is roll.standing("USA", D(2026, 9, 1))
    assert sum(event.kind is EventKind.IN_FORCE for event in roll.events("MNE")) == 1


def test_a_state_can_come_back(tmp_path: Path):
    """A deposit after a withdrawal is a new one, and the old membership stays."""
    file = tmp_path / "roll-events.csv"
    file.write_text(f"{HEAD}EST,deposited,2027-01-10,x\nEST,in-force,2027-07-01,x\n", encoding="utf-8")
    roll = Roll.load(file)
    days = {D(2010, 1, 1): "party", D(2026, 1, 1): "withdrawn", D(2027, 2, 1): "not-in-force", D(2027, 7, 1): "party"}
    assert days == {day: roll.standing("EST", day) for day in days}


def test_a_home_without_events_has_the_shipped_ones(tmp_path: Path):
    """No file of its own is no error."""
    assert len(Roll.load(tmp_path / "roll-events.csv").parties(D(2006, 7, 7))) == 148


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("iso3,event,date\n", "line 1: the heading row lacks source"),
        (f"{HEAD.strip()},colour\n", "line 1: unknown column 'colour'"),
        (f"{HEAD}FRA,signed,1997-12-03,x,y\n", "line 2: the row has 5 cells"),
        (f"{HEAD}XXX,signed,1997-12-03,x\n", "line 2: no State has the code 'XXX'"),
        (f"{HEAD}FRA,joined,1997-12-03,x\n", "line 2: unknown event 'joined'"),
        (f"{HEAD}FRA,signed,3.12.1997,x\n", "line 2: '3.12.1997' is not a date"),
        (f"{HEAD}FRA,signed,1997-02-30,x\n", "line 2: '1997-02-30' is not a date"),
        (f"{HEAD}\nFRA,signed,1997-12-03,\n", "line 3: the row has no source"),
        (f"{HEAD}FRA,signed,1997-12-03,x\nFRA,signed,1997-12-03,y\n", "line 3: it says again what line 2 says"),
        (f'{HEAD}FRA,"signed,1997-12-03,x\n', "it is no proper CSV"),
    ],
)
def test_a_bad_event_is_named_with_its_line(tmp_path: Path, text: str, said: str):
    """Each wrong row of a home's events is refused in one line that names file and line."""
    file = tmp_path / "roll-events.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        Roll.load(file)
    assert said in str(caught.value)
    assert "roll-events.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_events_that_are_not_utf8(tmp_path: Path):
    """A file in another encoding is refused, not misread."""
    file = tmp_path / "roll-events.csv"
    file.write_bytes(f"{HEAD}FRA,signed,1997-12-03,dép".encode("latin-1"))
    with pytest.raises(BadInput, match="not UTF-8"):
        Roll.load(file)


def test_check_names_what_does_not_fit(tmp_path: Path):
    """Events that can't be so are findings, by State."""
    file = tmp_path / "roll-events.csv"
    file.write_text(
        f"{HEAD}USA,in-force,2026-09-01,x\nCHN,deposited,2026-01-05,x\nTUV,in-force,2012-05-01,x\n"
        "SSD,signed,2010-01-01,x\nSWE,notified-withdrawal,2026-01-15,x\n",
        encoding="utf-8",
    )
    codes = {(finding.subject, finding.code) for finding in Roll.load(file).check()}
    assert {
        ("USA", "in-force-without-deposit"),
        ("CHN", "deposit-without-in-force"),
        ("TUV", "not-by-article-17"),
        ("SSD", "before-it-existed"),
        ("SWE", "withdrawal-open"),
    } <= codes
