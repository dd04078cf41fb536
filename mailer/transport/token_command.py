"""An access token from a program of the user's own.

- The program is run without a shell, in the home, in a process group of its own, with nothing to read.
- What it prints is used and never shown, and its errors go nowhere: either may hold a secret. What is told is how it ended.
- It has `WAIT` seconds and `oauth.MOST` octets; then it is killed, and whatever it started with it. A helper that it leaves behind
  after it ended well is left alone, even one that still holds its output open.
"""

import asyncio
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mailer.transport import oauth
from mailer.transport.base import Scope
from mailer.transport.oauth import NoToken

#: seconds that the program may take, and between looks at whether it has ended
WAIT, _LOOK = 30.0, 0.05


async def run(command: Sequence[str], home: Path, where: str, *, wait: float = WAIT) -> str:
    """The token that *command* prints as its only line.

    Args:
        command: program and arguments.
        home: the folder that it runs in.
        where: the setting, for remedies.
        wait: seconds that it may take.

    Raises:
        NoToken: it can't be run, fails, hangs, or prints no token.
    """
    try:
        process = subprocess.Popen(  # noqa: ASYNC220, S603 - it returns at once; the program is the settings' own
            list(command),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise NoToken(
            f"the program that gives the access token can't be run ({oauth.plain_words(command[0])}: {reason.lower()})",
            f"Give the program with its full path in {where}",
            Scope.HOLD,
        ) from error
    try:
        printed, code = await asyncio.to_thread(_read, process, wait)
    except asyncio.CancelledError:
        _kill(process)  # the thread sees the end of its output, and tidies up
        raise
    if (said := _why_not(printed, code)) is None:
        return printed.decode("ascii").strip()
    raise NoToken(
        f"the program that gives the access token {said}",
        f"Run the program of {where} by hand, as the user that runs this one: it has to print a token and nothing else",
        Scope.RELAY,
    )


def _why_not(printed: bytes, code: int | None) -> str | None:
    """What is wrong with a program's output and end (None: it was killed by us); None where the output is a token."""
    if len(printed) > oauth.MOST:
        return "printed far more than a token"
    if code is None:
        return "did not end in time"
    if code:
        return f"failed (it ended with {code})" if code > 0 else f"was killed (by signal {-code})"
    text = printed.decode("ascii", "replace").strip()
    if not text:
        return "printed nothing"
    if len(text.splitlines()) > 1:
        return "printed more than one line"
    return None if oauth.is_token(text) else "printed something that is no access token"


def _read(process: subprocess.Popen[bytes], wait: float) -> tuple[bytes, int | None]:
    """What *process* prints, and its exit code; None: it had to be killed. In a thread."""
    end, printed = time.monotonic() + wait, b""
    assert process.stdout is not None  # noqa: S101 - for the type checker
    with process.stdout, selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while time.monotonic() < end and len(printed) <= oauth.MOST:
            ended = process.poll() is not None
            if selector.select(_LOOK):
                more = os.read(process.stdout.fileno(), oauth.MOST)
                printed += more
                if not more:
                    break
            elif ended:
                break
        if len(printed) <= oauth.MOST:
            with suppress(subprocess.TimeoutExpired):
                return printed, process.wait(max(0.0, end - time.monotonic()))
        _kill(process)
        process.wait()
        return printed, None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End *process* and its group, unless it has ended by itself."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
