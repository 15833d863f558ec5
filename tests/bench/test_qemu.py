from __future__ import annotations

import io
import time

import pytest

from tinykmod.bench.disk import DMESG_BEGIN, DMESG_END, TRACE_BEGIN, TRACE_END
from tinykmod.bench.machines import NO_DISK, Machine
from tinykmod.bench.qemu import boot
from tinykmod.errors import TinykmodError
from tinykmod.image import cpio

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def shell_image(tmp_path_factory, busybox):
    """shell_image(script): an initramfs whose /init is a busybox script."""

    def build(script):
        out = io.BytesIO()
        cpio.write(out, [
            cpio.directory("dev"), cpio.character_device("dev/console", 5, 1, 0o600),
            cpio.directory("bin"), cpio.regular("bin/busybox", busybox.read_bytes(), 0o755),
            cpio.regular("init", b"#!/bin/busybox sh\n" + script.encode(), 0o755),
        ])  # fmt: skip
        path = tmp_path_factory.mktemp("image") / "image"
        path.write_bytes(out.getvalue())
        return path

    return build


def test_console_trace_and_log_of_a_guest_that_powers_off(vmlinux, shell_image):
    """While it is lingered after a line: it has ended by itself then."""
    seen = []
    image = shell_image(f"""
echo ready
echo '{TRACE_BEGIN}'; echo '{{"t":1,"ev":"fallback","why":"none"}}'; echo '{TRACE_END}'
echo '{DMESG_BEGIN}'; /bin/busybox dmesg; echo '{DMESG_END}'
/bin/busybox poweroff -f
""")
    result = boot(vmlinux, image, machine=NO_DISK, on_line=seen.append, stop_on="^ready$", linger=120)
    assert result.ended == "poweroff", result.tail()
    assert result.trace == [{"t": 1, "ev": "fallback", "why": "none"}]
    assert any("Run /init as init process" in text for _, text in result.dmesg)
    assert result.dmesg[0][1].startswith("Linux version")
    assert seen == result.lines


def test_init_that_exits_is_a_panic(vmlinux, shell_image):
    result = boot(vmlinux, shell_image("exit 3"), machine=NO_DISK)
    assert result.ended == "panic", result.tail()
    assert result.trace is None


def test_stop_on_a_prompt_and_the_machine_is_still_there(vmlinux, shell_image):
    image = shell_image("printf 'ready> '; /bin/busybox sleep 1000")
    result = boot(vmlinux, image, machine=NO_DISK, stop_on="^ready>", linger=1)
    assert result.ended == "stop_on", result.tail()


def test_time_limit_holds(vmlinux, shell_image):
    started = time.monotonic()
    result = boot(vmlinux, shell_image("exit"), machine=NO_DISK, timeout=1)
    assert result.ended == "timeout"
    assert time.monotonic() - started < 10


def test_what_qemu_refuses_is_one_line(vmlinux, shell_image):
    with pytest.raises(TinykmodError) as caught:
        boot(vmlinux, shell_image("exit"), machine=Machine("odd", ("-M", "no-such-machine")))
    assert "no-such-machine" in caught.value.why or "machine" in caught.value.why
    assert "\n" not in str(caught.value)


def test_missing_qemu_says_what_to_install(vmlinux, shell_image, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TinykmodError, match="apt-get install qemu-system-x86"):
        boot(vmlinux, shell_image("exit"))
