"""From drafts to a plan against what is stored: who is added, changed, left alone, retired. Reads; writes nothing.

Rules. An organization is found by its id, else by State, seat, kind and name. What the sheet has no column for stays as it is;
where it has the column, a blank cell clears form, languages and salutation. Mailboxes are found by their address; those that
the sheet lacks stay, and so do organizations, unless the sheet replaces a list: then mailboxes of its organizations that it lacks
end yesterday, and organizations on the list that it lacks leave the list, and are retired if they are on no other.
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncSession

from lists.address import same
from lists.contacts import COLUMNS, Mail, is_right
from lists.findings import Finding
from lists.importing.checking import Checked, Draft, missing, wrong
from lists.importing.sheet import error
from lists.importing.stored import Stored, StoredContact, StoredOrganization, ids_near, organizations_by, read_stored
from lists.kinds import OrganizationKind, Severity
from lists.organizations import Particulars, difference, make_id, match_key
from lists.roll import fold
from lists.words import day


class Verdict(StrEnum):
    """What an import does to an organization."""

    ADD = "added"
    CHANGE = "changed"
    LEAVE = "left alone"
    RETIRE = "retired"


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to one organization.

    Attributes:
        verdict: in a word.
        name: of the organization.
        rows: of the sheet; empty for one that the sheet lacks.
        organization_id: of a stored one.
        particulars: as they will be; None: not touched.
        revive: it was retired and comes back.
        retire: it is retired.
        add: new mailboxes.
        change: (contact id, as it will be) of mailboxes that change or end.
        join: names of lists it comes on.
        leave: names of lists it leaves.
        lines: all that, in words.
    """

    verdict: Verdict
    name: str
    rows: tuple[int, ...] = ()
    organization_id: int | None = None
    particulars: Particulars | None = None
    revive: bool = False
    retire: bool = False
    add: tuple[Mail, ...] = ()
    change: tuple[tuple[int, Mail], ...] = ()
    join: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What an import will do, and what stands against it."""

    steps: tuple[Step, ...]
    findings: tuple[Finding, ...]
    today: dt.date

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that stop it."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.ERROR)

    @property
    def counts(self) -> dict[str, int]:
        """How many organizations are added, changed, left alone, retired; and how many mailboxes are new."""
        counted = {verdict.value: sum(step.verdict is verdict for step in self.steps) for verdict in Verdict}
        return counted | {"new mailboxes": sum(len(step.add) for step in self.steps)}


async def plan(session: AsyncSession, checked: Checked, *, today: dt.date, replace_list: str | None = None) -> Plan:
    """What storing the drafts would do.

    Args:
        session: to read by.
        checked: the sheet.
        today: the day on which what the sheet lacks ends.
        replace_list: the sheet is the whole of this list.

    Raises:
        NotFound: there is no such list; near names are in the message.
    """
    stored = await read_stored(
        session,
        sheet_ids=[draft.sheet_id for draft in checked.drafts if draft.sheet_id],
        keys=[key for draft in checked.drafts if (key := _key(draft))],
        replace_list=replace_list,
    )
    whole = stored.whole
    findings = list(checked.findings)
    wanted = set(_wanted_ids(checked, stored))
    stored.taken = await ids_near(session, wanted)
    if not stored.taken:
        stored.asked |= wanted
    stored.taken.update(draft.sheet_id for draft in checked.drafts if draft.sheet_id)
    steps: list[Step] = []
    owners: dict[int, Draft] = {}
    for draft in checked.drafts:
        row = _match(draft, stored)
        if row is not None and (other := owners.setdefault(row.id, draft)) is not draft:
            what = f"this is {row.name}, as {other.where} is"
            findings.append(error("same-organization", draft.where, what, "give both rows the same id"))
            continue
        step = _step(draft, row, columns=checked.columns, stored=stored, whole=whole, today=today, findings=findings)
        if step is not None:
            steps.append(step)
    if whole is not None and not any(finding.severity is Severity.ERROR for finding in findings):
        steps.extend(_absent(stored, whole, {step.organization_id for step in steps}))
    findings.extend(_collisions(steps, await _neighbours(session, steps, stored)))
    return Plan(tuple(steps), tuple(findings), today)


def _told(draft: Draft) -> Particulars | None:
    """What a draft says of what its organization is; None where it does not say enough."""
    if draft.key is None:
        return None
    values = draft.values
    return Particulars(values["name"], values["kind"], values.get("state_iso3"), values.get("seat"))


def _key(draft: Draft) -> str | None:
    """What finds the stored organization of a draft without an id."""
    one = _told(draft)
    return match_key(one) if one else None


def _wanted_ids(checked: Checked, stored: Stored) -> Iterator[str]:
    """The ids that organizations without one would like best."""
    for draft in checked.drafts:
        if not draft.sheet_id and (one := _told(draft)):
            row = stored.by_key.get(match_key(one))
            if row is None or row.sheet_id is None:
                yield make_id(one, set())


async def _neighbours(session: AsyncSession, steps: Sequence[Step], stored: Stored) -> list[StoredOrganization]:
    """The stored organizations that stay as they are and have the key or the id of one that changes or is new."""
    touched = [step.particulars for step in steps if step.particulars is not None]
    moving = {step.organization_id for step in steps if step.particulars is not None}
    ids, keys = {one.sheet_id for one in touched if one.sheet_id}, {match_key(one) for one in touched}
    more = await organizations_by(session, sheet_ids=ids - stored.asked, keys=keys - stored.asked)
    known = [row for row in stored.organizations.values() if row.match_key in keys or row.sheet_id in ids]
    return list({row.id: row for row in (*known, *more) if row.id not in moving}.values())


def _match(draft: Draft, stored: Stored) -> StoredOrganization | None:
    if draft.sheet_id and (row := stored.by_id.get(draft.sheet_id)):
        return row
    key = _key(draft)
    return stored.by_key.get(key) if key else None


def _step(
    draft: Draft,
    row: StoredOrganization | None,
    *,
    columns: frozenset[str],
    stored: Stored,
    whole: str | None,
    today: dt.date,
    findings: list[Finding],
) -> Step | None:
    old = row.particulars if row is not None else None
    if old is None and (lacking := missing(draft) if draft.sheet_id else []):
        known = {finding.where for finding in findings}
        findings.extend(one for one in lacking if one.where not in known)
        return None
    if old is None and draft.key is None:
        return None  # a finding says why
    new = _combined(draft, old, columns)
    if draft.sheet_id:
        known = {finding.where for finding in findings if finding.severity is Severity.ERROR}
        findings.extend(one for one in wrong(draft, new) if one.where not in known)
    if old is not None and row is not None and (old.kind, old.state_iso3) != (new.kind, new.state_iso3):
        what = f"the id {draft.sheet_id} is {row.name}'s here, of another State or kind"
        findings.append(
            error("another-organization", draft.where, what, "give the row an id of its own, or correct it")
        )
        return None
    if new.sheet_id is None:
        new = replace(new, sheet_id=make_id(new, stored.taken))
        stored.taken.add(new.sheet_id or "")
    named = [stored.lists.setdefault(fold(name), name) for name in (*draft.lists, *((whole,) if whole else ()))]
    lists = tuple(dict.fromkeys(named))
    if row is None or old is None:
        lines = tuple(f"new mailbox {mail.address} ({mail.role})" for mail, _ in draft.mails)
        mails = tuple(mail for mail, _ in draft.mails)
        return Step(Verdict.ADD, new.name, tuple(draft.rows), None, new, add=mails, join=lists, lines=lines)
    return _changed(
        draft, row, old, new, columns=columns, stored=stored, lists=lists, whole=whole is not None, today=today
    )


def _combined(draft: Draft, old: Particulars | None, columns: frozenset[str]) -> Particulars:
    """The particulars as they will be: the sheet's, and what it has no column or word for as it was."""
    said = draft.values

    def optional(column: str, attribute: str, nothing: object) -> object:
        if attribute in said:
            return said[attribute]
        return getattr(old, attribute) if old is not None and column not in columns else nothing

    def kept(attribute: str) -> object:
        return said.get(attribute, getattr(old, attribute, None))

    return Particulars(
        name=str(kept("name")),
        kind=OrganizationKind(str(kept("kind"))),
        state_iso3=kept("state_iso3"),  # type: ignore[arg-type]  # values of a draft are checked by its reader
        seat=kept("seat"),  # type: ignore[arg-type]
        form=optional("form", "form", None),  # type: ignore[arg-type]
        languages=optional("languages", "languages", ()),  # type: ignore[arg-type]
        salutation=optional("salutation", "salutation", None),  # type: ignore[arg-type]
        sheet_id=draft.sheet_id or (old.sheet_id if old is not None else None),
    )


def _changed(
    draft: Draft,
    row: StoredOrganization,
    old: Particulars,
    new: Particulars,
    *,
    columns: frozenset[str],
    stored: Stored,
    lists: Sequence[str],
    whole: bool,
    today: dt.date,
) -> Step:
    before, after = difference(old, new)
    lines = [f"{key}: {_said(before[key])} -> {_said(after[key])}" for key in before]
    add, change, told = _mailboxes(draft, stored.contacts.get(row.id, []), columns, whole=whole, today=today)
    join = tuple(name for name in lists if name not in stored.memberships.get(row.id, set()))
    revive = row.retired_on is not None
    if row.retired_on is not None:
        lines.append(f"comes back (was retired on {day(row.retired_on)})")
    lines.extend([*told, *(f"comes on the list {name}" for name in join)])
    return Step(
        verdict=Verdict.CHANGE if lines else Verdict.LEAVE,
        name=new.name,
        rows=tuple(draft.rows),
        organization_id=row.id,
        particulars=new if before else None,
        revive=revive,
        add=add,
        change=change,
        join=join,
        lines=tuple(lines),
    )


def _said(value: object) -> str:
    if not value:
        return "none"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _mailboxes(
    draft: Draft, contacts: Iterable[StoredContact], columns: frozenset[str], *, whole: bool, today: dt.date
) -> tuple[tuple[Mail, ...], tuple[tuple[int, Mail], ...], list[str]]:
    known: Mapping[str, StoredContact] = {same(contact.address): contact for contact in contacts}
    add: list[Mail] = []
    change: list[tuple[int, Mail]] = []
    lines: list[str] = []
    for mail, _ in draft.mails:
        contact = known.get(same(mail.address))
        if contact is None:
            add.append(mail)
            lines.append(f"new mailbox {mail.address} ({mail.role})")
            continue
        old = contact.mail
        new = Mail(
            mail.address,
            mail.name if mail.name or "name" in columns else old.name,
            mail.role if "role" in columns else old.role,
            mail.valid_from if "from" in columns else old.valid_from,
            mail.valid_until if "until" in columns else old.valid_until,
        )
        if differs := [column for column in COLUMNS if getattr(old, column) != getattr(new, column)]:
            change.append((contact.id, new))
            lines.extend(
                f"{mail.address}: {column} {_said(getattr(old, column))} -> {_said(getattr(new, column))}"
                for column in differs
            )
    if whole:
        in_sheet = {same(mail.address) for mail, _ in draft.mails}
        yesterday = today - dt.timedelta(days=1)
        for key, contact in known.items():
            old = contact.mail
            if key not in in_sheet and (is_right(old, today) or (old.valid_from and old.valid_from > today)):
                first = min(old.valid_from, yesterday) if old.valid_from else None
                change.append((contact.id, old._replace(valid_from=first, valid_until=yesterday)))
                lines.append(f"{old.address} ends (the sheet lacks it)")
    return tuple(add), tuple(change), lines


def _absent(stored: Stored, whole: str, present: set[int | None]) -> list[Step]:
    """What becomes of the organizations on the replaced list that the sheet lacks."""
    steps = []
    for row in stored.organizations.values():
        on = stored.memberships.get(row.id, set())
        if whole not in on or row.id in present:
            continue
        others = sorted(on - {whole})
        retire = not others and row.retired_on is None
        line = f"leaves the list {whole}" + ("; retired, being on no other" if retire else "")
        verdict = Verdict.RETIRE if retire else Verdict.CHANGE
        steps.append(Step(verdict, row.name, (), row.id, retire=retire, leave=(whole,), lines=(line,)))
    return steps


def _collisions(steps: Sequence[Step], neighbours: Iterable[StoredOrganization]) -> list[Finding]:
    """Two organizations that would have the same State, seat, kind and name, or the same id."""
    keys: dict[str, str] = {}
    ids: dict[str, str] = {}
    for row in neighbours:
        keys[row.match_key] = row.name
        if row.sheet_id:
            ids[row.sheet_id] = row.name
    found = []
    for step in steps:
        if step.particulars is None:
            continue
        where = f"row {step.rows[0]}"
        if other := keys.get(match_key(step.particulars)):
            what = f"{other} has this State, seat, kind and name already"
            found.append(error("same-organization", where, what, "use that one's id, or another name"))
        elif step.particulars.sheet_id and (other := ids.get(step.particulars.sheet_id)):
            found.append(error("same-id", where, f"{other} has this id already", "give the row an id of its own"))
        keys[match_key(step.particulars)] = step.name
        ids[step.particulars.sheet_id or ""] = step.name
    return found
