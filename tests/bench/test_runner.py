"""Many boots, kept: their turns, what is resumed and what is refused, with boots that are none."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import multiprocessing
import os
import signal
import subprocess
import time
from dataclasses import replace

import pytest

from tinykmod.bench import figures, machines, prepare, results, runner
from tinykmod.bench.disk import SENTINEL
from tinykmod.bench.machines import NVME, VIRTIO_BLK
from tinykmod.bench.measured import Measured
from tinykmod.bench.prepare import File, Prepared, changes, merged
from tinykmod.bench.result import BootResult
from tinykmod.bench.suite import Contender, Suite
from tinykmod.errors import TinykmodError

ABOUT = {
    "format": results.FORMAT,
    "begun": "2030-01-01T00:00:00+00:00",
    "label": "v1",
    "suite": {"baseline": "a"},
    "append": "root=UUID=1",
    "kernel": {"release": "6.1.0", "sha256": "k" * 64},
    "disks": [],
    "machines": {"virtio-blk": {"args": ["-M", "q35"], "disk": "virtio-blk-pci,drive={id}"}},
    "engines": {"qemu-icount": "7.2"},
    "contenders": {"a": {"append": "", "images": {"virtio-blk": {"bytes": 5, "sha256": "a" * 64}}}},
    "host": {"processor": "fast", "processors": 2},
}


class Machines:
    """Stands for every engine: boots that end as `ends` has it by (image's name, machine)."""

    def __init__(self):
        self.booted = []
        self.ends = {}

    def __call__(self, name):
        return self

    def boot(self, kernel, initrd, machine, disks, append, timeout, on_line=None, stop_on=None):
        self.booted.append((initrd.name, machine.name, append))
        end = self.ends.get((initrd.name, machine.name), "root")
        if isinstance(end, BaseException):
            raise end
        log = [(1.0, "Run /init as init process"), (1.5, "EXT4-fs (vda): mounted filesystem with ordered data mode")]
        if end == "root":
            return BootResult("", "poweroff", 8.0, None, [*log, (2.0, SENTINEL)])
        return BootResult("line before the end\n", end, 8.0, None, [])


@pytest.fixture
def machine(monkeypatch):
    found = Machines()
    monkeypatch.setattr(runner, "engine", found)
    return found


@pytest.fixture
def ready(tmp_path):
    """Two contenders on two machines, two rounds."""
    contenders = []
    for name in "ab":
        (tmp_path / name).write_text(f"image {name}")
        contenders.append(Contender(name, tmp_path / name, append=f"of={name}"))
    suite = Suite("mine", tuple(contenders), ("virtio-blk", "nvme"), runs=2, baseline="a")
    named = {"virtio-blk": VIRTIO_BLK, "nvme": NVME}
    images = {(each.name, name): File.of(each.image) for each in contenders for name in named}
    return Prepared(suite, tmp_path / "vmlinuz", (), "root=UUID=1", named, images, {}, {})


@pytest.fixture
def go_on(tmp_path):
    """go_on(prepared): do what is missing; all that is kept then, and what was told."""
    directory = tmp_path / "out"
    directory.mkdir()

    def run(prepared, jobs=1):
        told, run.shown = [], []
        hear = {"show": run.shown.append, "tell": lambda *words: told.append(words)}
        done = runner.run(prepared, directory, jobs=jobs, **hear)
        return done, told

    run.directory = directory
    return run


def test_contenders_take_turns(ready):
    turns = [key for warm, key in runner.rounds(ready.suite, ["virtio-blk", "nvme"]) if not warm]
    assert turns == [
        ("a", "virtio-blk", "qemu-icount", 1), ("b", "virtio-blk", "qemu-icount", 1),
        ("a", "nvme", "qemu-icount", 1), ("b", "nvme", "qemu-icount", 1),
        ("b", "virtio-blk", "qemu-icount", 2), ("a", "virtio-blk", "qemu-icount", 2),
        ("b", "nvme", "qemu-icount", 2), ("a", "nvme", "qemu-icount", 2),
    ]  # fmt: skip


def test_warm_ups_come_first_and_by_default_where_the_hosts_clock_counts(ready):
    suite = replace(ready.suite, engines=("qemu-icount", "qemu"))
    turns = list(runner.rounds(suite, ["nvme"]))
    assert [key for warm, key in turns if warm] == [("a", "nvme", "qemu", 1), ("b", "nvme", "qemu", 1)]
    assert [warm for warm, _ in turns] == [True] * 2 + [False] * 8
    asked = [key[2] for warm, key in runner.rounds(replace(suite, warmup=2), ["nvme"]) if warm]
    assert asked.count("qemu") == asked.count("qemu-icount") == 4


def test_warm_ups_are_kept_apart(ready, machine, go_on):
    done, _ = go_on(replace(ready, suite=replace(ready.suite, warmup=1)))
    assert (len(done), len(machine.booted)) == (8, 12)
    assert len(results.read_runs(go_on.directory / results.WARMUP)) == 4
    assert len(results.read_runs(go_on.directory)) == 8


def test_each_boot_gets_its_own_words(ready, machine, go_on):
    go_on(ready)
    words = {name: f"root=UUID=1 of={name}" for name in "ab"}
    assert set(machine.booted) == {(name, place, words[name]) for name in "ab" for place in ready.machines}


def test_what_is_done_is_not_repeated(ready, machine, go_on):
    machine.ends["b", "nvme"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        go_on(ready)
    path = go_on.directory / results.RUNS
    before = path.read_bytes()
    assert before.count(b"\n") == 3
    # Whoever is killed in the middle of a write leaves half a line.
    path.write_bytes(before + before[:57])
    machine.booted.clear()
    machine.ends.clear()
    done, _ = go_on(ready)
    assert len(machine.booted) == 5
    assert path.read_bytes().startswith(before), "what was there stays as it was"
    assert [json.loads(line)["ended"] for line in path.read_text().splitlines()] == ["root"] * 8
    assert len({results.key_of(run) for run in done}) == 8
    machine.booted.clear()
    again, told = go_on(ready)
    assert (machine.booted, told) == ([], [])
    assert again == done
    go_on(replace(ready, suite=replace(ready.suite, runs=3)))
    assert len(machine.booted) == 4, "a round more"


def test_a_boot_that_fails_is_a_result(ready, machine, go_on):
    machine.ends["b", "nvme"] = "timeout"
    machine.ends["a", "nvme"] = TinykmodError("qemu-system-x86_64", "device nvme: no such thing")
    done, told = go_on(ready)
    assert len(done) == len(told) == 8
    ends = {(run.contender, run.machine): run for run in done}
    assert ends["b", "nvme"].ended == "timeout"
    assert ends["b", "nvme"].console == ["line before the end"]
    assert ends["a", "nvme"].ended == "failed"
    assert ends["a", "nvme"].error == "qemu-system-x86_64: device nvme: no such thing"
    # What could not be begun is tried anew, what ended badly is not.
    machine.booted.clear()
    del machine.ends["a", "nvme"]
    again, _ = go_on(ready)
    assert [booted[:2] for booted in machine.booted] == [("a", "nvme")] * 2
    assert len(again) == 8
    assert results.Log(go_on.directory / results.RUNS).runs["a", "nvme", "qemu-icount", 1].ended == "root"
    assert len(results.read_runs(go_on.directory)) == 8, "of two the later counts"


def test_boots_at_the_same_time_give_the_same(ready, machine, go_on):
    machine.ends["b", "nvme"] = "panic"
    done, told = go_on(ready, jobs=3)
    assert machine.booted == [], "in other processes"
    assert {results.key_of(run): run.ended for run in done} == {
        key: "panic" if key[:2] == ("b", "nvme") else "root"
        for _, key in runner.rounds(ready.suite, list(ready.machines))
    }
    assert len(told) == 8
    # By the host's clock boots come one at a time, whatever was asked for.
    alone = replace(ready, suite=replace(ready.suite, engines=("qemu",), warmup=0))
    go_on(alone, jobs=3)
    assert len(machine.booted) == 8


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_the_bench_ends_its_boots(ready, machine, go_on, tmp_path, number):
    def boot(*_, **__):
        begun = tmp_path / f"begun-{os.getpid()}"
        begun.touch()
        try:
            signal.pause()
        finally:
            begun.rename(tmp_path / f"ended-{os.getpid()}")

    def bench():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            go_on(ready, jobs=2)

    machine.boot = boot
    child = multiprocessing.get_context("fork").Process(target=bench)
    child.start()
    while len(list(tmp_path.glob("begun-*"))) < 2:
        assert child.is_alive()
        time.sleep(0.05)
    os.kill(child.pid, number)
    child.join()
    # Each had the time to end its machine.
    while len(list(tmp_path.glob("ended-*"))) < 2:
        assert number == signal.SIGKILL, "whoever is not killed waits for them"
        time.sleep(0.05)
    assert results.read_runs(go_on.directory) == []


def test_time_left_is_told_once_there_is_a_boot_to_tell_by(ready, machine, go_on):
    _, told = go_on(ready)
    assert [status for _, status in told][:2] == [
        "1 of 8: a on virtio-blk, qemu-icount, round 1; 56 s left",
        "2 of 8: b on virtio-blk, qemu-icount, round 1; 48 s left",
    ]
    assert told[-1][1] == "8 of 8: a on nvme, qemu-icount, round 2"
    assert go_on.shown[0] == "0 of 8: a on virtio-blk, qemu-icount, round 1", "nothing to tell by yet"
    assert go_on.shown[1] == "1 of 8: b on virtio-blk, qemu-icount, round 1; 56 s left"


def test_an_image_that_changes_meanwhile(ready, machine, go_on, tmp_path):
    (tmp_path / "b").write_text("another image")
    done, _ = go_on(ready)
    assert {run.error for run in done if run.contender == "b"} == {f"{tmp_path}/b: has changed since the bench began"}
    assert {run.ended for run in done if run.contender == "a"} == {"root"}


def test_two_at_once_in_one_directory(tmp_path):
    out = tmp_path / "out"
    with results.held(out), pytest.raises(TinykmodError, match="another bench writes its"), results.held(out):
        pass
    with results.held(out):
        pass


def test_a_record_that_is_damaged(tmp_path):
    run = Measured("a", "nvme", "qemu", 1, "root")
    path = tmp_path / results.RUNS
    results.Log(path).add(run)
    whole = path.read_bytes()
    for damage in (b"{}\n", b"[]\n", b"\xff\n", b'{"contender": "a", "loads": 3}\n'):
        path.write_bytes(whole + damage + whole)
        with pytest.raises(TinykmodError, match=r"runs.jsonl: line 2: is no measured boot"):
            results.Log(path)
    (tmp_path / results.ABOUT).write_text('{"format": "another"}')
    with pytest.raises(TinykmodError, match=r"bench.json: is not what"):
        results.read_about(tmp_path)


def test_a_line_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    log = results.Log(tmp_path / results.RUNS)
    log.add(Measured("a", "nvme", "qemu", 1, "root"))
    whole = log.path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left on device") as caught:
            log.add(Measured("a", "nvme", "qemu", 2, "root"))
    assert caught.value.filename == str(log.path)
    assert log.path.read_bytes() == whole
    log.add(Measured("a", "nvme", "qemu", 3, "root"))
    assert [run.run for run in results.read_runs(tmp_path)] == [1, 3]


def changed(**parts):
    return {**json.loads(json.dumps(ABOUT)), **parts}


@pytest.mark.parametrize(
    ("parts", "what"),
    [
        ({"kernel": {"release": "6.1.0", "sha256": "x" * 64}},
         "kernel: 6.1.0 (kkkkkkkkkkkk) then, 6.1.0 (xxxxxxxxxxxx) now"),
        ({"append": "root=/dev/vda"}, "append: 'root=UUID=1' then, 'root=/dev/vda' now"),
        ({"disks": [{"sha256": "d" * 64}]}, "disks: the usual root then, dddddddddddd now"),
        ({"engines": {"qemu-icount": "8.0"}}, "engine qemu-icount: 7.2 then, 8.0 now"),
        ({"machines": {"virtio-blk": {"args": ["-M", "pc"], "disk": "x"}}}, "machine virtio-blk: "),
        ({"contenders": {"a": {"append": "", "images": {"virtio-blk": {"bytes": 6, "sha256": "b" * 64}}}}},
         "image of a for virtio-blk: 5 bytes (aaaaaaaaaaaa) then, 6 bytes (bbbbbbbbbbbb) now"),
        ({"contenders": {"a": {"append": "quiet", "images": {}}}}, "contender a, append: '' then, 'quiet' now"),
    ],
)  # fmt: skip
def test_what_is_another_under_the_same_name_is_noticed(parts, what):
    [line] = changes(ABOUT, changed(**parts))
    assert line.startswith(what)


def test_what_is_only_in_one_is_no_change():
    other = {"b": {"append": "", "images": {"nvme": {"bytes": 7, "sha256": "b" * 64}}}}
    new = changed(contenders=other, begun="later", label="v2", host={"processor": "slow", "processors": 1})
    assert changes(ABOUT, new) == [], "and counted instructions do not depend on the host"
    both = merged(ABOUT, new)
    assert set(both["contenders"]) == {"a", "b"}
    assert both["contenders"]["a"] == ABOUT["contenders"]["a"]
    assert (both["begun"], both["label"]) == (ABOUT["begun"], ABOUT["label"])
    hosts = [{"processor": name, "processors": 2} for name in ("fast", "slow")]
    by_clock = [changed(engines={"qemu": "7.2"}, host=host) for host in hosts]
    assert changes(*by_clock) == ["host of engine qemu: 2 x fast then, 2 x slow now"]


def boots(name, times, machine="nvme", ended="root"):
    marks = [{"init": 1.0, "mounted": 1.0 + seconds} for seconds in times]
    return [Measured(name, machine, "qemu-icount", number, ended, each, image_bytes=1 << 20)
            for number, each in enumerate(marks, 1)]  # fmt: skip


def test_ratios_are_of_the_same_round():
    base, other, failed = boots("a", [0.5, 1.0, 2.0]), boots("b", [1.0, 1.5, 4.0]), boots("c", [1.0], ended="panic")
    found = figures.rows([*other, *failed, *base[:2]], "a")
    assert [row.contender for row in found] == ["a", "b", "c"], "the baseline first"
    figure = found[1].metrics["T_root"]
    assert (figure.median, figure.least, figure.most, figure.runs) == (1.5, 1.0, 4.0, 3)
    assert (figure.ratio, figure.ratio_least, figure.ratio_most) == (1.75, 1.5, 2.0), "of two rounds that both have"
    assert (found[2].ends, found[2].metrics) == ({"panic": 1}, {})


def test_the_table():
    runs = [*boots("a", [0.5, 0.52]), *boots("b", [1.0, 1.04]), *boots("c", [1.0], ended="panic")]
    assert figures.table(figures.rows(runs, "a"), "a") == (
        "nvme, qemu-icount    image              T_root  to the root\n"
        "a                  1.0 MiB         510.0 ±10.0  2 of 2\n"
        "b                  1.0 MiB  1020.0 ±20.0 x2.00  2 of 2\n"
        "c                  1.0 MiB                   -  0 of 1 (1 panic)"
    )


def test_csv_has_a_line_a_boot():
    runs = [*boots("a", [0.5]), *boots("odd, name", [1.0], ended="timeout")]
    lines = list(csv.DictReader(io.StringIO(figures.to_csv(runs))))
    assert [line["contender"] for line in lines] == ["a", "odd, name"]
    assert (lines[0]["T_root"], lines[0]["mark_mounted"], lines[0]["T_gpu"]) == ("0.500000", "1.500000", "")


def test_what_cannot_be_made_does_not_keep_the_others_from_booting(kernel, tmp_path, monkeypatch):
    def make(name, of, machine, where):
        assert (of.release, machine.name) == (kernel.release, "nvme")
        raise TinykmodError(name, "there is no network")

    monkeypatch.setattr(prepare.contenders, "make", make)
    (tmp_path / "a.img").write_bytes(b"abc")
    contenders = (Contender("mine", tmp_path / "a.img"), Contender("tinykmod", make="tinykmod"))
    ready = prepare.prepare(Suite("mine", contenders, ("nvme",), append="quiet").checked(), lambda text: None)
    assert {place: str(error) for place, error in ready.unmade.items()} == {
        ("tinykmod", "nvme"): "tinykmod: there is no network"
    }
    assert set(ready.images) == {("mine", "nvme")}
    assert ready.append.startswith("root=UUID=")
    assert ready.append.endswith(" quiet")
    assert (ready.about["kernel"]["release"], ready.about["append"]) == (kernel.release, ready.append)
    assert set(results_of(ready)) == {"mine"}


def test_a_bench_goes_by_its_commit(tmp_path, monkeypatch):
    def git(*words):
        settings = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
        return subprocess.run(["git", *settings, *words], cwd=tmp_path, check=True, capture_output=True, text=True)

    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert prepare.revision(tmp_path) == ""
    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-qm", "one")
    commit = git("rev-parse", "--short", "HEAD").stdout.strip()
    assert prepare.revision(tmp_path) == commit
    git("tag", "v1")
    (tmp_path / "file").write_text("two")
    assert prepare.revision(tmp_path) == "v1-dirty"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert prepare.revision(tmp_path) == ""


def results_of(ready):
    return [key[0] for _, key in runner.rounds(ready.suite, list(ready.machines)) if key[:2] in ready.images]


def test_a_kernel_of_another_architecture(tmp_path):
    for name in ("a.img", "Image"):
        (tmp_path / name).write_bytes(b"\0" * 1000)
    suite = Suite("mine", (Contender("mine", tmp_path / "a.img"),), kernel=str(tmp_path / "Image"))
    with pytest.raises(TinykmodError, match="is no kernel for x86_64"):
        prepare.prepare(suite.checked(), lambda text: None)
    both = replace(suite, machines=("virtio-blk", "arm64-mmio"))
    with pytest.raises(TinykmodError, match="machines of several architectures"):
        prepare.prepare(both.checked(), lambda text: None)


def test_a_kernel_tells_its_release(kernel, tmp_path):
    assert prepare._release(kernel.vmlinuz) == kernel.release
    (tmp_path / "Image").write_bytes(b"\0" * 600 + b"Linux version 6.6.1-board (gcc) " + b"\0" * 99)
    assert prepare._release(tmp_path / "Image") == "6.6.1-board"
    (tmp_path / "other").write_bytes(b"abc")
    assert prepare._release(tmp_path / "other") == ""


def test_a_root_disk_of_another_version_is_not_taken(busybox, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr(prepare.debian, "fetch_busybox", lambda arch: busybox)
    root = prepare._root(machines.X86_64)
    assert root.is_file()
    assert prepare._root(machines.X86_64) == root
    (tmp_path / "disk.py").write_text("# what it puts into a root is something else\n")
    monkeypatch.setattr(prepare.disk, "__file__", str(tmp_path / "disk.py"))
    other = prepare._root(machines.X86_64)
    assert other != root
    assert other.is_file()
