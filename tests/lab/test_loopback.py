"""A lab on the loopback: labgrid's coordinator and exporter, two places, each a board made of QEMU (board.py)."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

labgrid = pytest.importorskip("labgrid", reason="labgrid is not installed: pip install 'tinykmod[lab]'")

from labgrid.strategy import StrategyError  # noqa: E402
from once import once  # noqa: E402

from tinykmod.bench.defaults import ROOT_UUID as UUID  # noqa: E402
from tinykmod.bench.disk import SENTINEL, make_root_disk  # noqa: E402
from tinykmod.bench.lab.engine import Lab  # noqa: E402
from tinykmod.bench.lab.strategy import is_end  # noqa: E402
from tinykmod.bench.machines import MACHINES, Machine  # noqa: E402
from tinykmod.bench.result import of_console  # noqa: E402
from tinykmod.bench.results import read_runs  # noqa: E402
from tinykmod.errors import TinykmodError  # noqa: E402

pytestmark = pytest.mark.vm

BOARD = Path(__file__).with_name("board.py")
#: A root as boards have them: it prints nothing of itself, and gives a shell on the console.
SHELL_INIT = f"""\
#!/bin/busybox sh
bb=/bin/busybox
[ -e /proc/mounts ] || $bb mount -t proc proc /proc
$bb dmesg -n 1
$bb mkdir -p /bin
for tool in cat dmesg echo; do $bb ln -s $bb /bin/$tool; done
echo '{SENTINEL}' > /dev/kmsg
export PS1='board:# ' PATH=/bin
exec $bb setsid $bb cttyhack $bb sh
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for(what: Callable[[], object], which: str) -> None:
    for _ in range(600):
        if what():
            return
        time.sleep(0.1)
    pytest.fail(f"{which} is not there after a minute")


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def tool(name: str) -> str:
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert found is not None, name
    return found


class Rig:
    """The lab's directory, its processes and its environment file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: list[subprocess.Popen[bytes]] = []
        self.coordinator = f"127.0.0.1:{free_port()}"
        self.environment = directory / "lab.yaml"

    def start(self, *command: str) -> None:
        with (self.directory / f"{Path(command[0]).name}-{len(self.processes)}.log").open("wb") as log:
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=self.directory))

    def client(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [tool("labgrid-client"), "-x", self.coordinator, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def board(self, name: str, machine: Machine) -> int:
        """Start it; the port of its console."""
        port, place = free_port(), self.directory / name
        (place / "stage").mkdir(parents=True)
        qemu = [
            *(machine.emulator.program, "-display", "none", "-vga", "none", "-nic", "none", "-no-reboot"),
            *("-monitor", "none", "-serial", "stdio", *machine.args),
            *("-drive", f"if=none,format=raw,snapshot=on,id=disk0,file={place}/stage/disk0"),
            *("-device", machine.disk.format(id="disk0")),
        ]
        self.start(sys.executable, str(BOARD), "serve", str(place), str(port), *qemu)
        return port


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    lab = Rig(tmp_path_factory.mktemp("lab"))
    try:
        lab.start(tool("labgrid-coordinator"), "-l", lab.coordinator)
        wait_for(lambda: listens(int(lab.coordinator.partition(":")[2])), "the coordinator")
        ports = {"one": lab.board("one", MACHINES["virtio-blk"]), "two": lab.board("two", MACHINES["nvme"])}
        for port in ports.values():
            wait_for(lambda port=port: listens(port), "a terminal server")
        exports = {name: {"NetworkSerialPort": {"host": "127.0.0.1", "port": port, "protocol": "raw"}}
                   for name, port in ports.items()}  # fmt: skip
        (lab.directory / "exports.yaml").write_text(json.dumps(exports))
        lab.start(tool("labgrid-exporter"), "-c", lab.coordinator, "-n", "shelf", "--hostname", "127.0.0.1",
                  "exports.yaml")  # fmt: skip
        wait_for(lambda: "two" in lab.client("resources").stdout, "the exporter")
        for name in ports:
            for words in (("create",), ("add-match", f"shelf/{name}/*"), ("acquire",)):
                done = lab.client("-p", name, *words)
                assert done.returncode == 0, done.stdout + done.stderr
        switch = f"{sys.executable} {BOARD}"
        targets = {
            name: {
                "resources": {"RemotePlace": {"name": name}},
                "drivers": {
                    "SerialDriver": {},
                    "ExternalPowerDriver": {
                        "cmd_on": f"{switch} on {lab.directory / name}",
                        "cmd_off": f"{switch} off {lab.directory / name}",
                    },
                    "ShellDriver": {"prompt": "board:# ", "login_prompt": "login: ", "username": "root"},
                    "TinykmodStrategy": {
                        "stage": f"{name}/stage", "cmdline": f"console=ttyS0 quiet panic=-1 root=UUID={UUID}",
                    },
                },
            }
            for name in ports
        }  # fmt: skip
        options = {"coordinator_address": lab.coordinator}
        lab.environment.write_text(json.dumps({"options": options, "targets": targets}))  # JSON is YAML
        yield lab
    finally:
        for name in ("one", "two"):
            if (lab.directory / name / "power").exists():
                subprocess.run([sys.executable, BOARD, "off", lab.directory / name], check=False, timeout=60)
        for process in reversed(lab.processes):
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def disk(busybox: Path, shared_dir: Path) -> Path:
    return once(shared_dir / "lab-root.img",
                lambda path: make_root_disk(path, busybox=busybox, uuid=UUID, init_script=SHELL_INIT))  # fmt: skip


@pytest.fixture(scope="module")
def small_image(kernel, run_tinykmod: Callable, shared_dir: Path) -> Path:
    """What reaches both boards' disks."""

    def make(path: Path) -> None:
        words = ("--class", "filesystem", "--add", "virtio_blk", "--add", "virtio_pci", "--add", "nvme")
        done = run_tinykmod("initramfs", "-b", kernel.root, *words, "--no-firmware", "-o", path, kernel.release)
        assert done.returncode == 0, done.stderr

    return once(shared_dir / "lab.img", make)


def test_a_bench_is_on_both_places_at_once(
    rig: Rig, small_image: Path, disk: Path, run_tinykmod: Callable, tmp_path: Path
) -> None:
    """The root prints no trace: it is fetched by a shell."""
    words = ("--engine", f"labgrid:{rig.environment}", "--runs", "1", "--warmup", "0", "-o", tmp_path / "out")
    done = run_tinykmod("bench", "--images", small_image, "--disk", disk, "--until", "^board:# ", *words)
    assert done.returncode == 0, done.stderr
    results = read_runs(tmp_path / "out")
    found = {result.engine.partition("#")[2]: result for result in results}
    assert found.keys() == {"one", "two"}
    for result in results:
        assert (result.ended, result.error) == ("root", ""), result.console
        assert {"init", "mounted", "root_init"} <= result.marks.keys()
        assert all(load.why for load in result.loads), "of the trace"
        assert result.path, "to the root, by the trace"
    assert "virtio_blk" in {load.name for load in found["one"].loads}
    assert "nvme" in {load.name for load in found["two"].loads}


def test_the_strategy_goes_from_state_to_state(rig: Rig, vmlinux, small_image, busybox, shared_dir) -> None:
    """As in a test of one's own, with labgrid's pytest plugin; on a root that prints the trace by itself."""
    root = once(shared_dir / "lab-reporting.img", lambda path: make_root_disk(path, busybox=busybox, uuid=UUID))
    board = labgrid.Environment(str(rig.environment)).get_target("one")
    strategy = board.get_driver("TinykmodStrategy", activate=False)
    strategy.files(vmlinux, small_image, [root], "loglevel=7")
    strategy.transition("root_found")
    # Not by what comes after it, which shows the same.
    assert re.search(strategy.root_found, strategy.said.text), strategy.said.text
    strategy.transition("root_found")
    strategy.transition("handed_over")
    assert SENTINEL in strategy.said.text
    assert strategy.read_until(r"(?!)", 300, is_end) == "end"
    result = of_console(strategy.said.text, "poweroff", 0)
    assert result.trace is not None
    assert result.trace[-1]["ev"] == "handover"
    assert any(SENTINEL in text for _, text in result.dmesg)
    said = strategy.said
    # Back again is a new boot, and one that takes longer than it may is told.
    strategy.timeout = 0.1
    with pytest.raises(StrategyError, match="one did not come to root_found in 0.1 s"):
        strategy.transition("root_found")
    assert (strategy.status, strategy.said is said) == ("booting", False)
    with pytest.raises(StrategyError, match="no state 'on'; there is off, booting, root_found, handed_over"):
        strategy.transition("on")
    strategy.transition("off")
    assert strategy.status == "off"


def test_a_board_that_says_nothing_is_a_timeout_and_is_switched_off(rig: Rig, vmlinux, small_image, disk) -> None:
    lab = Lab(f"{rig.environment}#one")
    result = lab.boot(vmlinux, small_image, MACHINES["virtio-blk"], [disk], "root=/dev/none", timeout=1)
    assert result.ended == "timeout"
    assert result.trace is None


def test_a_place_that_is_not_there_is_one_line(rig: Rig, vmlinux, small_image, tmp_path: Path) -> None:
    text = json.loads(rig.environment.read_text())
    text["targets"] = {"main": {**text["targets"]["one"], "resources": {"RemotePlace": {"name": "three"}}}}
    file = tmp_path / "other.yaml"
    file.write_text(json.dumps(text))
    with pytest.raises(TinykmodError, match="three"):
        Lab(str(file)).boot(vmlinux, small_image, MACHINES["virtio-blk"])


@pytest.mark.parametrize(
    ("text", "argument", "why"),
    [
        (None, "", "No such file|not.*found|could not"),
        ("targets: [", "", "pars|expected"),
        ("targets: {a: {}, b: {}}", "", "which target.*a, b"),
        ("targets: {a: {}}", "#c", "no target 'c'"),
        ("targets: {a: {resources: {}, drivers: {}}}", "#a", "TinykmodStrategy"),
    ],
)
def test_an_environment_that_is_none_is_one_line(tmp_path: Path, text: str | None, argument: str, why: str) -> None:
    file = tmp_path / "env.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(TinykmodError, match=why) as caught:
        Lab(f"{file}{argument}").boot(file, file, MACHINES["virtio-blk"])
    assert "\n" not in str(caught.value)
