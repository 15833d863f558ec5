"""`tinykmod bench` on a real machine, killed in the middle and gone on with."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tinykmod

pytestmark = pytest.mark.vm

SUITE = """\
# The one that cannot boot comes first: what is killed is then under way for long.
contenders = ["bad.img", {{ name = "good", image = "{image}", append = "rd.tinykmod.jobs=1" }}]
baseline = "good"
engines = ["qemu"]
runs = 1
warmup = 0
"""


def machines(image):
    """Those that run with IMAGE, by their numbers."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if os.fsencode(image) in path.read_bytes():
                found.append(path.parent.name)
    return found


def test_killed_and_gone_on_with(image, run_tinykmod, tmp_path):
    own = tmp_path / "own.img"
    own.symlink_to(image)
    (tmp_path / "mine.toml").write_text(SUITE.format(image=own))
    (tmp_path / "bad.img").write_bytes(b"no archive" * 1000)
    out = tmp_path / "out"
    words = ["bench", str(tmp_path / "mine.toml"), "-o", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(Path(tinykmod.__file__).parent.parent)}
    first = [sys.executable, "-m", "tinykmod", *words, "--label", "first"]
    with subprocess.Popen(first, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          text=True) as killed:  # fmt: skip
        while killed.poll() is None and not machines(own):
            time.sleep(0.1)
        assert killed.poll() is None, killed.stderr.read()
        killed.kill()
    while machines(own):
        time.sleep(0.1)
    before = (out / "runs.jsonl").read_bytes()
    (out / "runs.jsonl").write_bytes(before + b'{"contender": "good", "ma')

    done = run_tinykmod(*words)
    assert done.returncode == 0, done.stderr
    assert (out / "runs.jsonl").read_bytes().startswith(before)
    bad, good = [json.loads(line) for line in (out / "runs.jsonl").read_text().splitlines()]
    assert (bad["contender"], bad["ended"], bad["image_bytes"]) == ("bad", "panic", 10000)
    assert "Kernel panic" in bad["error"]
    assert (good["contender"], good["ended"], good["error"]) == ("good", "root", "")
    marks = good["marks"]
    assert marks["unpack"] < marks["unpacked"] < marks["root_init"]
    assert marks["init"] < marks["disk"] < marks["mounted"] < marks["root_init"]
    assert {load["name"] for load in good["loads"]} >= {"virtio_blk", "ext4"}
    assert len({load["worker"] for load in good["loads"]}) == 1, "the contender's own words came to the kernel"
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("tinykmod: 2 of 2: good on virtio-blk, qemu, round 1: T_root ")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines if line[-3:] == ["1", "of", "1"]] == ["good"]
    assert [line[0] for line in lines if line[-2:] == ["(1", "panic)"]] == ["bad"]

    rows = {row["contender"]: row for row in json.loads((out / "results.json").read_text())["rows"]}
    assert rows["good"]["metrics"]["T_root"]["median"] == pytest.approx(marks["mounted"] - marks["init"])
    assert rows["bad"] | {"metrics": {}} == rows["bad"]
    about = json.loads((out / "bench.json").read_text())
    assert about["contenders"]["good"]["images"]["virtio-blk"]["bytes"] == image.stat().st_size == good["image_bytes"]
    assert about["kernel"]["release"] in done.stdout
    assert about["engines"]["qemu"]
    assert about["label"] == "first", "what is gone on with is called as it was begun"
    assert "<h1>good" in (out / "report.html").read_text()
    shown = run_tinykmod("bench", "show", out)
    assert shown.stdout.splitlines() == done.stdout.splitlines()[:-2]

    again = run_tinykmod(*words)
    assert (again.returncode, again.stdout, again.stderr) == (0, done.stdout, "")
    (tmp_path / "bad.img").write_bytes(b"another one")
    other = run_tinykmod(*words)
    assert (other.returncode, other.stdout) == (1, "")
    assert other.stderr.startswith(f"tinykmod: {out}: is of something else: image of bad for virtio-blk: 10000 ")
    assert other.stderr.count("\n") == 1
    assert (out / "runs.jsonl").read_bytes().startswith(before)
