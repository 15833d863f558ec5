"""A kernel reads the firmware that is in its image."""

from __future__ import annotations

import pytest

from tinykmod.bench.disk import SENTINEL

UUID = "7b1c9e5e-0f4b-4d8e-9a41-3f2d8c6b1a02"

pytestmark = pytest.mark.vm


def test_the_kernel_reads_compressed_firmware_of_the_image(start, disk, kernel, run_tinykmod, tmp_path):
    """cfg80211 asks for a file as soon as it is loaded, and says whether it was not there or made no sense.

    rootdelay= keeps the image there for longer than that takes.
    """
    (tmp_path / "firmware").mkdir()
    (tmp_path / "firmware/regulatory.db").write_bytes(b"no rules")
    initrd = tmp_path / "initrd.img"
    done = run_tinykmod(
        "initramfs", "-b", kernel.root, "-o", initrd, "--add", "cfg80211", "--firmware", tmp_path / "firmware",
        "--why", kernel.release,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "tinykmod: cfg80211: firmware is missing: regulatory.db.p7s\n" in done.stderr
    assert "/lib/firmware/regulatory.db.xz: firmware of cfg80211\n" in done.stdout
    result = start(f"root=UUID={UUID} rd.driver.pre=cfg80211 rootdelay=4", disk(), initrd=initrd)
    assert SENTINEL in result.lines, result.tail(40)
    text = "\n".join(result.lines)
    # "firmware: failed to load regulatory.db (-2)" is in Debian's log as well; cfg80211 says what it got in the end.
    assert "cfg80211: loaded regulatory.db is malformed or signature is missing/invalid" in text, result.tail(40)
