"""The command `chancery`, and `python -m mailer`.

A command loads some 600 modules before it does anything, and none of them goes again. Looking through them for cycles took a fifth
of its start, and at its end as long again; so the collector waits until they are there (`context.settle`), and then lets them be.
"""

import gc
import os
import sys


def main() -> int:
    """Run one command; its exit code."""
    gc.disable()
    os.environ.setdefault(
        "PYDANTIC_DISABLE_PLUGINS", "__all__"
    )  # we have none, and all that is installed would be searched
    try:
        from mailer.cli import main as command
    except KeyboardInterrupt:  # pressed before anything has begun
        return 130
    try:
        return command()
    finally:
        gc.freeze()  # the interpreter looks through the rest before it ends


if __name__ == "__main__":
    sys.exit(main())
