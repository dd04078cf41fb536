"""A home: the folder with the settings, the database, the templates and the journals of one office. Making one, and finding it safe."""

import json
import os
import stat
import tempfile
from dataclasses import replace
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from lists.records import record
from mailer.database import Database
from mailer.errors import BadInput, CannotDo, SettingsError
from mailer.settings import Settings, loader

DATABASE_FILE = "chancery.sqlite3"
PASSWORD_FILE = "database.password"  # noqa: S105 - a file's name
_SECRET_MOST = 4096
FOLDERS = ("templates", "circulars")
#: What may be in a folder that a broken-off `init` left.
_OURS = {*FOLDERS, PASSWORD_FILE, DATABASE_FILE, f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm"}
#: File systems of other machines: their locks and their memory maps can't be relied on (sqlite.org/wal.html).
_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "coda", "ceph", "glusterfs", "lustre", "ocfs2", "gfs2", "beegfs"}
) | {
    "davfs",
    "9p",
    "vboxsf",
    "vmhgfs",
    "prl_fs",
}
_NETWORK_FUSE = (
    "sshfs",
    "rclone",
    "gluster",
    "s3fs",
    "davfs",
    "ceph",
    "vmhgfs",
    "gvfs",
    "onedrive",
    "google-drive",
    "portal",
)


@record
class First:
    """What `init` is told of the first relay and sender; None: an example stands in its place."""

    preset: str | None = None
    host: str | None = None
    port: int | None = None
    username: str | None = None
    ca_file: str | None = None
    sender: str | None = None
    #: where the rows are to be, if not in the home; a password in it goes into a file of its own
    database: str | None = None
    own_password: bool = False


def database_url(home: Path, settings: Settings) -> URL | str:
    """Where the rows are; a SQLite file named without a full path is in the home.

    Raises:
        SettingsError: the file of the database's password can't be read, or others can read it.
    """
    secret = settings.database.url
    if secret is None:
        return URL.create("sqlite", database=str(home / DATABASE_FILE))
    url = secret.get_secret_value()
    name = url.removeprefix("sqlite:///")
    if name != url:
        return URL.create("sqlite", database=str(home / name))
    if (file := settings.database.password_file) is None:
        return url
    try:
        return make_url(url).set(password=_password(home / file))
    except ArgumentError:
        return url  # told by whoever opens it


def _password(path: Path) -> str:
    """The only line of a file that is closed to others."""
    where = "database.password_file"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_SECRET_MOST).decode("utf-8-sig").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise SettingsError(
            f"{path} can't be read ({why})", where=where, remedy="put the password there, as its only line"
        ) from error
    if not text or "\n" in text:
        raise SettingsError(
            f"{path} has to hold one line", where=where, remedy="put the password there, as its only line"
        )
    if mode & stat.S_IRWXO:
        raise SettingsError(f"{path} is open to others on this machine", where=where, remedy=f"chmod 600 {path}")
    return text


def is_home(folder: Path) -> bool:
    """Whether *folder* is a home."""
    return (folder / loader.FILE).is_file()


async def make(folder: Path, first: First) -> list[str]:
    """Make a home, or complete one that lacks folders or tables; what is there is left as it is.

    Returns:
        What was made, in words; empty: it was all there.

    Raises:
        BadInput: the folder holds other things, or what *first* says is wrong.
        CannotDo: the folder can't be written, or is on a network drive.
        SchemaMismatch: it has a newer version's database.
    """
    from mailer.migrations import runner

    there = is_home(folder)
    first, password = _without_password(first)
    text = "" if there else settings_text(first)
    settings = Settings()
    if not there:
        _refuse_others(folder)
        settings = _try_out(text)
    if kind := network_file_system(folder):
        raise CannotDo(
            f"it is on a network drive ({kind})", where=str(folder), remedy="make the home on a disk of this machine"
        )
    made: list[str] = []
    try:
        _make_folders(folder, made, new=not there)
        if password is not None and not there:
            write_private(folder / PASSWORD_FILE, f"{password}\n")
        settings = loader.load(folder).settings if there else settings
        database = Database(database_url(folder, settings))
        try:
            before, after = await runner.upgrade(database)
        finally:
            await database.close()
        if before != after:
            made.append("the database")
        if not there:  # last and whole: only now is it a home
            write_private(folder / loader.FILE, text)
            made.append(loader.FILE)
    except OSError as error:
        raise CannotDo(
            f"it can't be written to ({error.strerror})", where=str(folder), remedy="choose a folder that is yours"
        ) from error
    return made


def _make_folders(folder: Path, made: list[str], *, new: bool) -> None:
    if new:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    for name in FOLDERS:
        if not (folder / name).is_dir():
            (folder / name).mkdir(mode=0o700)
            made.append(f"{name}/")


def _refuse_others(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise BadInput("this is a file, not a folder", where=str(folder), remedy="name a folder")
    try:
        others = sorted(path.name for path in folder.iterdir() if path.name not in _OURS) if folder.is_dir() else []
    except OSError as error:
        raise CannotDo(f"it can't be read ({error.strerror})", where=str(folder)) from error
    if others:
        raise BadInput(
            f"the folder holds other things ({', '.join(others[:3])}{' ...' if len(others) > 3 else ''})",  # noqa: PLR2004 - a few
            where=str(folder),
            remedy="name an empty or a new folder",
        )


def _without_password(first: First) -> tuple[First, str | None]:
    """What `init` was told, with the database's password apart."""
    if first.database is None:
        return first, None
    bare, password = without_password(first.database)
    return replace(first, database=bare, own_password=password is not None), password


def without_password(url: str) -> tuple[str, str | None]:
    """A database's URL as chancery.toml may hold it, and the password that was in it, if any.

    Raises:
        BadInput: it is no URL.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise BadInput(
            "it names no database",
            where="--database",
            remedy="write it as postgresql://USER@HOST/NAME, or sqlite:///chancery.sqlite3",
        ) from None
    if not parsed.password:
        return url, None
    bare = URL.create(parsed.drivername, parsed.username, None, parsed.host, parsed.port, parsed.database, parsed.query)
    return bare.render_as_string(), str(parsed.password)


def _try_out(text: str) -> Settings:
    """Load the settings before anything is made, so that a wrong option leaves nothing behind.

    Of the environment only the database counts: it may hold the password that no command line should.
    """
    variables = {key: value for key, value in os.environ.items() if key.startswith("CHANCERY_DATABASE__")}
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / loader.FILE).write_text(text, encoding="utf-8")
        loader.load(Path(scratch), {})
        return loader.load(Path(scratch), variables).settings


def write_private(path: Path, text: str) -> None:
    """Write *text* to a new file that only its owner can read; it is there whole or not at all."""
    scratch = path.with_name(f".{path.name}.new")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


def sync_folder(folder: Path) -> None:
    """Have the names in *folder* reach the disk."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def settings_text(first: First) -> str:
    """The `chancery.toml` of a new home: the least that it needs, with remarks."""
    login = first.username or (None if first.host else "circulars")
    host = first.host or ("" if first.preset in {"microsoft365", "google"} else "smtp.example.org")
    relay = [
        (
            f"preset = {_toml(first.preset or 'postfix')}",
            "postfix | microsoft365 | google: limits, TLS and login that fit",
        ),
        (f"host = {_toml(host)}", "") if host else ("# host", "the preset has it"),
        (f"port = {first.port}" if first.port else "# port = 587", 'port 465 goes with tls = "implicit"'),
        ('# tls = "starttls"', "implicit | starttls | none (none: this machine only)"),
        (
            f"ca_file = {_toml(first.ca_file)}" if first.ca_file else '# ca_file = "relay-ca.pem"',
            "the office's own authority",
        ),
        (f"username = {_toml(login)}" if login else '# username = "circulars"', ""),
        (("" if login else "# ") + 'password_file = "relay.password"', "holds the password as its only line"),
    ]
    if first.preset == "microsoft365":
        relay += [
            ("# [relays.main.oauth]", "by access token: uncomment these four, delete password_file"),
            ('# token_url = "https://login.microsoftonline.com/TENANT/oauth2/v2.0/token"', ""),
            ('# client_id = "..."', ""),
            ('# client_secret_file = "relay.secret"', ""),
        ]
    lines = "\n".join(f"{setting:<38} # {remark}" if remark else setting for setting, remark in relay)
    return f"""\
# Settings of this home. What is not here has its default: `chancery settings` shows all of them, and where each comes from.
# A text in "..." can differ by language: {{ en = "...", fr = "..." }}

[relays.main]                          # the mail server that takes our letters
{lines}

[senders.secretariat]                  # the mailbox that circulars leave from
name = "Secretariat"
address = {_toml(first.sender or "circulars@secretariat.example")}
# reply_to = "secretariat@secretariat.example"
# bounces = "bounces@secretariat.example"

[issuers.secretariat]                  # who speaks in a circular, as it is printed
name = "The Secretariat"
# capacity = {{ en = "...", fr = "..." }}
# letterhead = {{ en = "...", fr = "..." }}
# address_block = {{ en = "...", fr = "..." }}

{_database_text(first)}[approval]
two_people = false                     # true: someone other than the drafter approves
reference = "CIRC/{{year}}/{{number:03}}"
"""


def _database_text(first: First) -> str:
    if first.database is None:
        return ""
    return f"""\
[database]
url = {_toml(first.database)}
{"" if first.own_password else "# "}password_file = "{PASSWORD_FILE}"{" " * 6}# holds the password as its only line

"""


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def refuse_network(folder: Path, what: str, mounts: str | None = None) -> None:
    """Refuse to work on another machine's disk: neither locks nor the database's memory map can be relied on there.

    Args:
        folder: where *what* is.
        what: for the error: "the home", "the flight journal".
        mounts: as for `network_file_system`.

    Raises:
        CannotDo: another machine holds it.
    """
    if kind := network_file_system(folder, mounts):
        raise CannotDo(
            f"{what} is on a network drive ({kind}), where nothing can be sent without risk",
            where=str(folder),
            remedy="move it to a disk of this machine",
        )


def network_file_system(folder: Path, mounts: str | None = None) -> str | None:
    """The kind of file system under *folder*, if another machine holds it; None: it is local, or the system does not say.

    Args:
        folder: it, or its parents, may not exist yet.
        mounts: text of /proc/mounts; default: the system's.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
    place = folder.resolve()
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:  # noqa: PLR2004 - device, mount point, kind
            continue
        point = fields[1].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
        if place.is_relative_to(point) and len(point) >= best:
            best, kind = len(point), fields[2]
    fuse = kind.removeprefix("fuse.") if kind.startswith("fuse.") else ""
    return kind if kind in _NETWORK or any(name in fuse for name in _NETWORK_FUSE) else None
