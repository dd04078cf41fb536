"""Who acts: at a terminal a declaration, not a proof."""

import getpass
import os
from collections.abc import Mapping

from mailer.errors import BadInput

_LONGEST = 120


def acting(by: str | None, environment: Mapping[str, str] | None = None) -> str:
    """The coordinator's name: *by*, else `CHANCERY_COORDINATOR`, else the login.

    Raises:
        BadInput: the name is empty, too long, or has control characters.
    """
    env = os.environ if environment is None else environment
    name = by if by is not None else env.get("CHANCERY_COORDINATOR")
    if name is None:
        try:
            name = getpass.getuser()
        except (KeyError, OSError):  # a container's nameless user
            name = f"uid {os.getuid()}"
    name = name.strip()
    if not name or len(name) > _LONGEST or not name.isprintable():
        raise BadInput("a coordinator's name is 1 to 120 printable characters", where="--by")
    return name
