"""A finding: something a person should know before a thing is done. Checks return findings; they never raise them."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from lists.errors import as_sentence
from lists.kinds import Severity
from lists.records import record


@record
class Finding:
    """One thing that is wrong, or may be.

    Attributes:
        code: a stable name such as `state-without-addressee`; with `subject` it is what a waiver names.
        severity: ERROR stops, WAIVABLE stops until waived with a reason, WARNING and NOTE do not stop.
        where: `letter.fr.md line 12`, `row 14, column address`, `France (FRA)`.
        what: what is wrong, in words for a coordinator, without a full stop.
        remedy: what to do, without a full stop.
        subject: which one, where the same code may occur several times (`FRA`).
    """

    code: str
    severity: Severity
    where: str
    what: str
    remedy: str = ""
    subject: str = ""

    @property
    def name(self) -> str:
        """What `--waive` takes: `state-without-addressee:FRA`, or the bare code for all of a kind."""
        return f"{self.code}:{self.subject}" if self.subject else self.code

    @property
    def line(self) -> str:
        """The finding as one line."""
        end = f". {as_sentence(self.remedy)}" if self.remedy else "."
        return f"{self.where}: {self.what}{end}"

    def as_dict(self) -> dict[str, Any]:
        """The finding as JSON shows it."""
        return {**asdict(self), "severity": self.severity.value, "name": self.name}


def stops(findings: Iterable[Finding]) -> list[Finding]:
    """Those that stop: errors, and what could be waived and is not."""
    return [f for f in findings if f.severity in {Severity.ERROR, Severity.WAIVABLE}]
