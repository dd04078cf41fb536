"""What the databases' own errors mean, and what to do: one line each, for SQLite and PostgreSQL.

Both give most errors a stable code (SQLite its name, PostgreSQL a SQLSTATE). A connection that PostgreSQL refuses comes without one:
then the driver's words are looked at, and where they are not English they are handed on as they are.
"""

from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from mailer.errors import DatabaseError

_FOLDER = "check that the folder exists and is yours"
_RIGHTS = "check the owner and the rights of the home"
_WAIT = "wait for it to end, then try again"
_FULL = "make room and try again; what was not written was not begun"
_URL = "correct database.url in chancery.toml, or CHANCERY_DATABASE__URL"
_PASSWORD = "correct the password in database.url, in database.password_file or in PGPASSFILE"  # noqa: S105 - a remedy
_RUNS = "check that the server runs and can be reached from here, then try again"
_GRANT = "have its administrator grant this user all rights on the database"

#: The code of an error begins with -> what it means, what to do.
_CODES = {
    "SQLITE_READONLY": ("it can't be written to", _RIGHTS),
    "SQLITE_CANTOPEN": ("it can't be opened", _FOLDER),
    "SQLITE_PERM": ("it can't be opened", _FOLDER),
    "SQLITE_AUTH": ("it can't be opened", _FOLDER),
    "SQLITE_BUSY": ("another process is writing to it", _WAIT),
    "SQLITE_LOCKED": ("another process is writing to it", _WAIT),
    "SQLITE_FULL": ("the disk is full", _FULL),
    "SQLITE_IOERR": ("the disk reports an error", "check the disk, and that there is room on it"),
    "SQLITE_NOTADB": ("it is damaged, or no database", "restore it from a backup"),
    "SQLITE_CORRUPT": ("it is damaged, or no database", "restore it from a backup"),
    # SQLSTATEs of PostgreSQL, from its manual, appendix A
    "08": ("the connection to it was lost", _RUNS),
    "22001": ("a text is too long for it", "shorten the text"),
    "22P05": ("a text holds a character that it can't keep (NUL)", "take it out of the text"),
    "22003": ("a number is too large for it", "correct the number"),
    "25006": ("it can only be read", "name the primary server, not a standby"),
    "25P03": ("the connection to it was lost", _RUNS),
    "28": ("the server does not let this user in", _PASSWORD),
    "3D000": ("there is no such database", f"have it made (`createdb`), or {_URL}"),
    "40": ("it was in another process's way, and nothing was written", "try again"),
    "42501": ("its user lacks the rights for this", _GRANT),
    "42P01": ("it has no tables yet", "run `chancery db upgrade`"),
    "53100": ("the disk is full", _FULL),
    "54000": ("a text is too long for it", "shorten the text"),
    "53300": ("the server takes no more connections", "wait, or have its limit raised (max_connections)"),
    "55P03": ("another process is writing to it", _WAIT),
    "57P": ("the connection to it was lost", _RUNS),
    "XX001": ("it is damaged", "restore it from a backup"),
    "XX002": ("it is damaged", "restore it from a backup"),
}
#: Words of a refused connection, or of an error without a code -> what they mean, what to do.
_WORDS = {
    "cannot contain nul": ("a text holds a character that it can't keep (NUL)", "take it out of the text"),
    "no such table": ("it has no tables yet", "run `chancery db upgrade`"),
    "password authentication failed": ("the password is wrong, or there is no such user", _PASSWORD),
    "no password supplied": ("the server asks for a password", _PASSWORD),
    "too many clients": ("the server takes no more connections", "wait, or have its limit raised (max_connections)"),
    "no pg_hba.conf entry": ("the server does not let this user in from here", "ask its administrator (pg_hba.conf)"),
    "is starting up": ("the server is only starting", "wait a moment, then try again"),
    "shutting down": ("the server is being stopped", _RUNS),
    "server closed the connection": ("the connection to it was lost", _RUNS),
    "connection is closed": ("the connection to it was lost", _RUNS),
    "connection is lost": ("the connection to it was lost", _RUNS),
    "connection refused": ("no server answers there", _RUNS),
    "no such file or directory": ("no server answers there", _RUNS),
    "timeout expired": ("no server answers there", _RUNS),
    "timed out": ("no server answers there", _RUNS),
    "could not translate host name": ("there is no host of that name", _URL),
    "name or service not known": ("there is no host of that name", _URL),
    "failed to resolve host": ("there is no host of that name", _URL),
}


def code_of(error: BaseException) -> str:
    """SQLite's name of an error, such as SQLITE_BUSY, or PostgreSQL's SQLSTATE; "" for any other."""
    cause = getattr(error, "orig", None)
    return str(getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or "")


def plain(error: SQLAlchemyError, where: str, *, reading: bool = False) -> DatabaseError:
    """The error in a person's words; *where* names the database, *reading* says that nothing was to be written."""
    code = code_of(error)
    cause = error.orig if isinstance(error, StatementError) and error.orig else error
    words = " ".join(str(cause).split("\n", maxsplit=1)[0].split())
    if reading and code in {"SQLITE_READONLY", "25006"}:
        return DatabaseError(
            "something tried to write where only reading is allowed", where=where, remedy="report this"
        )
    if isinstance(error, PoolTimeout):
        return DatabaseError("it is too busy", where=where, remedy=_WAIT)
    for beginning, (what, remedy) in _CODES.items():
        if code.startswith(beginning):
            return DatabaseError(what, where=where, remedy=remedy)
    small = str(cause).casefold()
    if not code:
        if 'database "' in small and "does not exist" in small:
            return DatabaseError(_CODES["3D000"][0], where=where, remedy=_CODES["3D000"][1])
        if 'role "' in small and "does not exist" in small:
            return DatabaseError("there is no such user", where=where, remedy=_URL)
        for sign, (what, remedy) in _WORDS.items():
            if sign in small:
                return DatabaseError(what, where=where, remedy=remedy)
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return DatabaseError(*_CODES["08"][:1], where=where, remedy=_RUNS)
    return DatabaseError(words or type(error).__name__, where=where)
