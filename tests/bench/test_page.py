"""The page of a bench and of a boot: what it answers, in a real browser; pictures as files; what is no bench."""

from __future__ import annotations

import html
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from chromium import Browser, chromium

from tinykmod.bench import page
from tinykmod.bench.measured import Load, Measured, Step
from tinykmod.bench.pictures import contenders, look, timeline, trend
from tinykmod.bench.pictures.phases import shares
from tinykmod.bench.results import FORMAT
from tinykmod.errors import TinykmodError

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Write = Callable[..., Path]

SVG = "{http://www.w3.org/2000/svg}"
#: A name that would be markup, a reference and a formula if it were not escaped.
ODD = "odd <b>&amp; $x^2$ \"q\" 'é'"


def measured(contender: str, machine: str, run: int, root: float, **others: object) -> Measured:
    """A boot whose root is mounted ROOT seconds after init, which starts at 2 s."""
    loads = [
        Load("virtio", 2.0, root / 4, 1, "dependency", "virtio_blk"),
        Load("virtio_blk", 2.0 + root / 4, root / 4, 1, "modalias", "virtio:d02"),
        Load("psmouse", 2.0 + root / 8, root * 2, 2, "modalias", "serio:ty01"),
        Load("ext4", 2.0 + root / 2, root / 2 - 0.001, 1, "root", "ext4"),
        Load("gone<&>", 2.0 + root / 2, 0.0, 3, "request", "gone", -2),
    ]
    path = [Step("module", 2.0, root / 2, "virtio_blk"), Step("mount", 2.0 + root / 2, root / 2)]
    shown = [Step("module", 2.0, root / 2, "virtio_blk"), Step("module", 2.0 + root / 2, root, "psmouse")]
    marks = {"unpack": 0.5, "unpacked": 1.0, "init": 2.0, "disk": 2.0 + root / 2, "mounted": 2.0 + root,
             "root_init": 2.1 + root, "all": 2.0 + root * 17 / 8}  # fmt: skip
    given = {"ended": "root", "marks": marks, "loads": loads, "path": path, "display_path": shown,
             "image_bytes": 5 << 20, **others}  # fmt: skip
    return Measured(contender, machine, "qemu-icount", run, **given)  # type: ignore[arg-type]


def boots(scale: float = 1.0) -> list[Measured]:
    quick = [measured("quick", machine, run, scale * (0.5 + run / 1000)) for machine in ("nvme", "ahci")
             for run in (1, 2, 3)]  # fmt: skip
    slow = [measured(ODD, machine, run, 1.25 + run / 1000) for machine in ("nvme", "ahci") for run in (1, 2, 3)]
    panics = [measured("bad", "ahci", run, 1, ended="panic", marks={"init": 2.0}, loads=[], path=[],
                       error="Kernel panic - not syncing: no </pre><script>alert(1)</script>",
                       console=["[    2.1] </pre><script>alert(1)</script>"]) for run in (1, 2)]  # fmt: skip
    return [*quick, *slow, *panics]


def write_bench(directory: Path, runs: Sequence[Measured], begun: str = "2026-01-02", label: str = "") -> Path:
    """A directory of results."""
    directory.mkdir()
    (directory / "runs.jsonl").write_text("".join(f"{json.dumps(run.to_json())}\n" for run in runs))
    image = {"bytes": 5 << 20, "sha256": "ab" * 32}
    about = {
        "format": FORMAT, "begun": begun, "label": label, "suite": {"name": "board", "baseline": ODD},
        "kernel": {"release": "6.1.0-9-test"}, "machines": {"nvme": {"args": ["-M", "q35"], "disk": "nvme,drive=x"}},
        "contenders": {"quick": {"about": "what it <is>", "images": {"nvme": image, "ahci": image}}},
    }  # fmt: skip
    (directory / "bench.json").write_text(json.dumps(about))
    return directory


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write(name, boots, begun, label) is write_bench()."""
    return lambda name, *words: write_bench(tmp_path / name, *words)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a bench in which one contender takes half as long as in the one before."""
    here = tmp_path_factory.mktemp("page")
    old, new = write_bench(here / "v1", boots(2.0), "2026-01-01"), write_bench(here / "v2", boots())
    page.write(new, here / "page.html", [old])
    return here / "page.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


#: The text that is to be seen without scrolling.
FIRST_SCREEN = """(() => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), seen = [];
    while (walker.nextNode()) {
        const range = document.createRange();
        range.selectNodeContents(walker.currentNode);
        const box = range.getBoundingClientRect();
        if (box.height && box.bottom <= innerHeight && box.right <= innerWidth) seen.push(walker.currentNode.data);
    }
    return seen.join("").replaceAll("\\u00a0", " ");
})()"""


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_first_screen_answers(browser: Browser, compared: Path, width: int, scheme: str) -> None:
    browser.open(compared, width, 844, scheme)
    seen = browser.run(FIRST_SCREEN)
    assert "quick is the fastest to the root on both machines, 2.49 times as fast as " + ODD in seen
    assert "Than before (v1), what is first now is faster everywhere" in seen
    assert "ahci502 msquick" in seen
    assert "1.00 s, 50.0 % faster" in seen
    assert browser.complaints() == []
    assert browser.requests() == [compared.as_uri()]
    assert browser.run("document.documentElement.scrollWidth") == width, "only tables and timelines scroll sideways"
    assert browser.run("document.scripts.length") == 0
    dark = browser.run("getComputedStyle(document.querySelector('.card')).backgroundColor")
    assert dark == ("rgb(23, 26, 32)" if scheme == "dark" else "rgb(255, 255, 255)")
    bars = browser.run("getComputedStyle(document.querySelector('figure [style*=\"#1a66b0\"]')).fill")
    assert bars == ("rgb(111, 179, 245)" if scheme == "dark" else "rgb(26, 102, 176)")
    shown = browser.run("""[...document.querySelectorAll('figure')].filter(one => one.offsetHeight).map(
        one => [...one.querySelectorAll('svg')].filter(svg => svg.getBoundingClientRect().height).length)""")
    assert set(shown) == {1}


def test_text_is_large_enough_on_a_phone(browser: Browser, compared: Path) -> None:
    browser.open(compared, 390, 844)
    sizes = browser.run("""[...document.querySelectorAll('svg text')]
        .filter(one => one.getBoundingClientRect().height)
        .map(one => parseFloat(getComputedStyle(one).fontSize) * one.getScreenCTM().a)""")
    assert len(sizes) > 20
    assert min(sizes) >= 9.5


def test_every_boot_has_its_place(browser: Browser, compared: Path) -> None:
    browser.open(compared)
    text = browser.run("document.body.textContent").replace("\N{NO-BREAK SPACE}", " ")
    for expected in (
        "no </pre><script>alert(1)</script>",
        "bad on ahci 2 of 2 boots, the last: Kernel panic",
        "quick on nvme root mounted after 502 ms, 5 modules, boot 2 of 3",
        f"{ODD} on ahci root mounted after 1.25 s",
        "6.1.0-9-test",
        "ENOENT",
        "-M q35 nvme,drive=x",
        "quick5.0 MiBababababababnvme, ahciwhat it <is>",
    ):
        assert expected in text
    assert browser.run("document.querySelectorAll('b b').length") == 0


def test_a_level_field_is_no_victory(browser: Browser, write: Write, tmp_path: Path) -> None:
    """What differs by less than the noise is not told as if it were faster."""
    runs = [measured(name, "nvme", run, at + run / 100) for name, at in (("one", 0.5), ("two", 0.501))
            for run in (1, 2, 3)]  # fmt: skip
    page.write(write("v2", runs), tmp_path / "page.html", [write("v1", runs, "2026-01-01")])
    browser.open(tmp_path / "page.html")
    seen = browser.run(FIRST_SCREEN)
    assert "one and two are level to the root on nvme: 520 ms" in seen
    assert "one and, level with it, two" in seen
    assert "unchanged within the noise on nvme" in seen


def test_the_baseline_may_be_the_fastest(write: Write, tmp_path: Path) -> None:
    runs = [measured(name, "nvme", 1, at) for name, at in ((ODD, 0.5), ("two", 0.75), ("three", 1))]
    page.write(write("v1", runs), tmp_path / "page.html")
    text = html.unescape((tmp_path / "page.html").read_text()).replace("\N{NO-BREAK SPACE}", " ")
    assert f"{ODD} is the fastest to the root on nvme: 500 ms, 1.5 times as fast as the next" in text


def test_where_no_root_was_reached(browser: Browser, write: Write, tmp_path: Path) -> None:
    page.write(write("v1", [run for run in boots() if run.contender == "bad"]), tmp_path / "page.html")
    browser.open(tmp_path / "page.html")
    seen = browser.run(FIRST_SCREEN)
    assert "No contender was seen to reach its root" in seen
    assert "Nothing to compare with: no earlier results were given." in seen
    assert browser.complaints() == []


def test_pictures_are_files_of_their_own(run_tinykmod: Run, write: Write, tmp_path: Path, browser: Browser) -> None:
    old, new = write("v1", boots(2.0), "2026-01-01"), write("v2", boots())
    done = run_tinykmod("report", new, "-o", tmp_path / "p.html", "--before", old, "--pictures", tmp_path / "svg")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path / 'p.html'}\n", "")
    files = {path.name: path for path in (tmp_path / "svg").iterdir()}
    assert {"root-nvme.svg", "whole-ahci.svg", "trend-nvme.svg", "timeline-nvme-quick.svg"} <= files.keys()
    assert len(files) == 10
    for path in files.values():
        tree = ET.parse(path).getroot()
        assert tree.tag == f"{SVG}svg"
        ids = [element.get("id") for element in tree.iter() if element.get("id")]
        assert len(ids) == len(set(ids))
        assert len(list(tree.iter(f"{SVG}title"))) > 1
    titles = [one.text or "" for one in ET.parse(files["timeline-nvme-quick.svg"]).iter(f"{SVG}title")]
    told = "gone<&>: at 251 ms, took 0 ms, ENOENT; the kernel asked for gone"
    assert told.replace(" ms", "\N{NO-BREAK SPACE}ms") in titles
    browser.open(files["root-nvme.svg"], scheme="dark")
    fill = browser.run("getComputedStyle(document.querySelector('[style*=\"#1a66b0\"]')).fill")
    assert fill == "rgb(111, 179, 245)"


def test_the_trend_goes_over_commits_in_order_of_time(
    run_tinykmod: Run, write: Write, tmp_path: Path, browser: Browser
) -> None:
    labels = ["v1.2", "v1.2-7-g0123abc", "v1.2-14-g9f8ae0c-dirty", "v1.2-7-g0123abc"]
    times = [1.0, 0.75, 0.5, 0.25]
    found = [write(f"d{number}", [measured("quick", "nvme", run, at + run / 1000) for run in (1, 2, 3)],
                   f"2026-01-0{number}T10:20:30+00:00", label)
             for number, (at, label) in enumerate(zip(times, labels, strict=True), 1)]  # fmt: skip
    done = run_tinykmod("report", *found[::-1], "-o", tmp_path / "p.html", "--pictures", tmp_path / "svg")
    assert (done.returncode, done.stderr) == (0, "")
    axis = ["v1.2", "v1.2-7-g0123abc (d2)", "v1.2-14-g9f8ae0c-dirty", "v1.2-7-g0123abc (d4)"]
    tree = ET.parse(tmp_path / "svg/trend-nvme.svg").getroot()
    texts = [one.text or "" for one in tree.iter(f"{SVG}text")]
    shown = [next(text for text in texts if text and whole.endswith(text.lstrip("…"))) for whole in axis]
    assert [texts.index(text) for text in shown] == sorted(texts.index(text) for text in shown)
    tips = [(one.text or "").replace("\N{NO-BREAK SPACE}", " ") for one in tree.iter(f"{SVG}title")]
    for name, what in zip(axis, ("1.00 s", "752 ms", "502 ms", "252 ms"), strict=True):
        assert any(tip.startswith(f"quick, {name}: {what}") for tip in tips), tips
    browser.open(tmp_path / "p.html")
    text = browser.run("document.body.textContent").replace("\N{NO-BREAK SPACE}", " ")
    assert "quick is the fastest to the root on nvme: 252 ms" in text, "the page is of the latest"
    assert "Than before (v1.2-14-g9f8ae0c-dirty), what is first now is faster" in text
    rows = browser.run("""[...document.querySelectorAll('details')].filter(
        one => one.textContent.startsWith('The trend in figures')).flatMap(
        one => [...one.querySelectorAll('tbody tr')].map(row => row.children[0].textContent
            + ', ' + row.children[1].textContent))""")
    assert rows == [f"{name}, 2026-01-0{number} 10:20" for number, name in enumerate(axis, 1)]
    assert browser.complaints() == []


def test_the_same_boots_give_the_same_bytes(write: Write, tmp_path: Path) -> None:
    directory = write("v1", [run for run in boots() if run.machine == "nvme"])
    for name in ("a", "b"):
        page.write(directory, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_workers_are_lanes_and_the_path_is_drawn(tmp_path: Path) -> None:
    tree = ET.fromstring(timeline.draw(measured("quick", "nvme", 1, 0.5)).svg())
    texts = [one.text for one in tree.iter(f"{SVG}text")]
    assert [text for text in texts if text and text.startswith("worker")] == ["worker 1", "worker 2", "worker 3"]
    assert {"path to root", "path to display", "whole boot", "mount", "a device asked for it"} <= set(texts)
    assert (texts.count("virtio_blk"), texts.count("psmouse")) == (3, 2), "on their workers, and on the paths"
    styles = [one.get("style", "") for one in tree.iter(f"{SVG}path")]
    for what in ("path", "display", "wait", "modalias", "dependency", "root", "failed"):
        assert any(f"fill: {look.colour(what)}" in style for style in styles), what
    for what, name in (("path", "virtio_blk, which is on both"), ("display", "psmouse")):
        assert sum(f"stroke: {look.colour(what)}" in style for style in styles) == 1, name
    only = ET.fromstring(timeline.draw(measured("quick", "nvme", 1, 0.5, display_path=[])).svg())
    assert "path to display" not in [one.text for one in only.iter(f"{SVG}text")]


def test_loads_that_overlap_are_on_lanes_of_their_own() -> None:
    """A log by initcall_debug may not know the workers."""
    loads = [Load(name, begin, 1.0) for name, begin in (("a", 2.0), ("b", 2.5), ("c", 3.0), ("d", 3.6))]
    tree = ET.fromstring(timeline.draw(measured("x", "y", 1, 3, loads=loads, path=[])).svg())
    boxes = {}
    for group in tree.iter(f"{SVG}g"):
        title, path = group.find(f"{SVG}title"), group.find(f"{SVG}path")
        if title is not None and path is not None and (title.text or "")[:2] in ("a:", "b:", "c:", "d:"):
            boxes[(title.text or "")[0]] = float((path.get("d") or "").split()[2])
    assert boxes["a"] == boxes["c"] != boxes["b"] == boxes["d"]


def test_the_shares_add_up_to_the_boot() -> None:
    boot = measured("quick", "nvme", 1, 0.5)
    found = shares(boot)
    assert sum(found.values()) == pytest.approx(boot.marks["root_init"])
    assert found["unpacking"] == pytest.approx(0.5)
    assert found["kernel"] == pytest.approx(1.5)
    # psmouse, which nobody waits for, is under way until after the root is mounted.
    assert found["loader"] == pytest.approx(0.0)
    assert found["handover"] == pytest.approx(0.1)


@pytest.mark.parametrize("pair", look.COLOURS.items(), ids=str)
def test_colours_are_told_apart_from_the_ground(pair: tuple[str, tuple[str, str]]) -> None:
    """WCAG 2.2: 4.5 for what is text or carries it. Lines of the grid, and waits, are to be fainter."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    def contrast(one: str, other: str) -> float:
        low, high = sorted((luminance(one), luminance(other)))
        return (high + 0.05) / (low + 0.05)

    name, colours = pair
    least = {"surface": 1.0, "grid": 1.0, "wait": 1.2, "axis": 3.0}.get(name, 4.5)
    for scheme in (0, 1):
        assert contrast(colours[scheme], look.COLOURS["surface"][scheme]) >= least
        assert name != "wait" or contrast(colours[scheme], look.COLOURS["ink"][scheme]) >= 4.5


def test_each_colour_stands_for_one_thing() -> None:
    light = [colours[0] for colours in look.COLOURS.values()]
    assert len(light) == len(set(light))


def test_what_cannot_be_drawn_is_told() -> None:
    with pytest.raises(TinykmodError, match="x: has no timeline"):
        timeline.draw(measured("x", "y", 1, 1, loads=[]))
    with pytest.raises(TinykmodError, match="T_gpu: no boot has it"):
        contenders.draw([], "T_gpu")
    with pytest.raises(TinykmodError, match="T_root: no boot has it"):
        trend.draw(["a"], {"x": [None]}, "T_root")


@pytest.mark.parametrize(("file", "text", "why"), [
    ("runs.jsonl", "", "holds no boot yet"),
    ("runs.jsonl", "{}\n", "line 1: is no measured boot"),
    ("runs.jsonl", None, "has no runs.jsonl"),
    ("bench.json", "[1]", "is not what `tinykmod bench` of this version writes"),
])  # fmt: skip
def test_what_is_no_bench_is_one_line(
    run_tinykmod: Run, write: Write, tmp_path: Path, file: str, text: str | None, why: str
) -> None:
    directory = write("v1", boots()[:1])
    (directory / file).unlink()
    if text is not None:
        (directory / file).write_text(text)
    (tmp_path / "page.html").write_text("was here")
    done = run_tinykmod("report", directory, "-o", tmp_path / "page.html")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert why in done.stderr
    assert (tmp_path / "page.html").read_text() == "was here"


def test_what_is_missing_is_one_line(run_tinykmod: Run, write: Write, tmp_path: Path) -> None:
    new = write("v1", boots()[:1])
    for words, why in (
        ((new, "--before", tmp_path / "gone"), f"{tmp_path / 'gone'}: is not there"),
        ((new, "-o", tmp_path / "no/page.html"), "No such file or directory"),
        ((tmp_path / "gone.jsonl",), "No such file or directory"),
        ((new / "runs.jsonl", "--before", new), "is no directory of results"),
        ((new / "runs.jsonl", new), "is no directory of results"),
        ((new, new / "runs.jsonl"), "is no directory of results"),
        ((new / "runs.jsonl",), "runs.jsonl:1: 'ev' is missing"),
    ):
        done = run_tinykmod("report", *words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
        assert why in done.stderr


def test_without_matplotlib_the_extra_is_named(write: Write, tmp_path: Path) -> None:
    """Modules that need it are not even looked for before that."""
    script = ("import sys; sys.modules['matplotlib'] = None\nfrom tinykmod.cli import main\n"
              "sys.exit(main(sys.argv[1:]))")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", script, "report", write("v1", boots()), "-o", tmp_path / "x.html"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "tinykmod: matplotlib: not installed, and pictures need it: pip install 'tinykmod[plots]'\n"
    )
    assert not (tmp_path / "x.html").exists()
