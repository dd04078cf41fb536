"""Approval: freezes a draft and writes its letters, so that a kill at any moment loses nothing.

1. The check is made on one consistent view. What stops and is not waived stops here; nothing is written.
2. First transaction: the draft and the lists are still those that were checked; snapshot, plan, digests and waivers are stored, the
   state becomes `freezing`.
3. One transaction per batch of 500 letters (`circulars.rows`).
4. The rows are read back and their digests compared. Last transaction: the lists are still those of step 2, the state becomes
   `approved`. Where they are not, the rows are dropped and all starts anew with step 1.

`approve` of a circular that is `freezing` goes on at 3.
"""

import difflib
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, insert, select

from lists.changes import revision
from lists.findings import Finding
from lists.kinds import Severity
from mailer.circulars import rows
from mailer.circulars.checks import Checked, check, not_waived
from mailer.circulars.desk import Desk, find, name_of, refuse_held
from mailer.circulars.drafting import store_blob
from mailer.circulars.frozen import Frozen
from mailer.circulars.models import Circular, Letter, PlanBatch, Recipient, Snapshot, Waiver
from mailer.circulars.planning import BATCH
from mailer.circulars.states import CircularState
from mailer.clock import Clock
from mailer.database import Sessions
from mailer.errors import BadInput, CannotDo, Defect, NotAllowedNow, NotFound, NotPermitted
from mailer.register import chain

#: How often an approval starts anew because somebody works on the lists meanwhile.
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Approval:
    """What an approval came to.

    Attributes:
        stopped: findings that stop it; where there is one, nothing was done.
        findings: all that the check found; empty where a killed approval went on.
        by_audience, by_language: letters.
    """

    circular: Circular
    stopped: Sequence[Finding] = ()
    findings: Sequence[Finding] = ()
    letters: int = 0
    recipients: int = 0
    by_audience: dict[str, int] = field(default_factory=dict)
    by_language: dict[str, int] = field(default_factory=dict)
    not_addressed: Sequence[dict[str, str]] = ()


async def approve(
    desk: Desk,
    id_text: str | int,
    *,
    by: str,
    waive: Sequence[str] = (),
    why: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Approval:
    """Freeze a draft and write its letters; of one that a kill left half written, write the rest.

    Args:
        desk: where.
        id_text: number or reference.
        by: who approves.
        waive: findings to set aside, by `Finding.name` or by code for all of a kind.
        why: the reason; needed with *waive*.
        progress: told letters written and letters in all, before the first and as they are written.

    Raises:
        NotPermitted: a second person has to approve.
        NotAllowedNow: it is approved, sent or cancelled already, or somebody else was quicker to approve it.
        BadInput: a waiver names no finding, or one that can't be waived, or has no reason.
    """
    if waive and not (why or "").strip():
        raise BadInput("a reason is needed", where="--waive", remedy='say it with --why "..."')
    findings: list[Finding] = []
    quicker = False
    for _ in range(_TRIES):
        async with desk.database.read() as session:
            circular = await find(session, id_text)
            _permit(circular, desk, by)
            if quicker and circular.state == CircularState.FREEZING:
                raise rows.approved_by_another(circular.approved_by, name_of(circular))
        if circular.state == CircularState.DRAFT:
            circular, checked, plan = await look(desk, circular.id)
            begun = False
            try:
                findings = checked.findings
                new = _new_waivers(findings, waive, (why or "").strip(), circular)
                left = not_waived(findings, {*checked.waived, *new})
                begun = not left and await _begin(desk, circular, checked, plan, new, by)
            finally:
                if not begun:
                    await plan.discard()
            if left:
                return Approval(circular, left, findings, not_addressed=checked.not_addressed)
            quicker = not begun
            if quicker:  # or the draft or the lists were changed meanwhile: then look again
                continue
        await _write_rows(desk.database, circular.id, progress)
        if await seal(desk.database, desk.clock, circular.id, by=by):
            return await _told(desk, circular.id, findings)
    raise CannotDo(
        "the contacts or lists keep changing while it is being approved", where=name_of(circular), remedy="try again"
    )


async def look(desk: Desk, circular_id: int) -> tuple[Circular, Checked, rows.Plan]:
    """Check a draft, and plan its letters on the way; all on one consistent view."""
    plan = rows.Plan(desk.database, circular_id)
    try:
        async with desk.database.read() as session:
            circular = await find(session, circular_id)
            checked = await check(session, circular, desk, keep=plan)
    except BaseException:
        await plan.discard()
        raise
    plan.finish()
    return circular, checked, plan


def _permit(circular: Circular, desk: Desk, by: str) -> None:
    refuse_held(circular)
    if circular.parent_id is not None and circular.state != CircularState.FREEZING:
        raise NotAllowedNow("it was approved with its circular", where=name_of(circular))
    if circular.state not in {CircularState.DRAFT, CircularState.FREEZING}:
        raise NotAllowedNow(
            f"it is {circular.state.value} already" if circular.state != CircularState.CANCELLED else "it is cancelled",
            where=name_of(circular),
        )
    if desk.settings.approval.two_people and by.strip().casefold() == circular.drafted_by.strip().casefold():
        raise NotPermitted(
            f"{circular.drafted_by} drafted it, and the settings ask that somebody else approves",
            where=name_of(circular),
            remedy="have another coordinator approve it (--by NAME)",
        )


def _new_waivers(findings: Iterable[Finding], waive: Sequence[str], why: str, circular: Circular) -> dict[str, str]:
    """What is waived now: the name of each finding that is meant, with the reason.

    Raises:
        BadInput: a name fits no finding, or one that can't be waived.
    """
    new: dict[str, str] = {}
    for name in dict.fromkeys(waive):
        meant = [one for one in findings if name in {one.name, one.code}]
        if not meant:
            names = [one.name for one in findings if one.severity is Severity.WAIVABLE]
            near = difflib.get_close_matches(name, names, n=1) or names[:1]
            raise NotFound(
                f"the check finds no {name!r}",
                where=name_of(circular),
                remedy=f"did you mean {near[0]}" if near else "nothing needs to be waived",
            )
        if not any(one.severity is Severity.WAIVABLE for one in meant):
            raise BadInput(
                f"{name} can't be waived ({meant[0].severity.value})",
                where=name_of(circular),
                remedy=meant[0].remedy or None,
            )
        new |= {one.name: why for one in meant if one.severity is Severity.WAIVABLE}
    return new


async def _begin(desk: Desk, seen: Circular, checked: Checked, plan: rows.Plan, new: dict[str, str], by: str) -> bool:
    """The first transaction; False where draft or lists are no longer those that were checked."""
    prepared, now = checked.prepared, desk.clock.now()
    frozen, resolved = prepared.frozen, prepared.resolved
    if frozen is None or resolved is None:
        raise Defect("a draft without findings could not be composed", where=name_of(seen))
    async with desk.database.write() as session:
        circular = await find(session, seen.id)
        same = circular.state == CircularState.DRAFT and circular.draft == seen.draft
        if not same or await revision(session) != resolved.revision or not await plan.store(session):
            return False
        for finding, why in new.items():
            await session.execute(
                insert(Waiver).values(
                    circular_id=circular.id,
                    draft_digest=prepared.document.digest,
                    finding=finding,
                    why=why,
                    by=by,
                    at=now,
                )
            )
            subject = {"finding": finding, "why": why, "draft_digest": prepared.document.digest}
            await chain.append(session, chain.chain_of(circular.id), "finding-waived", subject, by=by, at=now)
        for sha256, data in prepared.files.items():
            await store_blob(session, data, sha256)
        await rows.store_snapshot(
            session,
            circular.id,
            document=frozen.document,
            batches=plan.batches,
            not_addressed=checked.not_addressed,
            mailboxes_of=prepared.on,
        )
        circular.state, circular.approved_by = CircularState.FREEZING, by
        circular.text_digest, circular.mailbox_digest = plan.digests.text, plan.digests.mailboxes
        circular.lists_revision = resolved.revision
    return True


async def _write_rows(database: Sessions, circular_id: int, progress: Callable[[int, int], None] | None) -> None:
    async with database.read() as session:
        batches = await session.scalar(select(Snapshot.batches).where(Snapshot.circular_id == circular_id)) or 0
        left = await session.scalar(select(func.count()).where(PlanBatch.circular_id == circular_id)) or 0
    done = (batches - left) * BATCH
    if progress is not None:
        progress(done, max(done, (batches - 1) * BATCH + 1))
    while written := await rows.write_next(database, circular_id, rows.TOGETHER):
        done += written
        if progress is not None:
            progress(done, max(done, (batches - 1) * BATCH + 1))


async def seal(database: Sessions, clock: Clock, circular_id: int, *, by: str) -> bool:
    """The last transaction: compare the rows with what was to be written, and let the circular be `approved`.

    Returns:
        False where the lists changed meanwhile: the rows were dropped, and the circular is a draft again. (A reminder takes its
        mailboxes as they were at its first transaction.)

    Raises:
        Defect: the rows are not those of the digest; they were dropped.
    """
    async with database.read() as session:
        circular = await find(session, circular_id)
        if circular.state == CircularState.APPROVED:
            return True  # another process has finished it
        rest = await session.get(Snapshot, circular_id)
        if rest is None:
            return False
        document = rest.document
        digests, letters = await rows.digests_of_rows(session, circular_id, Frozen(document, {}).digest)
        recipients = await session.scalar(select(func.count()).where(Recipient.circular_id == circular_id)) or 0
    same = (digests.text, digests.mailboxes) == (circular.text_digest, circular.mailbox_digest)
    now = clock.now()
    async with database.write() as session:
        circular = await find(session, circular_id)
        if circular.state == CircularState.APPROVED:
            return True
        if circular.state != CircularState.FREEZING:
            return False
        if same and (circular.parent_id is not None or await revision(session) == circular.lists_revision):
            circular.state, circular.approved_at = CircularState.APPROVED, now
            subject = {
                "reference": circular.reference,
                "letters": letters,
                "recipients": recipients,
                "text_digest": circular.text_digest,
                "mailbox_digest": circular.mailbox_digest,
                "lists_revision": circular.lists_revision,
                "composer": document["composer"],
                "rest_digest": rows.rest_digest(rest.not_addressed, rest.mailboxes_of.isoformat(), rest.batches),
            }
            who = circular.approved_by or by
            await chain.append(session, chain.chain_of(circular_id), "circular-approved", subject, by=who, at=now)
            return True
        await rows.drop(session, circular_id)
        circular.state, circular.approved_by = CircularState.DRAFT, None
        circular.text_digest = circular.mailbox_digest = circular.lists_revision = None
    if not same:
        raise Defect("the letters that were written are not those that were checked", where=name_of(circular))
    return False


async def _told(desk: Desk, circular_id: int, findings: Sequence[Finding]) -> Approval:
    async with desk.database.read() as session:
        circular = await find(session, circular_id)
        by_audience: Tally[str] = Tally()
        by_language: Tally[str] = Tally()
        counted = await session.execute(
            select(Letter.audience, Letter.language, func.count())
            .where(Letter.circular_id == circular_id)
            .group_by(Letter.audience, Letter.language)
            .order_by(func.min(Letter.position))
        )
        for audience, language, count in counted:
            by_audience[audience] += count
            by_language[language] += count
        recipients = await session.scalar(select(func.count()).where(Recipient.circular_id == circular_id)) or 0
        unaddressed = await session.scalar(select(Snapshot.not_addressed).where(Snapshot.circular_id == circular_id))
    return Approval(
        circular,
        findings=findings,
        letters=by_audience.total(),
        recipients=recipients,
        by_audience=dict(by_audience),
        by_language=dict(by_language),
        not_addressed=unaddressed or (),
    )
