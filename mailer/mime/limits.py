"""What an enclosure may be called, what it is, and how large a letter may grow.

`check_filename` refuses what would be dangerous on some reader's machine; `enclosure_findings` and the others tell what a person
should know before sending. The visible name of an accepted file is never changed.
"""

import re
import unicodedata
from pathlib import PurePosixPath

from lists.errors import BadInput
from lists.findings import Finding
from lists.kinds import Severity

#: octets of UTF-8: the longest name that common file systems take
LONGEST_NAME = 255
#: Gmail cuts a letter's HTML after this many octets and shows a link instead
CLIPPED_HTML = 102 * 1024

OCTETS = "application/octet-stream"
_OFFICE = "application/vnd.openxmlformats-officedocument"
_OASIS = "application/vnd.oasis.opendocument"
#: our own table: the machine's (`mimetypes`) differs from one installation to the next, and with it the bytes of a letter
MEDIA_TYPES = {
    "pdf": "application/pdf",
    "docx": f"{_OFFICE}.wordprocessingml.document",
    "xlsx": f"{_OFFICE}.spreadsheetml.sheet",
    "pptx": f"{_OFFICE}.presentationml.presentation",
    "doc": "application/msword",
    "xls": "application/vnd.ms-excel",
    "ppt": "application/vnd.ms-powerpoint",
    "odt": f"{_OASIS}.text",
    "ods": f"{_OASIS}.spreadsheet",
    "odp": f"{_OASIS}.presentation",
    "rtf": "application/rtf",
    "txt": "text/plain; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "ics": "text/calendar; charset=utf-8",
    "vcf": "text/vcard; charset=utf-8",
    "xml": "application/xml",
    "json": "application/json",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "svg": "image/svg+xml",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "zip": "application/zip",
}

#: what mail servers refuse because it runs when opened
PROGRAMS = frozenset(
    re.findall(
        r"\w+",
        "ade adp apk app appx bat chm cmd com cpl dll dmg exe hta inf ins iso jar js jse lnk mde msc msi msp mst "
        "ps1 reg scr sct shb sys vb vbe vbs vhd wsc wsf wsh xll",
    )
)
#: documents with macros
MACROS = frozenset(re.findall(r"\w+", "docm dotm xlsm xltm xlam pptm potm ppam ppsm sldm"))

_DEVICE = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?:\s*\..*)?", re.IGNORECASE | re.DOTALL
)
_WINDOWS_DROPS = re.compile(r'[<>"|?*]')
#: joins letters in Persian and in emoji; harmless, unlike the rest of its class (bidi overrides, invisible marks)
_JOINERS = frozenset("\u200c\u200d")


def check_filename(name: str, where: str | None = None) -> str:
    """*name*, if a reader can save a file under it without harm.

    Raises:
        BadInput: it holds a path, control or invisible characters, is a device of Windows, starts with a dot, ends with a dot or a
            blank (Windows drops them, and with them the visible ending), or is longer than 255 octets.
    """
    if why := _unfit(name):
        shown = "".join(c if c.isprintable() else f"<U+{ord(c):04X}>" for c in name[:80])
        raise BadInput(f"the file name {shown!r} {why}", where=where, remedy="Rename the file")
    return name


def media_type_of(filename: str) -> str:
    """The media type by the name's ending; `application/octet-stream` where we do not know it."""
    return MEDIA_TYPES.get(_ending(filename), OCTETS)


def enclosure_findings(filename: str, where: str) -> list[Finding]:
    """What to know of an enclosure of this name before it is sent; the name's faults are findings here, not errors."""
    if why := _unfit(filename):
        shown = "".join(c if c.isprintable() else f"<U+{ord(c):04X}>" for c in filename[:80])
        return [
            Finding(
                "file-name", Severity.ERROR, where, f"the file name {shown!r} {why}", "Rename the file", subject=shown
            )
        ]
    findings = []
    ending = _ending(filename)
    if ending in PROGRAMS:
        what = f"{filename} is a program; mail servers refuse letters that carry one"
        findings.append(
            Finding(
                "enclosure-program", Severity.ERROR, where, what, "Enclose a document (PDF) instead", subject=filename
            )
        )
    elif ending in MACROS:
        what = f"{filename} may hold macros; many mail servers refuse it or set it aside"
        findings.append(
            Finding(
                "enclosure-macros", Severity.WARNING, where, what, "Save it without macros, or as PDF", subject=filename
            )
        )
    elif ending not in MEDIA_TYPES:
        what = f"we do not know what kind of file {filename} is"
        findings.append(
            Finding("enclosure-kind", Severity.WARNING, where, what, "Enclose a PDF if you can", subject=filename)
        )
    if found := _WINDOWS_DROPS.search(filename):
        what = f"{filename} holds {found.group()}, which Windows does not allow in file names"
        findings.append(
            Finding("file-name-windows", Severity.WARNING, where, what, "Rename the file", subject=filename)
        )
    return findings


def encoded_size(octets: int) -> int:
    """Octets that a document of *octets* takes in a letter: base64 in lines of 76 columns, CRLF."""
    columns = (octets + 2) // 3 * 4
    return columns + (columns + 75) // 76 * 2


def size_findings(octets: int, limit: int, where: str) -> list[Finding]:
    """A finding if a letter of *octets* (head and shared part) is over the relay's *limit* in octets; 0 is no limit.

    Letters over nine tenths of it are warned of: relays further on add headers of their own.
    """
    if not limit or octets * 10 <= limit * 9:
        return []
    what = f"a letter is {_megabytes(octets)} with its enclosures; our mail server takes {_megabytes(limit)}"
    if octets > limit:
        return [
            Finding(
                "letter-too-large", Severity.ERROR, where, what, "Make the enclosures smaller, or send a link to them"
            )
        ]
    return [Finding("letter-nearly-too-large", Severity.WARNING, where, what, "Make the enclosures smaller if you can")]


def html_findings(html: str, where: str) -> list[Finding]:
    """A warning if some readers will see only the beginning of the letter."""
    octets = len(html.encode(errors="replace"))
    if octets <= CLIPPED_HTML:
        return []
    what = f"the formatted text is {octets // 1024} KB; Gmail shows only the first {CLIPPED_HTML // 1024} KB"
    return [Finding("html-clipped", Severity.WARNING, where, what, "Shorten the text, or enclose it as a document")]


def _unfit(name: str) -> str:
    """Why nobody should be sent a file of this name; "" if they may."""
    if not name.strip(" ."):
        return "is empty"
    for c in name:
        category = unicodedata.category(c)
        if category in {"Cc", "Cs", "Zl", "Zp"}:
            return f"holds a control character (U+{ord(c):04X})"
        if category == "Cf" and c not in _JOINERS:
            return f"holds an invisible character that can hide its true ending (U+{ord(c):04X})"
    if "/" in name or "\\" in name or ":" in name:
        return "holds a path (/, \\ or :)"
    if name.startswith("."):
        return "starts with a dot, so that it is hidden or takes effect by itself"
    if name.endswith((".", " ")):
        return "ends with a dot or a blank, which Windows drops"
    if _DEVICE.fullmatch(name):
        return "is the name of a device on Windows"
    if len(name.encode()) > LONGEST_NAME:
        return f"is longer than {LONGEST_NAME} octets"
    return ""


def _ending(filename: str) -> str:
    return PurePosixPath(filename).suffix[1:].lower()


def _megabytes(octets: int) -> str:
    return f"{octets / 1_000_000:.1f} MB"
