"""Importing sheets into a database: planned, then stored whole or not at all."""

import datetime as dt
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from lists import organizations, overview
from lists.changes import revision
from lists.errors import BadInput, NotFound
from lists.exporting import sheets
from lists.importing import service
from lists.importing.checking import check
from lists.importing.planning import Verdict
from lists.importing.reading import read
from lists.kinds import OrganizationKind
from lists.models import Contact, Membership, NamedList, Organization
from mailer.demo import make_sheet
from mailer.register import changes as register
from tests.support.sheets import ROLL, TODAY, checked, imported, lines, planned

HEAD = "id,organization,kind,state,seat,form,languages,salutation,address,name,role,from,until,lists\n"
SHEET = (
    HEAD + "1,Mission of Norway,mission,NOR,Geneva,,en,Excellency,a@n.example,,to,,,\n"
    "1,,,,,,,,b@n.example,Registry,cc,2006-01-01,,\n"
    "2,Mission de France,mission,France,Genève,,fr en,,a@f.example; B <b@f.example>,,,,,\n"
    "3,Office,ngo,,,,,,o@x.example,,,,2006-12-31,observers; friends\n"
)


async def _count(database, table) -> int:
    async with database.read() as session:
        return await session.scalar(select(func.count()).select_from(table)) or 0


async def _boxes(database) -> list[tuple[str, str, object, object]]:
    async with database.read() as session:
        rows = await session.scalars(select(Contact).order_by(Contact.id))
        return [(row.address, str(row.role), row.valid_from, row.valid_until) for row in rows]


async def _export(database, folder: Path, name: str = "export.csv") -> Path:
    async with database.read() as session:
        table = await sheets.rows(session, ROLL)
    (folder / name).unlink(missing_ok=True)
    sheets.write(folder / name, table)
    return folder / name


async def test_a_sheet_is_stored(database, tmp_path: Path):
    """Organizations, mailboxes with dates, and lists are stored as the sheet says, and each change is told."""
    changes = await imported(database, tmp_path, SHEET)
    assert (await _count(database, Organization), await _count(database, NamedList)) == (3, 2)
    assert await _boxes(database) == [
        ("a@n.example", "to", None, None),
        ("b@n.example", "cc", dt.date(2006, 1, 1), None),
        ("a@f.example", "to", None, None),
        ("b@f.example", "to", None, None),
        ("o@x.example", "to", None, dt.date(2006, 12, 31)),
    ]
    actions = [change.action for change in changes]
    assert actions.count("organization-added") == 3
    assert actions.count("contact-added") == 5
    assert actions.count("list-joined") == 2
    assert all(change.organization_id for change in changes)


async def test_an_address_beyond_ascii_is_stored_and_doubted(database, tmp_path: Path):
    """Before the @ it stays as it is, in form NFC, with a finding that stops nothing; a domain is kept as the DNS has it, without one."""
    sheet = HEAD + "1,Office,ngo,,,,,,Zoe\u0308@Bücher.example; Zoë <plain@bücher.example>,,,,,\n"
    found = await planned(database, tmp_path, sheet)
    assert [(one.code, one.severity.value) for one in found.findings] == [("address-beyond-ascii", "warning")]
    assert "'Zoë@xn--bcher-kva.example' has characters beyond a to z before the @" in found.findings[0].what
    await imported(database, tmp_path, sheet)
    addresses = ["Zoë@xn--bcher-kva.example", "plain@xn--bcher-kva.example"]
    assert [box[0] for box in await _boxes(database)] == addresses
    async with database.read() as session:
        told = await overview.check(session, ROLL, on=TODAY)
    assert [one.code for one in told if one.code == "address-beyond-ascii"] == ["address-beyond-ascii"]
    exported = await _export(database, tmp_path)
    assert all(one in exported.read_text(encoding="utf-8-sig") for one in addresses)
    again = await planned(database, tmp_path, exported.read_text(encoding="utf-8-sig"))
    assert not again.counts["changed"]


async def test_the_same_sheet_twice_changes_nothing(database, tmp_path: Path):
    """A second import of the same sheet leaves everything alone, down to the revision."""
    await imported(database, tmp_path, SHEET)
    async with database.read() as session:
        before = await revision(session)
    assert {step.verdict for step in (await planned(database, tmp_path, SHEET)).steps} == {Verdict.LEAVE}
    assert await imported(database, tmp_path, SHEET) == []
    async with database.read() as session:
        assert await revision(session) == before == 1


async def test_a_sheet_without_ids_twice_changes_nothing(database, tmp_path: Path):
    """Without ids an organization is found by State, seat, kind and name, however it is spelled."""
    text = "organization,kind,state,seat,address\nMission of Norway,mission,Norway,Geneva,a@n.example\nÉcole,ngo,,,e@x.example\n"
    await imported(database, tmp_path, text)
    again = (
        text.replace("Mission of Norway", "MISSION OF  NORWAY")
        .replace("Norway,Gen", "NOR,Gen")
        .replace("École", "école")
    )
    plan = await planned(database, tmp_path, again)
    assert [step.verdict for step in plan.steps] == [Verdict.CHANGE, Verdict.CHANGE]  # of the spelling, nothing else
    assert plan.counts["new mailboxes"] == 0
    assert await imported(database, tmp_path, text) == []


async def test_one_bad_cell_stores_nothing(database, tmp_path: Path):
    """With one bad cell among good ones, nothing at all is stored."""
    bad = SHEET.replace("o@x.example", "o@x")
    plan = await planned(database, tmp_path, bad)
    assert [line.partition(":")[0] for line in lines(plan)] == ["row 5, column address"]
    with pytest.raises(BadInput, match="row 5, column address"):
        await imported(database, tmp_path, bad)
    assert await _count(database, Organization) == 0


async def test_what_a_sheet_changes(database, tmp_path: Path):
    """Changed cells change what is stored; what the sheet lacks stays; new mailboxes are added."""
    await imported(database, tmp_path, SHEET)
    text = (
        "ID,Organization,Address,Role,Until\n1,Royal Mission of Norway,A@N.example,cc,2006-08-01\n1,,c@n.example,to,\n"
        "2,Mission de France,a@f.example,,\n"
    )
    plan = await planned(database, tmp_path, text)
    assert [(step.verdict, step.rows) for step in plan.steps] == [(Verdict.CHANGE, (2, 3)), (Verdict.LEAVE, (4,))]
    assert plan.steps[0].lines == (
        "name: Mission of Norway -> Royal Mission of Norway",
        "A@n.example: address a@n.example -> A@n.example",
        "A@n.example: role to -> cc",
        "A@n.example: valid_until none -> 2006-08-01",
        "new mailbox c@n.example (to)",
    )
    await imported(database, tmp_path, text)
    assert ("A@n.example", "cc", None, dt.date(2006, 8, 1)) in await _boxes(database)
    async with database.read() as session:
        row = await organizations.find(session, "Royal mission of Norway")
        assert (row.salutation, row.languages, row.seat) == ("Excellency", ["en"], "geneva")
    assert await _count(database, Contact) == 6


async def test_a_blank_cell_clears_where_the_column_is_there(database, tmp_path: Path):
    """A blank salutation clears it if the sheet has the column, and leaves it alone if it has not."""
    await imported(database, tmp_path, SHEET)
    await imported(database, tmp_path, "id,address,salutation\n1,a@n.example,\n")
    async with database.read() as session:
        row = await organizations.find(session, "1")
        assert (row.salutation, row.languages) == (None, ["en"])


async def test_names_can_be_swapped(database, tmp_path: Path):
    """Two organizations may change names with each other in one sheet."""
    text = "id,organization,kind,address\n1,One,ngo,a@x.example\n2,Two,ngo,b@x.example\n"
    await imported(database, tmp_path, text)
    await imported(database, tmp_path, text.replace("One", "X").replace("Two", "One").replace("X,", "Two,"))
    async with database.read() as session:
        assert [(await organizations.find(session, name)).sheet_id for name in ("One", "Two")] == ["2", "1"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1,Mission of Sweden,mission,SWE,Geneva,,,,s@s.example,,,,,", "of another State or kind"),
        ("9,,,,,,,,s@s.example,,,,,", "the cell is empty"),
        ("3,Office,ngo,,,note-verbale,,,o@x.example,,,,,", "a note verbale goes only to"),
        ("1,Mission de France,mission,FRA,Geneva,,,,a@n.example,,,,,", "of another State or kind"),
        ("4,Sun,ngo,,,,,,s@s.example,,,,,\n3,Sun,ngo,,,,,,o@x.example,,,,,", "the same State, seat, kind and name"),
    ],
)
async def test_what_contradicts_the_stored_is_named(database, tmp_path: Path, row: str, said: str):
    """A row that says another thing of a known id, or too little of a new one, is a finding."""
    await imported(database, tmp_path, SHEET)
    found = lines(await planned(database, tmp_path, f"{HEAD}{row}\n"))
    assert found
    assert any(said in line and line.startswith("row ") for line in found), found


async def test_renaming_into_another_is_refused(database, tmp_path: Path):
    """An organization can't take the place of another by its name."""
    await imported(database, tmp_path, "id,organization,kind,address\n1,One,ngo,a@x.example\n2,Two,ngo,b@x.example\n")
    found = lines(await planned(database, tmp_path, "id,organization,kind,address\n1,two,ngo,a@x.example\n"))
    assert "Two has this State, seat, kind and name already" in found[0]


async def test_replacing_a_list(database, tmp_path: Path):
    """With --replace, what the sheet lacks leaves the list: mailboxes end, organizations on no other list are retired."""
    text = (
        "organization,kind,address,lists\nOne,ngo,a@x.example; old@x.example,observers\nTwo,ngo,b@x.example,observers\n"
        "Three,ngo,c@x.example,observers; friends\nFour,ngo,d@x.example,friends\n"
    )
    await imported(database, tmp_path, text)
    new = "organization,kind,address\nOne,ngo,a@x.example\nFive,ngo,e@x.example\n"
    plan = await planned(database, tmp_path, new, replace="Observers")
    assert {step.name: step.verdict for step in plan.steps} == {
        "One": Verdict.CHANGE,
        "Five": Verdict.ADD,
        "Two": Verdict.RETIRE,
        "Three": Verdict.CHANGE,
    }
    changes = await imported(database, tmp_path, new, replace="observers")
    assert {change.action for change in changes} >= {
        "organization-retired",
        "list-left",
        "list-joined",
        "contact-changed",
    }
    assert ("old@x.example", "to", None, dt.date(2006, 7, 6)) in await _boxes(database)
    async with database.read() as session:
        two = await organizations.find(session, "Two")
        assert two.retired_on == TODAY
        members = await session.scalars(
            select(Organization.name)
            .join(Membership, Membership.organization_id == Organization.id)
            .join(NamedList, NamedList.id == Membership.list_id)
            .where(NamedList.name == "observers")
        )
        assert set(members) == {"One", "Five"}
    assert await imported(database, tmp_path, new, replace="observers") == []
    back = await imported(database, tmp_path, "organization,kind,address\nTwo,ngo,b@x.example\n")
    assert [change.action for change in back] == ["organization-revived"]


async def test_replacing_an_unknown_list(database, tmp_path: Path):
    """A mistyped list is not taken for an empty one."""
    await imported(database, tmp_path, SHEET)
    with pytest.raises(NotFound, match="Perhaps observers is meant"):
        await planned(database, tmp_path, SHEET, replace="observer")


@pytest.mark.parametrize("name", ["export.csv", "export.xlsx"])
async def test_an_export_imports_to_no_change(database, tmp_path: Path, name: str):
    """What is exported can be imported again, here without a change, and elsewhere to the same contacts."""
    hostile = HEAD + (
        '4,=cmd|\' /C calc\'!A0,ngo,,,,,+1 (Dear),-oQ/x@x.example,@home,,,,\n5,\'Quoted,ngo,,,,,\'=x,q@x.example,"A, ""B""",,,,\n'
    )
    await imported(database, tmp_path, SHEET)
    await imported(database, tmp_path, hostile)
    file = await _export(database, tmp_path, name)
    plan_of = check(read(file), ROLL)
    assert lines(plan_of) == []
    async with database.read() as session:
        plan = await service.plan(session, plan_of, today=TODAY)
    assert {step.verdict for step in plan.steps} == {Verdict.LEAVE}
    if name.endswith(".csv"):
        cells = [cell for line in file.read_text("utf-8-sig").splitlines() for cell in line.split(",")]
        assert not any(cell.lstrip('"')[:1] in "=+-@" for cell in cells if cell.lstrip('"'))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(min_size=1, max_size=25), min_size=1, max_size=4))
@example(["q-\uad06pq"])  # a syllable that folding takes apart
async def test_any_name_survives_export_and_import(database, tmp_path: Path, names: list[str]):
    """Whatever names organizations have, exporting and importing changes none of them."""
    async with database.write() as session:
        for name in names:
            clean = organizations.tidy(name)
            one = organizations.Particulars(clean, OrganizationKind.NGO, salutation=clean or None)
            try:
                await organizations.add(session, one)
            except BadInput:
                continue
    for ending in ("csv", "xlsx"):
        found = check(read(await _export(database, tmp_path, f"e.{ending}")), ROLL)
        async with database.read() as session:
            plan = await service.plan(session, found, today=TODAY)
        assert lines(plan) == []
        assert [step.lines for step in plan.steps if step.verdict is not Verdict.LEAVE] == []


async def test_changes_go_to_the_register(database, tmp_path: Path, clock):
    """The history of an organization is read back from the home's chain."""
    for text in (SHEET, SHEET.replace("b@n.example", "c@n.example")):
        async with database.write() as session:
            plan = await service.plan(session, checked(tmp_path, text), today=TODAY)
            changes = await service.apply(session, plan)
            await register.record(session, changes, by="A. Clerk", at=clock.now(), source="sheet.csv")
    async with database.read() as session:
        norway = await organizations.find(session, "1")
        told = await register.history(session, norway.id)
    assert [(one.change.action, one.by) for one in told] == [
        ("organization-added", "A. Clerk"),
        ("contact-added", "A. Clerk"),
        ("contact-added", "A. Clerk"),
        ("contact-added", "A. Clerk"),
    ]
    assert told[-1].change.after["address"] == "c@n.example"


async def test_the_demonstrations_sheet(database, tmp_path: Path):
    """The shipped sheet is what the script makes of the roll, imports without a finding, and has the promised size."""
    made = tmp_path / "made.xlsx"
    made.write_bytes(sheets.workbook(make_sheet.rows(ROLL)))
    assert read(made).rows == read(make_sheet.SHEET).rows
    found = check(read(make_sheet.SHEET), ROLL)
    assert found.findings == ()
    async with database.write() as session:
        plan = await service.plan(session, found, today=TODAY)
        await service.apply(session, plan)
    assert (plan.counts["added"], plan.counts["new mailboxes"]) == (220, 391)
    rows = make_sheet.rows(ROLL)
    assert all(row["address"].endswith(".example") for row in rows)
    assert {row["state"] for row in rows if "state" in row} == {
        state.name() for state in ROLL.states if state.iso3 not in make_sheet.NOWHERE
    }
    assert len(make_sheet.NOWHERE) == 7
