"""Adding, changing, retiring, correcting, ending; each returns what changed and counts it."""

import datetime as dt

import pytest

from lists import contacts, organizations, overview
from lists.changes import revision
from lists.contacts import Mail
from lists.errors import BadInput, NotAllowedNow, NotFound
from lists.kinds import Form, OrganizationKind, Role
from lists.organizations import Particulars
from tests.support.sheets import ROLL, TODAY

NORWAY = Particulars("Permanent Mission of Norway", OrganizationKind.MISSION, "NOR", "geneva", languages=("en",))


async def test_an_organizations_life(database):
    """Each verb returns the change with before and after, and moves the revision on by one."""
    async with database.write() as session:
        row, added = await organizations.add(session, NORWAY)
        assert (added.action, added.after["name"], row.sheet_id) == (
            "organization-added",
            NORWAY.name,
            "nor-geneva-mission",
        )
        new = Particulars("Mission of Norway", NORWAY.kind, "NOR", "geneva", Form.NOTE_VERBALE, ("en",), sheet_id="n1")
        changed = await organizations.change(session, row.id, new)
        assert changed is not None
        assert changed.before == {"name": NORWAY.name, "form": None, "sheet_id": "nor-geneva-mission"}
        assert changed.after == {"name": "Mission of Norway", "form": "note-verbale", "sheet_id": "n1"}
        assert await organizations.change(session, row.id, new) is None
        contact, told = await contacts.add(session, row.id, Mail("A@N.Example", '"The Chancery"'))
        assert (contact.address, contact.name, told.after["address"]) == ("A@n.example", "The Chancery", "A@n.example")
        corrected = await contacts.correct(session, contact.id, "b@n.example")
        assert corrected is not None
        assert (corrected.action, corrected.before) == ("contact-corrected", {"address": "A@n.example"})
        assert await contacts.correct(session, contact.id, "b@n.example") is None
        role = await contacts.change(session, contact.id, role=Role.CC)
        assert role is not None
        assert role.words == "address: b@n.example; role: to -> cc"
        ended = await contacts.end(session, contact.id, TODAY)
        assert ended is not None
        assert ended.after["valid_until"] == "2006-07-07"
        retired = await organizations.retire(session, row.id, TODAY)
        assert retired.after == {"retired_on": "2006-07-07"}
        revived = await organizations.revive(session, row.id)
        assert revived.before == {"retired_on": "2006-07-07"}
        assert await revision(session) == 8


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (Particulars("", OrganizationKind.NGO), "the name is missing"),
        (Particulars("x" * 301, OrganizationKind.NGO), "too long"),
        (Particulars("a\x07", OrganizationKind.NGO), "control character"),
        (Particulars("X", OrganizationKind.MISSION, None, "geneva"), "needs its State"),
        (Particulars("X", OrganizationKind.MISSION, "NOR"), "needs its seat"),
        (Particulars("X", OrganizationKind.NGO, "NOR"), "speaks for no State"),
        (Particulars("X", OrganizationKind.NGO, form=Form.NOTE_VERBALE), "note verbale"),
        (Particulars("X", OrganizationKind.NGO, languages=("de",)), "unknown language 'de'"),
        (Particulars("X", OrganizationKind.NGO, sheet_id="y" * 65), "an id is"),
        (Particulars("permanent mission of NORWAY", OrganizationKind.MISSION, "NOR", "geneva"), "there is already"),
    ],
)
async def test_wrong_particulars_are_refused(database, one: Particulars, said: str):
    """What does not fit together is refused in one line; nothing is stored."""
    async with database.write() as session:
        await organizations.add(session, NORWAY)
        with pytest.raises(BadInput, match=said):
            await organizations.add(session, one)


async def test_wrong_contacts_are_refused(database):
    """A bad address, a repeated one, an end before the beginning, and what does not exist are refused."""
    async with database.write() as session:
        row, _ = await organizations.add(session, NORWAY)
        contact, _ = await contacts.add(session, row.id, Mail("a@n.example", valid_from=TODAY))
        await contacts.add(session, row.id, Mail("b@n.example"))
        with pytest.raises(BadInput, match="not an e-mail address"):
            await contacts.add(session, row.id, Mail("a@n"))
        with pytest.raises(BadInput, match="has this address already"):
            await contacts.add(session, row.id, Mail("A@N.example"))
        with pytest.raises(BadInput, match="another of its mailboxes"):
            await contacts.correct(session, contact.id, "b@n.example")
        with pytest.raises(BadInput, match="before it begins"):
            await contacts.end(session, contact.id, TODAY - dt.timedelta(days=1))
        with pytest.raises(NotFound):
            await contacts.end(session, 99, TODAY)
        with pytest.raises(NotFound):
            await contacts.add(session, 99, Mail("a@n.example"))
        with pytest.raises(NotAllowedNow):
            await organizations.revive(session, row.id)


async def test_finding_an_organization(database):
    """It is found by its id, by ours, by its name whatever the case; else near names are told."""
    async with database.write() as session:
        row, _ = await organizations.add(session, NORWAY)
        for text in ("nor-geneva-mission", str(row.id), "PERMANENT mission of norway"):
            assert (await organizations.find(session, text)).id == row.id
        with pytest.raises(NotFound, match="Perhaps Permanent Mission of Norway is meant"):
            await organizations.find(session, "Permanent Mission of Norwy")
        with pytest.raises(NotFound, match="chancery contacts list"):
            await organizations.find(session, "9" * 40)


async def test_finding_an_organization_by_its_state(database):
    """A State, or words of the name, find the organization if it is the only one; else the ids are told."""
    async with database.write() as session:
        row, _ = await organizations.add(session, NORWAY)
        for text in ("Norvège", "NOR", "mission norway"):
            assert (await organizations.find(session, text, ROLL)).id == row.id
        with pytest.raises(NotFound, match="no organization is called"):
            await organizations.find(session, "Kenya", ROLL)
        other = Particulars(
            name="Permanent Delegation of Norway", kind=OrganizationKind.MISSION, state_iso3="NOR", seat="vienna"
        )
        await organizations.add(session, other)
        with pytest.raises(
            NotFound, match=r"'Norway' may be one of 2 organizations\. Use its id: nor-geneva-mission or"
        ):
            await organizations.find(session, "Norway", ROLL)


async def test_what_check_says(database):
    """The check of stored contacts names organizations without a mailbox, shared addresses, and States without one."""
    async with database.write() as session:
        row, _ = await organizations.add(session, NORWAY)
        await contacts.add(session, row.id, Mail("a@n.example", role=Role.CC))
        other, _ = await organizations.add(session, Particulars("Office", OrganizationKind.NGO))
        await contacts.add(session, other.id, Mail("A@n.example"))
        await organizations.add(session, Particulars("Empty", OrganizationKind.NGO))
        findings = await overview.check(session, ROLL, on=TODAY)
    codes = [finding.code for finding in findings]
    assert codes[:3] == ["only-cc", "no-mailbox", "shared-address"]
    assert codes.count("state-without-mailbox") == 195


async def test_listing(database):
    """The listing counts the mailboxes of the day and can be narrowed to a State or a list."""
    async with database.write() as session:
        row, _ = await organizations.add(session, NORWAY)
        await contacts.add(session, row.id, Mail("a@n.example", valid_until=TODAY))
        await organizations.add(session, Particulars("Office", OrganizationKind.NGO))
        rows = await overview.listing(session, ROLL, on=TODAY)
        assert [(one["organization"], one["mailboxes"]) for one in rows] == [(NORWAY.name, 1), ("Office", 0)]
        assert len(await overview.listing(session, ROLL, on=TODAY, state_iso3="NOR")) == 1
        with pytest.raises(NotFound):
            await overview.listing(session, ROLL, on=TODAY, list_name="none")
        shown = await overview.one(session, ROLL, "Office", on=TODAY)
        assert shown["mailboxes"] == []
