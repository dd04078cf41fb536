"""Which file system a home is on, and what the doctor says of clocks and disks."""

import datetime as dt
from pathlib import Path

import pytest

from mailer import checkup
from mailer.app import open_app
from mailer.checkup import Light
from mailer.clock import ManualClock, SystemClock
from mailer.dispatch import sending
from mailer.errors import CannotDo
from mailer.homes import First, make, network_file_system, settings_text
from mailer.settings.loader import load

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb1 /home/local\\040disk ext4 rw 0 0
//server/share /mnt/share cifs rw 0 0
me@server: /mnt/far fuse.sshfs rw 0 0
/dev/sdc1 /mnt/usb fuseblk rw 0 0
broken
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/srv/chancery", None),
        ("/home/office/chancery", "nfs4"),
        ("/homework", None),
        ("/home/local disk/chancery", None),
        ("/mnt/share/x", "cifs"),
        ("/mnt/far/x", "fuse.sshfs"),
        ("/mnt/usb/x", None),
    ],
)
def test_network_drives_are_known(place: str, kind: str | None):
    """A folder is judged by the innermost mount that it is in."""
    assert network_file_system(Path(place), MOUNTS) == kind


def test_this_machines_own_mounts_can_be_read(tmp_path: Path):
    """Tests run on a local disk, and the system's own list of mounts says so."""
    assert network_file_system(tmp_path / "not" / "yet") is None


@pytest.mark.parametrize(
    ("now", "light"), [(dt.datetime(1970, 1, 1, tzinfo=dt.UTC), Light.RED), (SystemClock().now(), Light.GREEN)]
)
def test_a_clock_that_was_never_set_is_red(now: dt.datetime, light: Light):
    """A clock before this program's own making was never set."""
    assert checkup.time(ManualClock(now)).light is light


@pytest.mark.parametrize(
    "first",
    [
        First(),
        First(host="smtp.example.org"),
        First(preset="google", username="x@y.example"),
        First(
            preset="microsoft365", username='q"u\\o\x7fte'.replace("\x7f", ""), ca_file="/etc/ssl/own ca.pem", port=465
        ),
    ],
)
def test_the_settings_of_a_new_home_load(tmp_path: Path, first: First):
    """Whatever `init` is told, the file that it writes is right."""
    (tmp_path / "chancery.toml").write_text(settings_text(first), encoding="utf-8")
    relay = load(tmp_path, {}).settings.relays["main"]
    assert relay.username == (first.username or (None if first.host else "circulars"))
    assert relay.port == (first.port or 587)
    assert relay.ca_file == first.ca_file


async def test_a_home_that_came_to_lie_on_a_network_drive_is_refused(tmp_path: Path):
    """Opening it is one error that names the drive and the mend; on a disk of this machine it opens."""
    await make(tmp_path / "home", First())
    settings = load(tmp_path / "home", {}).settings
    far = f"/dev/sda1 / ext4 rw 0 0\nserver:/export {tmp_path} nfs4 rw 0 0\n"
    with pytest.raises(CannotDo, match=r"the home is on a network drive \(nfs4\).*Move it to a disk of this machine"):
        async with open_app(tmp_path / "home", settings, by="anna", mounts=far):
            pass
    async with open_app(tmp_path / "home", settings, by="anna") as app:
        assert app.home == tmp_path / "home"


async def test_a_journal_on_a_network_drive_is_refused(tmp_path: Path):
    """Whatever the database is, a flight journal that another machine holds proves nothing: nothing is sent."""
    await make(tmp_path / "home", First())
    settings = load(tmp_path / "home", {}).settings
    far = f"/dev/sda1 / ext4 rw 0 0\nserver:/export {tmp_path}/home/journal fuse.sshfs rw 0 0\n"
    async with open_app(tmp_path / "home", settings, by="anna", mounts=far) as app:
        with pytest.raises(CannotDo, match=r"the flight journal is on a network drive \(fuse.sshfs\)"):
            async with sending(app, what="test", mounts=far):
                pass
        assert not (tmp_path / "home" / "chancery.lock").exists()
