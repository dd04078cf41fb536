"""`make test` runs this first: Debian's packages that tests start servers from. Root installs them; others are told what is missing.

No server of the system is started: what a test needs it starts itself, on a free loopback port, in a folder of its own.
"""

# ruff: noqa: T201 - a command of its own

import os
import shutil
import subprocess
import sys
from pathlib import Path

#: package, a file or pattern that it brings, what it is for
PACKAGES = (
    ("postgresql", "/usr/lib/postgresql/*/bin/initdb", "storage tests on PostgreSQL"),
    ("postfix", "/usr/lib/postfix/sbin/master", "a circular through a real relay; smtp-source for the benchmark"),
    ("opendkim", "/usr/sbin/opendkim", "signatures verified by a second implementation"),
)
_POLICY = Path("/usr/sbin/policy-rc.d")


def missing() -> list[tuple[str, str]]:
    """Packages that are not here, with what they are for."""
    return [(name, why) for name, brings, why in PACKAGES if not list(Path("/").glob(brings.lstrip("/")))]


def install(names: list[str]) -> None:
    """Install by apt, without starting any server and without a cluster of the system's."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    ours = not _POLICY.exists()
    try:
        if ours:
            _POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")  # "starting is forbidden"
            _POLICY.chmod(0o755)
        subprocess.run(["apt-get", "-qq", "update"], check=True, env=environment)
        arguments = [
            "apt-get",
            "-qq",
            "-y",
            "-o",
            "DPkg::Lock::Timeout=300",
            "install",
            "--no-install-recommends",
            *names,
        ]
        subprocess.run(arguments, check=True, env=environment, stdout=subprocess.DEVNULL)
    finally:
        if ours:
            _POLICY.unlink(missing_ok=True)


def main() -> int:
    """Install what is missing, or say so; 0 if nothing is missing any more."""
    lacking = missing()
    if lacking and os.geteuid() == 0 and shutil.which("apt-get"):
        print("installing from Debian:", ", ".join(name for name, _ in lacking), flush=True)
        try:
            install([name for name, _ in lacking])
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"apt-get did not succeed: {error}", file=sys.stderr)
        lacking = missing()
    for name, why in lacking:
        print(f"missing: {name} ({why}); as root: apt-get install --no-install-recommends {name}", file=sys.stderr)
    return 3 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
