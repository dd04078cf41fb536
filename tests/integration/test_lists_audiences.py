"""Audiences: who gets a letter, who does not, and why."""

import datetime as dt
from pathlib import Path

import pytest

from lists.audiences import Resolved, current_mailboxes, resolve, wording_key
from lists.errors import BadInput, NotFound
from lists.kinds import Counting, Role
from lists.rules import parse
from mailer.demo import make_sheet
from tests.support.sheets import ROLL, TODAY, imported

HEAD = "id,organization,kind,state,seat,languages,address,role,from,until,lists\n"
SHEET = (
    HEAD + "1,Mission of Norway,mission,NOR,Geneva,en,c@n.example,cc,,,\n1,,,,,,a@n.example,to,,,\n"
    "2,Mission of Norway,mission,NOR,New York,en,ny@n.example,,,,\n"
    "3,Mission of Grenada,mission,Grenada,New York,en,ny@g.example,,,,\n"
    "4,Mission of Peru,mission,Peru,Geneva,en,old@p.example,,,2006-07-06,\n"
    "5,Mission of Peru,mission,Peru,New York,en,ny@p.example,,,,\n"
    "6,Mission of Chad,mission,Chad,Geneva,fr,new@t.example,,2006-07-08,,\n"
    "7,Mission of China,mission,China,Geneva,en,a@c.example,,,,recused\n"
    "8,Ministry of Kenya,ministry,Kenya,Nairobi,en,m@k.example,,,,friends\n"
    "9,Zeta,ngo,,Geneva,en,z@x.example,,,,friends\n10,Álpha,international,,Rome,en,a@x.example,,,,friends\n"
    "11,Empty,ngo,,,en,,,,,friends\n"
)


@pytest.fixture
async def stored(database, tmp_path: Path):
    """A database with the sheet above."""
    await imported(database, tmp_path, SHEET)
    return database


async def _resolve(database, to, cc=(), except_=(), *, on=TODAY, as_of=None, counting=Counting.IN_FORCE) -> Resolved:
    async with database.read() as session:
        return await resolve(session, ROLL, to=to, cc=cc, except_=except_, as_of=as_of or on, on=on, counting=counting)


def _names(resolved: Resolved) -> list[str]:
    return [f"{one.organization} {one.seat or ''}".strip() for one in resolved.addressees]


async def test_a_state_is_looked_for_at_the_first_seat_then_the_next(stored):
    """The Geneva mission gets it, else the New York one; a mission without a mailbox that day counts as none."""
    found = await _resolve(stored, ["states-parties@geneva else new-york"])
    assert _names(found) == ["Mission of Grenada new-york", "Mission of Norway geneva", "Mission of Peru new-york"]
    assert [one.why for one in found.addressees] == [
        "State Party since 1 March 1999; mission in New York, as no mission in Geneva is known",
        "State Party since 1 March 1999; mission in Geneva",
        "State Party since 1 March 1999; mission in New York, as its mission in Geneva has no mailbox",
    ]
    assert {one.audience for one in found.addressees} == {"states-parties@geneva"}
    assert found.to_keys == ("states-parties",)
    why = {one.state_iso3: one.why for one in found.unaddressed}
    assert len(why) == 148 - 3
    assert why["TCD"] == ("no mission in New York is known and its mission in Geneva has no mailbox on 7 July 2006")
    assert why["KEN"] == "no mission in Geneva or in New York is known; there is one in Nairobi"
    assert why["FRA"] == "no mission in Geneva or in New York is known"
    assert [one.why for one in found.excluded] == ["it has no mailbox on 7 July 2006"] * 2
    assert ("Mission of Norway", "its seat is New York; states-parties@geneva else new-york takes another") in [
        (one.organization, one.why) for one in found.not_chosen
    ]


async def test_mailboxes_of_the_day(stored):
    """Mailboxes are those right on the day, both ends inclusive, those for To first; the status is of its own date."""
    on = dt.date(2006, 7, 6)
    assert "Mission of Peru geneva" in _names(await _resolve(stored, ["PER@geneva"], on=on))
    later = await _resolve(stored, ["states-parties@geneva"], on=dt.date(2006, 7, 8), as_of=dt.date(1999, 3, 1))
    assert _names(later) == ["Mission of Norway geneva"]
    assert [(box.address, box.role) for box in later.addressees[0].mailboxes] == [
        ("a@n.example", Role.TO),
        ("c@n.example", Role.CC),
    ]
    async with stored.read() as session:
        assert later.addressees[0].mailboxes == await current_mailboxes(session, 1, on)


async def test_one_letter_per_organization(stored):
    """An organization in two audiences gets one letter, under To if it stands there; else the first rule has it."""
    found = await _resolve(stored, ["list:friends"], ["organizations", "KEN", "list:Friends"])
    assert [(one.organization, one.role, one.audience) for one in found.addressees] == [
        ("Ministry of Kenya", Role.TO, "list:friends"),
        ("Álpha", Role.TO, "list:friends"),
        ("Zeta", Role.TO, "list:friends"),
    ]
    assert found.unaddressed == ()
    assert [one.organization for one in found.excluded] == ["Empty"]
    assert (found.to_keys, found.cc_keys) == (("list:friends",), ("organizations", "KEN", "list:Friends"))


async def test_order_is_to_then_rules_then_states_then_names(stored):
    """To stands before CC; then rules in their order; then States by English name, then organizations by name."""
    found = await _resolve(stored, ["NOR", "states-not-parties"], ["organizations", "GRD"])
    assert _names(found) == [
        "Mission of Norway geneva",
        "Mission of Norway new-york",
        "Mission of China geneva",
        "Álpha rome",
        "Zeta geneva",
        "Mission of Grenada new-york",
    ]


async def test_a_state_under_cc_only_still_lacks_an_addressee_under_to(stored):
    """A State of the To audience that only CC reaches is named; a State of the CC audience that To reaches is not."""
    found = await _resolve(stored, ["GRD@geneva"], ["GRD@new-york"])
    assert [(one.state_iso3, one.audience) for one in found.unaddressed] == [("GRD", "GRD@geneva")]
    assert (await _resolve(stored, ["GRD@new-york"], ["GRD@geneva"])).unaddressed == ()


async def test_except_takes_out_by_rule(stored):
    """What `except` takes out is named as such, and its State is not said to lack an addressee."""
    found = await _resolve(stored, ["states-not-parties@geneva"], except_=["list:recused"])
    assert _names(found) == []
    assert [(one.organization, one.why) for one in found.excluded] == [
        ("Mission of China", "taken out by except list:recused")
    ]
    assert "CHN" not in {one.state_iso3 for one in found.unaddressed}
    both = await _resolve(stored, ["NOR", "FRA"], except_=["states-parties"])
    assert (both.addressees, both.unaddressed) == ((), ())
    seat = await _resolve(stored, ["NOR"], except_=["NOR@new-york"])
    assert _names(seat) == ["Mission of Norway geneva"]


async def test_retired_organizations_get_no_letter(stored):
    """An organization is out from the day it is retired."""
    from lists import organizations

    async with stored.write() as session:
        await organizations.retire(session, 9, TODAY)
    assert "Zeta geneva" not in _names(await _resolve(stored, ["organizations"]))
    assert "Zeta geneva" in _names(await _resolve(stored, ["organizations"], on=dt.date(2006, 7, 6)))


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("", "rule is empty"),
        ("state-parties", "Perhaps states-parties or states-not-parties is meant"),
        ("states-parties@", "no seat stands after the @"),
        ("states-parties else new-york", "`else` needs a seat"),
        ("states-parties@geneva else geneva", "stands there twice"),
        ("states-parties@geneva else", "a seat is empty"),
        ("list:friend", "Perhaps friends is meant"),
        ("list:", "unknown rule"),
        ("lists:friends", "unknown rule"),
        ("Norwey", "Norway (NOR)"),
        ("XYZ", "unknown rule or State"),
        ("SSD", "South Sudan is a State only since 9 July 2011"),
        ("x" * 100_000, "unknown rule"),
    ],
)
async def test_bad_rules(stored, rule: str, said: str):
    """A rule that can't be read is refused in one line, with what may be meant."""
    with pytest.raises(BadInput) as caught:
        await _resolve(stored, [rule])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


async def test_an_unknown_list_where_there_is_none(database):
    """In an empty home the remedy says where lists come from."""
    with pytest.raises(NotFound, match="column `lists`"):
        await _resolve(database, ["list:friends"])


@pytest.mark.parametrize(
    ("text", "audience", "whole", "key"),
    [
        (
            "States-Parties @ Geneva  else New York",
            "states-parties@geneva",
            "states-parties@geneva else new-york",
            "states-parties",
        ),
        ("norway@Genève", "NOR@geneva", "NOR@geneva", "NOR"),
        ("list: Friends of 7MSP", "list:Friends of 7MSP", "list:Friends of 7MSP", "list:Friends of 7MSP"),
        ("organizations", "organizations", "organizations", "organizations"),
    ],
)
def test_rules_are_read_however_written(text: str, audience: str, whole: str, key: str):
    """A rule has one spelling, whatever case, blanks and language it is written in."""
    rule = parse(text, ROLL)
    assert (rule.audience, rule.text, rule.key, wording_key(rule.text)) == (audience, whole, key, key)


@pytest.fixture
async def world(database):
    """A database with the demonstration's sheet."""
    from lists.importing import service

    async with database.write() as session:
        sheet = service.check_file(make_sheet.SHEET, ROLL)
        await service.apply(session, await service.plan(session, sheet, today=TODAY))
    return database


async def test_the_two_circulars_of_the_demonstration(world):
    """Circular A: 122 Parties and 73 others less the seven without a mission, and the organizations; B: 148 Parties."""
    cc = ["states-not-parties@geneva else new-york", "organizations"]
    a = await _resolve(world, ["states-parties@geneva else new-york"], cc, on=dt.date(2002, 6, 19))
    count = {
        key: sum(one.audience == key for one in a.addressees)
        for key in dict.fromkeys(one.audience for one in a.addressees)
    }
    assert count == {"states-parties@geneva": 122 - 4, "states-not-parties@geneva": 73 - 3, "organizations": 26}
    assert [one.state_iso3 for one in a.unaddressed] == ["KIR", "NRU", "NIU", "SLB", "COK", "MHL", "TUV"]
    b = await _resolve(world, ["states-parties@geneva else new-york", "organizations"], on=TODAY)
    assert len(b.addressees) == 148 - 4 + 26
    deposited = await _resolve(world, ["states-parties@geneva else new-york"], on=TODAY, counting=Counting.DEPOSITED)
    assert (len(deposited.addressees), [one.state_iso3 for one in deposited.unaddressed]) == (
        151 - 5,
        ["COK", "KIR", "NRU", "NIU", "SLB"],
    )
    again = await _resolve(world, ["states-parties@geneva else new-york", "organizations"], on=TODAY)
    assert again == b
