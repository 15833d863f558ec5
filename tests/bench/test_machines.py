from __future__ import annotations

import pytest

from tinykmod.bench import machines
from tinykmod.bench.machines import AARCH64, load, names
from tinykmod.errors import TinykmodError

BOARD = """\
about = "a board"
arch = "aarch64"
qemu = "-M virt -cpu 'cortex-a57' -nodefaults"
devices = ["sdhci-pci", "sd-card,drive={empty}", "nvme,drive={empty},serial=x"]
disk = "virtio-blk-device,drive={id}"
"""


@pytest.fixture
def board(tmp_path):
    """board(text): a machine's file."""

    def write(text):
        path = tmp_path / "board.toml"
        path.write_text(text)
        return path

    return write


def test_each_machine_of_the_package_says_what_it_is():
    found = [load(name) for name in names()]
    assert {"reference", "virtio-blk", "nvme", "ahci", "usb", "sd-card", "arm64-pci"} <= {each.name for each in found}
    assert all(machine.about and machine.args[0] == "-M" for machine in found)
    assert all(machine.emulator is machines.X86_64 for machine in machines.MACHINES.values())


def test_a_file_describes_a_machine(board):
    machine = load(board(BOARD))
    assert (machine.name, machine.about, machine.emulator) == ("board", "a board", AARCH64)
    assert machine.args[:5] == ("-M", "virt", "-cpu", "cortex-a57", "-nodefaults")
    rest = machine.args[5:]
    assert rest[:3] == ("-device", "sdhci-pci", "-blockdev")
    # Each has a disk of its own, which is there before the device that it is in.
    assert rest[5] == "sd-card,drive=empty1" and "node-name=empty1," in rest[3]
    assert rest[9] == "nvme,serial=x,drive=empty2" and "node-name=empty2," in rest[7]
    assert machine.disk == "virtio-blk-device,drive={id}"


@pytest.mark.parametrize(("name", "near"), [("refrence", "reference"), ("virtio_blk", "virtio-blk"), ("qq", "ahci")])
def test_unknown_name_tells_those_that_are_near(name, near):
    with pytest.raises(TinykmodError, match=near) as caught:
        load(name)
    assert caught.value.which == name


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('arch = "aarch64"', 'arch = "z80"', "`arch` is 'z80', not one of x86_64"),
        ('arch = "aarch64"\n', "", "has no `arch`"),
        ("disk =", "disks =", "`disks` is no key of a machine; disk?"),
        ("{id}", "x", "`disk` has no {id}"),
        ('["sdhci-pci"', "[5", "`devices` is not a list of texts"),
        ('"-M virt -cpu \'cortex-a57\' -nodefaults"', "7", "`qemu` is not a text"),
        ("cortex-a57'", "cortex-a57", "`qemu` are no words"),
        ('about = "a board"', "about =", "is no TOML"),
    ],
)
def test_damaged_file_is_one_line(board, old, new, why):
    assert old in BOARD
    with pytest.raises(TinykmodError) as caught:
        load(board(BOARD.replace(old, new)))
    assert why in caught.value.why
    assert caught.value.which.endswith("board.toml")
    assert "\n" not in str(caught.value)


def test_file_that_is_no_text(board):
    path = board("")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TinykmodError, match="is no TOML"):
        load(path)
