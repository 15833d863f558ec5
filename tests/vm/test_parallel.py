"""Real boots of the parallel loader: order, what fails, what hangs, and crashes of the loader itself."""

from __future__ import annotations

import errno
import json
import os
import shutil
from itertools import pairwise

import pytest
from test_boot import UUID, events, loads, reached_root
from test_root import VIRTIO_SCSI
from with_display import MACHINES

from tinykmod.bench.disk import DMESG_END, SENTINEL
from tinykmod.bench.machines import NO_DISK, REFERENCE, Machine
from tinykmod.index.reader import Index

pytestmark = pytest.mark.vm

ROOT = f"root=UUID={UUID}"


def with_all_that_a_processor_can_have(machine):
    """QEMU's usual one has not what the kernel's quick hashes need."""
    return Machine(machine.name, (*machine.args, "-cpu", "max"), machine.disk)


@pytest.fixture(scope="module")
def index(kernel, tmp_path_factory, run_tinykmod):
    path = tmp_path_factory.mktemp("index") / "x.tki"
    done = run_tinykmod("index", "build", "-b", kernel.root, "-o", path, kernel.release)
    assert done.returncode == 0, done.stderr
    return Index(path.read_bytes())


def needs_came_first(result, index):
    # Its init came first, or the kernel would have refused the module; its load may end later.
    found = loads(result)
    for name, event in found.items():
        # What the kernel itself asked for has its own process.
        if event["worker"]:
            assert event["result"] in (0, -errno.ENODEV), name
            assert all(found[need]["t"] < event["t"] for need in index.module(name).deps), name
    return True


def test_modules_load_beside_each_other_each_after_what_it_needs(start, disk, index):
    # The root is mounted so late that all that matches is loaded by then; on two processors.
    machine = with_all_that_a_processor_can_have(REFERENCE)
    words = f"{ROOT} rootdelay=25 rd.tinykmod.gpu=skip"
    result = start(words, disk(), machine=machine, smp=2, timeout=180)
    assert reached_root(result)
    assert needs_came_first(result, index)
    found = loads(result)
    assert {"ahci", "nvme", "virtio_scsi", "sd_mod", "sdhci_pci", "mmc_block"} <= found.keys()
    assert {1, 2, 3, 4} <= {event["worker"] for event in found.values()}
    assert sum("async_probe" in text for _, text in result.dmesg) == 0
    spans = sorted((event["t"], event["t"] + event["dur"]) for event in found.values() if event["worker"])
    assert any(later < end for (_, end), (later, _) in pairwise(spans))
    assert all(event["queued"] <= event["t"] for event in found.values())
    assert not events(result, "dropped")
    # What makes signatures quicker to check takes nothing from what leads to the root, and comes before most others.
    assert found["virtio_pci"]["t"] <= found["sha256_ssse3"]["t"]
    later = [event for event in found.values() if event["t"] > found["sha256_ssse3"]["t"] and event["worker"]]
    assert len(later) > len(found) / 4
    # The end of it all is told.
    settled, mounted = (events(result, name)[-1]["t"] for name in ("settled", "mounted"))
    own = [event for event in found.values() if event["why"] != "request"]
    assert max(event["t"] + event["dur"] for event in own if event["t"] < mounted - 1e9) < settled < mounted


def test_a_plan_is_followed_before_a_device_is_looked_at(start, disk, booted, kernel, run_tinykmod, tmp_path):
    trace = tmp_path / "trace.jsonl"
    trace.write_text("".join(json.dumps(event) + "\n" for event in booted("6.1", MACHINES[0][0]).trace))
    plan, image = tmp_path / "plan", tmp_path / "planned.img"
    done = run_tinykmod("profile", trace, "-o", plan)
    assert done.returncode == 0, done.stderr
    # Still queued when the root is mounted, but the user has asked for one of them.
    plan.write_text(plan.read_text() + "module xfs 1\nmodule btrfs 1\n")
    done = run_tinykmod("initramfs", "-b", kernel.root, "--plan", plan, "-o", image, kernel.release)
    assert done.returncode == 0, done.stderr
    result = start(f"{ROOT} rd.driver.post=xfs", disk(), initrd=image)
    assert reached_root(result)
    found = loads(result)
    assert "xfs" in found
    assert "btrfs" not in found
    assert {"xfs", "btrfs"} <= {event["name"] for event in events(result, "dropped")}
    planned = [event for event in found.values() if event["why"] == "plan"]
    assert {"virtio_pci", "virtio_blk", "ext4"} <= {event["name"] for event in planned}
    seen = min(event["t"] for event in events(result, "device"))
    assert all(event["queued"] < seen for event in planned)
    assert min(event["t"] for event in planned) < seen

    result = start(f"{ROOT} rd.tinykmod.plan=off", disk(), initrd=image)
    assert reached_root(result)
    assert "plan" not in {event["why"] for event in loads(result).values()}

    # On another machine it costs no more than its modules' time; what it asks for is told as it is.
    words = f"{ROOT} rootdelay=4 rd.driver.blacklist=virtio_blk"
    other = start(words, disk(), initrd=image, machine=with_all_that_a_processor_can_have(VIRTIO_SCSI))
    assert reached_root(other)
    assert events(other, "mounted")[0]["device"] == "/dev/sda"
    found = loads(other)
    assert (found["virtio_pci"]["why"], found["virtio_scsi"]["why"]) == ("plan", "modalias")
    assert "virtio_blk" not in found


def test_the_root_is_not_kept_waiting_and_all_but_displays_is_left_to_it(start, disk, index):
    result = start(f"{ROOT} rootwait", disk(), machine=REFERENCE)
    assert reached_root(result)
    assert events(result, "root")[0]["device"].startswith("/dev/vd")
    [mounted] = events(result, "mounted")
    found, dropped = loads(result), {event["name"] for event in events(result, "dropped")}
    assert dropped
    assert not dropped & found.keys()
    # Only displays start once the root is mounted, and what was under way has ended before the hand-over.
    assert {"virtio_gpu", "bochs"} <= found.keys()
    display = {need for name in ("virtio_gpu", "bochs") for need in (name, *index.module(name).deps)}
    late = {name for name, event in found.items() if event["worker"] and event["t"] > mounted["t"]}
    assert late <= display
    ends = max(event["t"] + event["dur"] for event in found.values())
    assert ends <= events(result, "handover")[0]["t"]


def test_one_job_is_serial(start, disk):
    result = start(f"{ROOT} rd.tinykmod.jobs=1", disk())
    assert reached_root(result)
    found = [event for event in events(result, "module") if event["why"] != "request"]
    assert {event["worker"] for event in found} == {0}
    own = [event for event in found if event["by"] != "crypto-crc64-rocksoft"]
    assert all(first["t"] + first["dur"] <= then["t"] for first, then in pairwise(own))


def test_classes_that_are_not_named_are_left_alone(start, disk):
    # The disk is there, and its driver in the image.
    words = f"{ROOT} rd.tinykmod.class=bus,platform rd.tinykmod.timeout=4"
    result = start(words, disk(), stop_on="tinykmod: no disk has appeared")
    assert result.ended == "stop_on", result.tail(40)


#: tcrypt measures ciphers in its init, here for hours: a module that does not return. It keeps a processor in the
#: kernel, for which one that finds nothing waits (RCU) before it is gone.
HANGING = """\
alias pci:v00008086d00002930sv* tcrypt
options tcrypt mode=200 sec=3600
"""
NOTHING = "module_blacklist=crc32c_intel,crct10dif_pclmul"


def unsigned(module: bytes) -> bytes:
    """Without the signature at its end: a changed module with one is refused, one without is not."""
    rest = module.removesuffix(b"~Module signature appended~\n")
    assert rest != module
    return rest[: -12 - int.from_bytes(rest[-4:], "big")]


@pytest.fixture(scope="module")
def hanging(kernel, depmod_root, run_tinykmod, tmp_path_factory):
    """An image in which tcrypt is a driver of displays, and of a device that is there."""
    scratch = tmp_path_factory.mktemp("hanging")
    (scratch / "user.conf").write_text(HANGING)
    tree = scratch / "root/lib/modules" / kernel.release
    shutil.copytree(depmod_root / "lib/modules" / kernel.release, tree, symlinks=True, copy_function=os.link)
    module = tree / "kernel/crypto/tcrypt.ko"
    data = unsigned(module.read_bytes())
    author = b"author=James Morris <jmorris@intercode.com.au>"
    assert author in data
    data = data.replace(author, b"alias=pci:v*d*sv*sd*bc03sc*i*".ljust(len(author), b"\0"))
    module.unlink()
    module.write_bytes(data)
    for command in (
        ("depmod", "-b", scratch / "root", kernel.release),
        ("initramfs", "-b", scratch / "root", "-C", scratch / "user.conf", "--add", "tcrypt", "-o", scratch / "image",
         kernel.release),
    ):  # fmt: skip
        done = run_tinykmod(*command)
        assert done.returncode == 0, done.stderr
    return scratch / "image"


def test_a_driver_of_a_display_is_not_waited_for_where_that_is_asked(start, disk, hanging):
    words = f"{ROOT} rootdelay=8 rd.tinykmod.drain=60 rd.tinykmod.gpu=go {NOTHING}"
    result = start(words, disk(), initrd=hanging, smp=2, stop_on=f"^{DMESG_END}")
    assert result.ended == "stop_on", result.tail(40)
    assert [event["name"] for event in events(result, "left")] == ["tcrypt"]
    [mounted], [handover] = events(result, "mounted"), events(result, "handover")
    assert handover["t"] - mounted["t"] < 5e9


def test_a_module_that_does_not_return_is_named_and_left(start, disk, hanging):
    # It computes on the only processor, more urgent than most: what is not stuck has the time that it leaves.
    words = f"{ROOT} rootdelay=16 rd.tinykmod.drain=4 preempt=full {NOTHING}"
    result = start(words, disk(), initrd=hanging, stop_on=f"^{DMESG_END}")
    assert result.ended == "stop_on", result.tail(40)
    assert any(text.startswith(SENTINEL) for _, text in result.dmesg)
    assert "tcrypt" not in loads(result)
    [left] = events(result, "left")
    assert left["name"] == "tcrypt"
    assert left["dur"] >= 4e9
    said = [text for _, text in result.dmesg if text.startswith("tinykmod: module tcrypt")]
    assert said == ["tinykmod: module tcrypt: is still in its init; the boot goes on without it"]
    assert {"ahci", "ext4", "lpc_ich"} <= loads(result).keys()
    assert not events(result, "dropped")


def test_a_crash_of_the_loader_boots_through_the_text_files(start, disk):
    result = start(f"{ROOT} rd.tinykmod.debug=crash -- word", disk())
    assert reached_root(result)
    assert [event["why"] for event in events(result, "fallback")] == ["the loader crashed with it"]
    assert sum("tinykmod: crashed with signal " in text for _, text in result.dmesg) == 1


def test_a_second_crash_is_no_panic_and_no_shell_where_it_is_forbidden(start, own_image):
    end = "tinykmod: crashed with signal .* a shell follows if there is one"
    words = f"{ROOT} rd.tinykmod.debug=crash-twice rd.shell=0"
    result = start(words, machine=NO_DISK, initrd=own_image, stop_on=end, linger=3)
    assert result.ended == "stop_on", result.tail(40)
    assert "Kernel panic" not in result.console
    assert "first: " not in result.console
