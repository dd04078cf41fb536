"""The verbs on circulars, up to the approval; sending them is delivery's.

Each is in the module of its step: `drafting`, `checks`, `approval`, `reminders`, `starting`, `summary`.
"""

from mailer.circulars.approval import Approval, approve
from mailer.circulars.checks import Checked, check, row_of
from mailer.circulars.desk import Desk, find, name_of
from mailer.circulars.drafting import Updated, cancel_before_sending, new, update_from_folder
from mailer.circulars.reminders import freeze_reminder
from mailer.circulars.starting import start_folder, start_from

__all__ = [
    "Approval",
    "Checked",
    "Desk",
    "Updated",
    "approve",
    "cancel_before_sending",
    "check",
    "find",
    "freeze_reminder",
    "name_of",
    "new",
    "row_of",
    "start_folder",
    "start_from",
    "update_from_folder",
]
