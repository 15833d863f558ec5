"""Suites: what a file may say, what it stands for, and how what is wrong in it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinykmod.bench import contenders, machines
from tinykmod.bench.engines import engine
from tinykmod.bench.suite import Contender, of_images, read_suite, suites
from tinykmod.errors import TinykmodError


@pytest.fixture
def suite(tmp_path):
    """suite(text): the suite of a file with that text."""

    def read(text):
        (tmp_path / "mine.toml").write_text(text)
        return read_suite(str(tmp_path / "mine.toml"))

    return read


def test_everything_that_a_file_may_say(suite, tmp_path):
    found = suite("""
contenders = ["tinykmod", "images/old.img", { name = "new", image = "new.img", append = "quiet" },
              { name = "serial", make = "tinykmod", append = "rd.tinykmod.jobs=1" }]
machines = ["nvme", "./board.toml"]
engines = ["qemu"]
runs = 7
warmup = 2
kernel = "vmlinuz-6.6"
disks = ["root.img"]
until = "login:"
append = "root=/dev/vda"
timeout = 12.5
baseline = "old"
""")
    assert found.contenders == (
        Contender("tinykmod", make="tinykmod"),
        Contender("old", tmp_path / "images/old.img"),
        Contender("new", tmp_path / "new.img", append="quiet"),
        Contender("serial", make="tinykmod", append="rd.tinykmod.jobs=1"),
    )
    assert found.machines == ("nvme", str(tmp_path / "board.toml")), "a file counts from the suite's"
    assert (found.kernel, found.disks) == (str(tmp_path / "vmlinuz-6.6"), (tmp_path / "root.img",))
    assert (found.name, found.engines, found.runs, found.warmup) == ("mine", ("qemu",), 7, 2)
    assert (found.until, found.append, found.timeout) == ("login:", "root=/dev/vda", 12.5)
    assert found.baseline == "old"


def test_what_is_left_out(suite):
    found = suite('contenders = ["a.img", "b.img"]\nkernel = "linux-image-6.12-amd64"')
    assert found.kernel == "linux-image-6.12-amd64", "a package is no path"
    assert (found.machines, found.engines, found.baseline) == (("virtio-blk",), ("qemu-icount",), "a")
    assert (found.runs, found.warmup) == (5, None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("contenders = [", "is no TOML"),
        ("", "names no contender"),
        ('contenders = ["a.img"]\nmachines = []', "names no machine"),
        ('contenders = ["a.img", "b/a.img"]', "has the contender a twice"),
        ('contenders = ["a.img"]\nmachines = ["nvme", "nvme"]', "has the machine nvme twice"),
        ('contenders = ["a.img"]\nbaseline = "b"', "the baseline b is none of its contenders"),
        ('contenders = ["a.img"]\nrun = 3', "run is none of the keys append, baseline, contenders"),
        ('contenders = ["a.img"]\nruns = 0', "runs is to be a whole number, 1 or more"),
        ('contenders = ["a.img"]\nruns = true', "runs is to be a whole number"),
        ('contenders = ["a.img"]\ntimeout = 0', "timeout is to be seconds, more than 0"),
        ('contenders = ["a.img"]\ntimeout = nan', "timeout is to be seconds, more than 0"),
        ('contenders = ["a.img"]\nuntil = "("', "until is to be a regular expression"),
        ('contenders = ["a.img"]\ndisks = "a"', "disks is to be a list of texts"),
        ("contenders = [3]", "contenders is to be a list of texts and tables"),
        ("contenders = [{ image = 'a', make = 'tinykmod' }]", "one of `image`"),
        ("contenders = [{ name = 'a' }]", "one of `image`"),
        ("contenders = [{ make = 'nobody' }]", "nobody is none that can be made: "),
        ("contenders = [{ image = 'a', machine = 'nvme' }]", "contenders: machine is none of the keys append, image"),
    ],
)
def test_what_is_wrong_is_one_line(suite, tmp_path, text, why):
    with pytest.raises(TinykmodError) as caught:
        suite(text)
    assert why in caught.value.why
    assert caught.value.which == str(tmp_path / "mine.toml")
    assert "\n" not in str(caught.value)


def test_images_of_one_name_go_by_their_paths():
    assert [each.name for each in of_images(["old/initrd.img", "new/initrd.img", "tinykmod", "c.img"])] == [
        "old/initrd.img", "new/initrd.img", "tinykmod", "c",
    ]  # fmt: skip


def test_the_ready_made_suites_name_what_there_is():
    assert "reference" in suites()
    for name in suites():
        found = read_suite(name)
        assert {each.make for each in found.contenders} <= set(contenders.NAMES)
        assert all(machines.load(machine) for machine in found.machines)
        assert all(engine(word) for word in found.engines)
    reference = read_suite("reference")
    assert set(reference.machines) == {"virtio-blk", "nvme", "ahci", "reference"}
    assert {each.make for each in reference.contenders} == set(contenders.NAMES), "all that can be made"
    assert reference.baseline == "tinykmod"


def test_a_suite_that_is_not_there():
    with pytest.raises(FileNotFoundError):
        read_suite(str(Path("no-such-suite.toml")))
