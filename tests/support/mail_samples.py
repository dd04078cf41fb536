"""Letters to vary, and our own list of what people and attackers put into fields."""

import datetime as dt
from dataclasses import replace
from typing import Any

from mailer.mime.message import Message, head
from mailer.mime.parts import Shared, boundary_for

BOUNDARY = boundary_for("7/en")
GENEVA = dt.timezone(dt.timedelta(hours=2))
PLAIN = Message(
    sender_name="Secretariat",
    sender_address="circulars@secretariat.example",
    reply_to="secretariat@secretariat.example",
    to=(("Permanent Mission of Norland", "mission@norland.example"),),
    cc=(),
    subject="Informal meeting",
    date=dt.datetime(2006, 7, 7, 10, 0, 5, tzinfo=GENEVA),
    message_id="<7.1@secretariat.example>",
    language="en",
    html="<p>Excellency,</p>",
    text="Excellency,",
)

#: no header may ever take these
REFUSED_VALUES = {
    "CRLF": "Meeting\r\nBcc: spy@else.example",
    "LF": "Meeting\nBcc: spy@else.example",
    "CR": "Meeting\rBcc: spy@else.example",
    "folded": "Meeting\r\n Bcc: spy@else.example",
    "end of head": "Meeting\r\n\r\nanother body",
    "final LF": "Meeting\n",
    "NUL": "Mee\x00ting",
    "VT": "Meeting\x0bBcc: spy@else.example",
    "FF": "Meeting\x0cBcc: spy@else.example",
    "tab": "Meeting\tBcc: spy@else.example",
    "DEL": "Meeting\x7f",
    "NEL": "Meeting\x85Bcc: spy@else.example",
    "line separator": "Meeting\u2028Bcc: spy@else.example",
    "paragraph separator": "Meeting\u2029Bcc: spy@else.example",
    "high surrogate": "Meeting\ud83d",
    "low surrogate": "\udcccMeeting",
    "8-bit byte smuggled in": "Meeting\udc8a",
}

#: odd, but text: what is read is what was written
ODD_VALUES = {
    "encoded line break": "Meeting =?utf-8?q?=0D=0ABcc=3A_spy=40else=2Eexample?= today",
    "encoded in base64": "=?utf-8?b?QmNjOiBzcHk=?=",
    "opened only": "Why =? so",
    "with an emoji": "Meeting \U0001f4ce=?UTF-8?Q?=0A?=Bcc: spy@else.example",
    "percent": "Meeting%0d%0aBcc:spy@else.example",
    "one long word": "w" * 2500,
    "long accents": "\u00e9" * 1200,
    "long Chinese": "\u4f1a\u8b70" * 400,
    "combining": "e\u0301" * 200,
    "bidi": "\u202egnp.exe\u202c",
    "Arabic": "\u0627\u0644\u0628\u0639\u062b\u0629 \u0627\u0644\u062f\u0627\u0626\u0645\u0629\u060c \u062c\u0646\u064a\u0641",
    "a header by itself": "Bcc: spy@else.example",
    "only a dot": ".",
    "looks like an end": "--=_ --",
    "Russian of two lines": "\u041f\u043e\u0441\u0442\u043e\u044f\u043d\u043d\u043e\u0435 \u043f\u0440\u0435\u0434\u0441\u0442\u0430\u0432\u0438\u0442\u0435\u043b\u044c\u0441\u0442\u0432\u043e "
    * 6
    + "1",
    "79 columns": "word " * 15 + "last",
}

ODD_NAMES = {
    **ODD_VALUES,
    "comma": "Permanent Mission of Norland, Geneva",
    "dots and parentheses": "H.E. Ms. O'Hara-Lind, Jr. (Chair)",
    "quotation marks": 'Anna "Annie" Lind',
    "backslash": "Lind\\Norland",
    "only quotation marks": '"' * 60,
    "brackets": "Norland <mission@else.example>",
    "address": "mission@else.example, spy",
    "group": "a: b; c",
    "long with commas": "Permanent Mission of the Republic of Norland to the Office, to the Conference, and to other bodies, Geneva (new premises)",
    "accents and commas": "Représentation permanente de la Norlande, auprès de l'Office, à Genève; bureau «B»",
}

BODIES = {
    "empty": "",
    "no last line end": "end",
    "many line ends": "a\n\n\n",
    "dots": ".\n..\n.first\nlast.\n.",
    "From": "From here\n\nFrom there\n>From",
    "mixed line ends": "a\r\nb\nc\rd\r\n\re\n\r",
    "bare CR": "a\rb\r",
    "blanks before line ends": "a \nb\t\n \n\t\nend ",
    "blank at column 76": "x" * 75 + " \n" + "x" * 74 + " \n" + "x" * 76 + " ",
    "dot at the break": "x" * 75 + "." * 200,
    "dots only": "." * 500,
    "From at the break": ("x" * 75 + "From ") * 4,
    "From all along": "From " * 100,
    "equals signs": "=" * 300,
    "escapes of our own": "=20=\n=3D=0D=0A.=0D=0A",
    "998": "y" * 998,
    "long": "z" * 6000,
    "accents": "\u00e9" * 500,
    "Russian": "\u041f\u0440\u0438\u0433\u043b\u0430\u0448\u0435\u043d\u0438\u0435.\n" * 30,
    "Arabic and Latin": "\u0627\u0644\u0628\u0639\u062b\u0629 (WMO) " * 30,
    "NUL and controls": "a\x00b\x01\x0b\x0c\x1b\x7f\x85c",
    "separators": "a\u2028.\u2028b\u2029.\u2029",
    "end of data": "hi\r\n.\r\nMAIL FROM:<a@else.example>\r\nRCPT TO:<b@else.example>\r\nDATA\r\n",
    "end of data by LF": "hi\n.\nMAIL FROM:<a@else.example>\n.\n",
    "end of data by CR": "hi\r.\rMAIL FROM:<a@else.example>\r.\r\n.\n",
    "escape where a dotted line is broken": "\n".join(f".{'x' * n}={'y' * 40}" for n in range(55, 76)),
    "our boundary": f"--{BOUNDARY}\n--{BOUNDARY}--\n--alt{BOUNDARY}--\n",
    "another boundary": "--===============1234567890==--\n",
    "emoji": "\U0001f4ce" * 400,
    "BOM": "\ufefftext",
}


def letter(shared: Shared | None = None, **changes: Any) -> bytes:
    """The bytes of the plain letter with *changes*."""
    return head(replace(PLAIN, **changes), BOUNDARY, shared) + (shared.data if shared else b"")
