"""Commands in a root of their own, as its root user: with the rights of one, or in a user namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tinykmod.errors import TinykmodError

#: The mounts that an image generator wants, which are gone when the command ends. A user's namespace may bind what is
#: mounted, but mount no /proc of its own.
_ENTER = """\
mount --rbind /proc "$0/proc" && mount --rbind /dev "$0/dev" && mount -t tmpfs tmp "$0/run" || exit 125
exec chroot "$0" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C TMPDIR=/var/tmp sh -c "$1"
"""
_NOT_ENTERED = 125


def inside(root: Path, command: str) -> str:
    """What the shell COMMAND says, standard error too, in ROOT. Raises TinykmodError where it or its mounts fail."""
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    for program, package in (("unshare", "util-linux"), ("mount", "mount"), ("chroot", "coreutils")):
        if shutil.which(program, path=path) is None:
            raise TinykmodError(program, f"not installed (Debian: apt-get install {package})")
    done = subprocess.run([*unshare, "sh", "-c", _ENTER, str(root), command], check=False, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                          env={**os.environ, "PATH": path})  # fmt: skip
    said = done.stdout.strip().splitlines() or [f"exit code {done.returncode}"]
    if done.returncode == _NOT_ENTERED or (done.returncode and said[0].startswith("unshare:")):
        raise TinykmodError(root, f"takes root to enter, or namespaces that a user may make: {said[0]}")
    if done.returncode:
        raise TinykmodError(command.split(maxsplit=1)[0], said[-1])
    return done.stdout
