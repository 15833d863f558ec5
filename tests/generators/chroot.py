"""Commands in a root of their own."""

from __future__ import annotations

import subprocess
from pathlib import Path

#: A chroot with the mounts that a generator wants, which are gone when it ends.
ENTER = """\
mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && mount -t tmpfs tmp "$0/run" &&
exec chroot "$0" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C TMPDIR=/var/tmp sh -c "$1"
"""


def inside(root: Path, command: str) -> str:
    """What COMMAND says in a chroot; it must not fail."""
    done = subprocess.run(["unshare", "-m", "sh", "-c", ENTER, root, command], check=False, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout
