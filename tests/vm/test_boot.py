"""Real boots: Debian's kernel with the loader as /init, in QEMU."""

from __future__ import annotations

import errno
import shutil
import subprocess
from pathlib import Path

import pytest

from tinykmod import loaders
from tinykmod.bench.disk import SENTINEL
from tinykmod.bench.machines import NO_DISK, VIRTIO_BLK, Machine

UUID = "7b1c9e5e-0f4b-4d8e-9a41-3f2d8c6b1a02"
GPT_PARTUUID = "0d1e2f30-4152-4637-8495-a6b7c8d9eafb"

pytestmark = pytest.mark.vm


#: With a root that is mounted late, what does not lead to it is loaded before the hand-over as well.
LATE = "rootdelay=12"


def events(result, name):
    return [event for event in result.trace or () if event["ev"] == name]


def loads(result):
    return {event["name"]: event for event in events(result, "module")}


def root_of(result):
    """The device of the root that was found, and what asked for it."""
    [root] = events(result, "root")
    return root["device"], root["spec"]


def reached_root(result):
    """The root's init ran and powered off; what the loader told is of one piece."""
    assert SENTINEL in result.lines, result.tail(40)
    assert result.ended == "poweroff", result.tail(40)
    assert result.trace, result.tail(40)
    assert result.trace[0]["ev"] == "start"
    for name in ("root", "mounted", "handover"):
        assert len(events(result, name)) == 1, name
    failed = [event for event in events(result, "module") if event["result"]]
    assert events(result, "handover")[0]["failed"] == len(failed)
    return True


def test_init_has_what_it_was_promised(start, disk):
    """The console as its standard files, the mounts moved, nothing of the initramfs left, its words passed on."""
    init = """\
#!/bin/busybox sh
bb=/bin/busybox
echo "pid $$ words $*"
echo "to stderr" >&2
for at in /proc/mounts /sys/bus /dev/null /run/tinykmod/trace.jsonl; do [ -e $at ] && echo "has $at"; done
echo "root $($bb grep ' / ' /proc/mounts | $bb tr '\\n' ';')"
echo "mask $(umask)"
echo "locked $($bb cat /proc/sys/kernel/modules_disabled)"
$bb grep -E '^Sig(Blk|Ign)' /proc/1/status
echo "open $(for at in /proc/1/fd/*; do [ -e $at ] && echo -n \"${at##*/} \"; done)"
$bb touch /touched && echo "wrote"
$bb sync
$bb poweroff -f
"""
    result = start(f"root=UUID={UUID} rw rootflags=noatime -- word", disk(init_script=init))
    said = result.lines
    assert "pid 1 words word" in said, result.tail(40)
    assert "to stderr" in said
    assert {f"has {at}" for at in ("/proc/mounts", "/sys/bus", "/dev/null", "/run/tinykmod/trace.jsonl")} <= set(said)
    assert "wrote" in said
    assert "mask 0022" in said
    assert "locked 0" in said
    # What is blocked or ignored stays so through an exec. busybox's shell itself ignores SIGQUIT.
    masks = {words[0]: int(words[1], 16) for words in map(str.split, said) if words[:1] in (["SigBlk:"], ["SigIgn:"])}
    assert masks == {"SigBlk:": 0, "SigIgn:": 1 << 2}
    [root] = [line for line in said if line.startswith("root ")]
    assert "/dev/vda / ext4 rw,noatime" in root
    # 10 is the script itself, which the shell holds open.
    [held] = [line for line in said if line.startswith("open ")]
    assert set(held.split()[1:]) <= {"0", "1", "2", "3", "10", "255"}


def test_kernel_gets_the_modules_that_it_asks_for_by_name(start, vfat_disk):
    """vfat has no device that asks for its character sets: the kernel runs /sbin/modprobe for them at the mount."""
    init = """\
#!/bin/busybox sh
/bin/busybox dmesg -n 1
/bin/busybox sed 's/ .*//; s/^/loaded /' /proc/modules
exec /bin/busybox sh /sbin/report
"""
    result = start("root=/dev/vda rootfstype=vfat", vfat_disk(init))
    assert "loaded vfat" in result.lines, result.tail(40)
    assert "loaded nls_cp437" in result.lines, result.tail(40)
    assert reached_root(result)
    assert loads(result)["nls_cp437"]["why"] == "request"


def test_lsmod_rmmod_and_insmod_on_a_booted_kernel(start, disk, kernel, tmp_path):
    """The loader by its words on the root; beside busybox's lsmod the same modules, sizes, counts and holders."""
    init = """\
#!/bin/busybox sh
bb=/bin/busybox
/bin/loader lsmod > /run/ours
$bb lsmod > /run/theirs
echo "head $($bb head -n 1 /run/ours)"
$bb sed '1d; s/  */ /g; s/ $//; s/^/ours /' /run/ours
$bb sed '1d; s/  */ /g; s/ $//; s/^/theirs /' /run/theirs
/bin/loader rmmod i2c-i801
echo "removed $?"
/bin/loader rmmod ext4
echo "in use $?"
$bb sed 's/ .*//; s/^/left /' /proc/modules
/bin/loader insmod /i2c-i801.ko disable_features=0x10
echo "inserted $? with $($bb cat /sys/module/i2c_i801/parameters/disable_features)"
/bin/loader insmod /i2c-i801.ko
echo "again $?"
$bb poweroff -f
"""
    [module] = kernel.root.glob("lib/modules/*/kernel/drivers/i2c/busses/i2c-i801.ko")
    root = Path(shutil.copy(disk(init_script=init), tmp_path / "root.img"))
    debugfs = shutil.which("debugfs", path="/usr/sbin:/sbin")
    for command in (
        f"write {loaders.find('x86_64')} /bin/loader",
        "set_inode_field /bin/loader mode 0100755",
        f"write {module} /i2c-i801.ko",
    ):
        subprocess.run([debugfs, "-w", "-R", command, root], check=True, capture_output=True)
    said = start(f"root=UUID={UUID} {LATE}", root).lines
    assert "head Module                  Size  Used by" in said
    ours, theirs = ([line.partition(" ")[2] for line in said if line.startswith(word)] for word in ("ours", "theirs"))
    assert len(ours) > 10
    # busybox ends the holders with a comma as /proc/modules does.
    assert ours == [line.rstrip(",") for line in theirs]
    assert "removed 0" in said
    assert "in use 1" in said
    left = {line.split()[1] for line in said if line.startswith("left ")}
    assert "ext4" in left
    assert "i2c_i801" not in left
    assert "inserted 0 with 16" in said
    assert "again 1" in said


def test_init_on_the_command_line(start, disk):
    # busybox by its own name and without a word tells its version.
    result = start(f"root=UUID={UUID} init=/bin/busybox", disk(), stop_on="^BusyBox v")
    assert result.ended == "stop_on", result.tail(40)
    assert SENTINEL not in result.console


#: The last line of a report. The kernel drops what comes too fast from /dev/kmsg, so the end is what tells.
NO_ROOT_END = "tinykmod: .*still waiting for the root"
NO_INIT_END = "tinykmod: .*PID 1 stays"


def stays(result, *words):
    """The loader said WORDS in its report, did not panic, and the machine was still there a while later."""
    assert result.ended == "stop_on", result.tail(40)
    assert "Kernel panic" not in result.console
    for word in words:
        assert word in result.console, result.tail(40)


def test_no_root_is_a_report_and_no_panic_and_no_shell_where_it_is_forbidden(start, own_image):
    absent = "deadbeef-0f4b-4d8e-9a41-3f2d8c6b1a02"
    words = f"root=UUID={absent} rd.tinykmod.timeout=3 rd.shell=0"
    result = start(words, machine=NO_DISK, initrd=own_image, stop_on=NO_ROOT_END, linger=5)
    stays(result, f"tinykmod: no root: root=UUID={absent}", "no disk has appeared", "modules: ", "acpi:PNP0103:",
          "tinykmod: no shell (rd.shell=0): still waiting for the root")  # fmt: skip
    assert "first: " not in result.console


def test_rootwait_waits_and_says_for_what(start):
    words = "root=LABEL=late rootwait rd.tinykmod.timeout=1"
    result = start(words, machine=NO_DISK, stop_on="tinykmod: still waiting for root: LABEL=late", linger=1)
    stays(result)
    assert "no root" not in result.console


def test_rootdelay_is_waited_for(start, disk):
    result = start("root=/dev/vda rootdelay=4", disk())
    assert reached_root(result)
    assert root_of(result) == ("/dev/vda", "/dev/vda")
    begun, mounted = (events(result, name)[0]["t"] for name in ("start", "mounted"))
    assert mounted - begun >= 4e9


def test_shell_follows_the_report_where_the_image_has_one(start, kernel, busybox, run_tinykmod, tmp_path):
    image = tmp_path / "with-shell.img"
    words = ("--class", "bus", "--no-firmware", "--busybox", busybox, kernel.release)
    done = run_tinykmod("initramfs", "-b", kernel.root, "-o", image, *words)
    assert done.returncode == 0, done.stderr
    result = start("root=LABEL=none rd.tinykmod.timeout=1", machine=NO_DISK, initrd=image, stop_on="^~? ?/? ?# ",
                   linger=2)  # fmt: skip
    stays(result, "tinykmod: no root: root=LABEL=none", "a shell follows")


def test_a_missing_init_is_told_and_the_usual_one_runs_and_so_is_a_number_of_jobs_that_is_none(start, disk):
    # root= in the kernel's hexadecimal form: 254:0.
    result = start("root=fe00 init=/no/such/init rd.tinykmod.jobs=17", disk())
    assert reached_root(result)
    assert root_of(result) == ("/dev/vda", "fe00")
    assert sum("tinykmod: init /no/such/init: " in text for _, text in result.dmesg) == 1
    assert events(result, "handover")[0]["init"] == "/sbin/init"
    assert any("rd.tinykmod.jobs 17: is no number from 1 to 16" in text for _, text in result.dmesg)


def test_root_without_any_init_is_a_report_and_no_panic(start, disk, tmp_path):
    bare = Path(shutil.copy(disk(), tmp_path / "bare.img"))
    debugfs = shutil.which("debugfs", path="/usr/sbin:/sbin")
    subprocess.run([debugfs, "-w", "-R", "rm /sbin/init", bare], check=True, capture_output=True)
    result = start(f"root=UUID={UUID}", bare, stop_on=NO_INIT_END, linger=3)
    stays(result, "has no init that can be run")


def test_init_that_is_no_program_is_a_report_and_no_panic(start, disk):
    result = start(f"root=UUID={UUID}", disk(init_script="neither ELF nor script\n"), stop_on=NO_INIT_END, linger=3)
    stays(result, "tinykmod: init /sbin/init: Exec format error")


@pytest.mark.parametrize("position", [0.0, 0.7])
def test_damaged_index_still_boots_through_the_text_files(start, disk, damaged, position):
    image = damaged(lambda archive: archive.flip(".tki", position))
    result = start(f"root=UUID={UUID}", disk(), initrd=image)
    assert reached_root(result)
    [fallback] = events(result, "fallback")
    assert fallback["why"]
    assert not events(result, "index")
    assert any("tinykmod: " in text and fallback["why"] in text for _, text in result.dmesg)


def other_release(release):
    return f"9{release[1:]}"


def test_index_of_another_kernel_still_boots_through_the_text_files(start, disk, damaged, kernel):
    image = damaged(lambda archive: archive.relabel(".tki", kernel.release, other_release(kernel.release)))
    result = start(f"root=UUID={UUID}", disk(), initrd=image)
    assert reached_root(result)
    assert [event["why"] for event in events(result, "fallback")] == ["made for another kernel"]


def test_image_of_another_kernel_is_named_and_no_panic(start, disk, damaged, kernel):
    other = other_release(kernel.release)
    image = damaged(lambda archive: archive.move(kernel.release, other))
    result = start(f"root=UUID={UUID} rd.tinykmod.timeout=1", disk(), initrd=image, stop_on=NO_ROOT_END, linger=3)
    stays(result, f"boot index of {kernel.release}: the image has no /lib/modules for this kernel",
          f"modules of {other}: in this image, but another kernel runs",
          "no module could be loaded")  # fmt: skip


def test_modules_that_cannot_be_loaded_are_a_line_each_and_the_boot_goes_on(start, disk, damaged):
    """One is damaged, one is not there, nor is what a third needs; the root is elsewhere."""

    def damage(archive):
        archive.flip("/lpc_ich.ko.tkp", 0.5, 4)
        archive.hide("/i2c-smbus.ko.tkp")
        archive.hide("/libata.ko.tkp")

    result = start(f"root=UUID={UUID} {LATE}", disk(), initrd=damaged(damage))
    assert reached_root(result)
    found = loads(result)
    # What can still be unpacked has a signature that does not fit.
    assert found["lpc_ich"]["result"] in {-errno.EBADMSG, -errno.EKEYREJECTED}
    assert {found[name]["result"] for name in ("i2c_smbus", "libata")} == {-errno.ENOENT}
    assert {found[name]["error"] for name in ("libahci", "ahci")} == {"it needs libata, which was not loaded"}
    for name in ("lpc_ich", "i2c_smbus", "libata", "libahci", "ahci"):
        told = [text for _, text in result.dmesg if text.startswith(f"tinykmod: module {name}: ")]
        assert len(told) == 1, told


def test_blacklisted_modules_are_left_out(start, disk):
    """By either word where a device asks; by the kernel's own also where another module needs it, which is a line."""
    words = "modprobe.blacklist=lpc_ich module_blacklist=i2c_i801,libahci"
    result = start(f"root=UUID={UUID} {words} {LATE}", disk())
    assert reached_root(result)
    # q35 has a device for each.
    asked = " ".join(event["modalias"] for event in events(result, "device"))
    assert all(word in asked for word in ("d00002918", "d00002930", "bc01sc06i01"))
    found = loads(result)
    assert not {"lpc_ich", "i2c_i801"} & found.keys()
    assert {found[name]["result"] < 0 for name in ("libahci", "ahci")} == {True}
    told = [text for _, text in result.dmesg if "blacklisted on the kernel command line" in text]
    assert len(told) == 1, told
    assert told[0].startswith("tinykmod: module libahci: ")


def test_words_for_a_module_and_for_all_and_a_root_that_is_read_only_unless_asked(start, disk):
    init = """\
#!/bin/busybox sh
bb=/bin/busybox
echo "depth $($bb cat /sys/module/virtio_blk/parameters/queue_depth)"
echo "locked $($bb cat /proc/sys/kernel/modules_disabled)"
$bb grep ' / ext4' /proc/mounts
$bb poweroff -f
"""
    words = f"root=PARTUUID={GPT_PARTUUID} virtio_blk.queue_depth=32 rd.tinykmod.lock=1"
    said = start(words, disk(init_script=init, partuuid=GPT_PARTUUID)).lines
    assert {"depth 32", "locked 1"} <= set(said), said[-40:]
    assert any(line.startswith("/dev/vda1 / ext4 ro") for line in said), said[-40:]


MODPROBE_D = """\
options virtio_blk queue_depth=16
blacklist i6300esb
install ahci /bin/false
install i2c_i801 /bin/busybox touch /was-run
alias ours i2c_i801
options ours disable_features=0x10
"""
#: Stands where the image's shell would: it runs when no root has come. busybox's shell prefers its own applets.
TOOLS = """\
#!/bin/busybox sh
bb=/bin/busybox
for module in virtio_blk i6300esb ahci i2c_i801; do [ -d /sys/module/$module ] && echo "has $module"; done
for module in i6300esb ahci; do [ -e /lib/modules/*/kernel/*/*/$module.ko* ] || echo "image lacks $module"; done
echo "depth $($bb cat /sys/module/virtio_blk/parameters/queue_depth)"
[ -e /was-run ] && echo "was run"
$bb dmesg | $bb sed -n 's/.*tinykmod: module/note/p'
echo "noted"
/sbin/modprobe -R ours
echo "resolved $?"
/sbin/modprobe -D ours
echo "depends $?"
/sbin/modprobe -c
echo "config $?"
echo "name $(/sbin/modinfo -F name ours)"
/sbin/modinfo i2c_i801
echo "modinfo $?"
/sbin/modprobe -r ours
echo "removed $?"
for module in i2c_i801 i2c_smbus; do [ -d /sys/module/$module ] || echo "without $module"; done
/sbin/modprobe ours
echo "loaded $? with $($bb cat /sys/module/i2c_i801/parameters/disable_features)"
/sbin/modprobe ahci
echo "refused $?"
/sbin/modprobe -r virtio
echo "in use $?"
$bb poweroff -f
"""


def test_what_modprobe_d_says_acts_at_boot_and_the_tools_know_it(
    start, disk, kernel, busybox, run_tinykmod, tmp_path
):
    config, tools, image = tmp_path / "user.conf", tmp_path / "tools", tmp_path / "image"
    config.write_text(MODPROBE_D)
    tools.write_text(TOOLS)
    tools.chmod(0o755)
    words = ("-b", kernel.root, "-C", config, "-o", image, "--add", "i6300esb", "--no-firmware",
             "--file", f"{tools}:/bin/sh", "--file", f"{busybox}:/bin/busybox", kernel.release)  # fmt: skip
    made = run_tinykmod("initramfs", *words)
    assert made.returncode == 0, made.stderr
    assert made.stderr.count("\n") == 1
    assert f"{config}:4: install: commands are not run at boot" in made.stderr
    machine = Machine("watchdog", (*VIRTIO_BLK.args, "-device", "i6300esb"))
    result = start("root=LABEL=none rd.tinykmod.timeout=12", disk(), machine=machine, initrd=image)
    assert result.ended == "poweroff", result.tail(60)
    said = result.lines
    assert "in use 1" in said, result.tail(90)
    # What was said.
    assert [line for line in said if line.startswith(("has ", "image lacks ", "depth ", "was run"))] == [
        "has virtio_blk", "has i2c_i801", "depth 16",
    ]  # fmt: skip
    assert sorted(line for line in said if line.startswith("note ")) == [
        f"note ahci: not loaded: install /bin/false at {config}:3",
        f"note i2c_i801: its install command at {config}:4 is not run at boot; it is loaded as usual",
    ]
    # The tools.
    directory = f"/lib/modules/{kernel.release}/kernel/drivers/i2c"
    after = said[said.index("noted") + 1 :]
    assert after[: after.index("resolved 0")] == ["i2c_i801"]
    assert after[after.index("resolved 0") + 1 : after.index("depends 0")] == [
        f"insmod {directory}/i2c-smbus.ko.tkp ",
        f"insmod {directory}/busses/i2c-i801.ko.tkp disable_features=0x10 ",
    ]  # fmt: skip
    printed = after[after.index("depends 0") + 1 : after.index("config 0")]
    assert sorted(printed) == sorted(MODPROBE_D.splitlines())
    assert "name i2c_i801" in after
    told = after[after.index("name i2c_i801") + 1 : after.index("modinfo 0")]
    assert told[0] == f"filename:       {directory}/busses/i2c-i801.ko.tkp"
    assert "depends:        i2c-smbus" in told
    assert any(line.startswith("parm:           disable_features:") for line in told)
    rest = after[after.index("modinfo 0") + 1 :]
    assert [line for line in rest if line.startswith(("removed", "without", "loaded", "refused", "in use"))] == [
        "removed 0", "without i2c_i801", "without i2c_smbus", "loaded 0 with 16", "refused 1", "in use 1",
    ]  # fmt: skip
    assert "tinykmod: module virtio: in use" in rest
