"""Two benches beside each other, and budgets."""

from __future__ import annotations

import json
import sys

import pytest

from tinykmod.bench import compare as comparing
from tinykmod.bench.compare import compare, noise, past, read_budget
from tinykmod.bench.figures import figure, rows
from tinykmod.bench.measured import Measured
from tinykmod.cli import bench
from tinykmod.errors import TinykmodError


def boots(times, name="mine", machine="nvme", size=1 << 20, ended="root"):
    marks = [{"init": 1.0, "mounted": 1.0 + seconds} for seconds in times]
    return [Measured(name, machine, "qemu-icount", number, ended, each, image_bytes=size)
            for number, each in enumerate(marks, 1)]  # fmt: skip


def verdicts(old, new):
    return {change.metric: change.verdict for change in compare(rows(old), rows(new))}


def test_within_the_noise_nothing_is_slower():
    still, noisy = [0.500, 0.501, 0.499], [0.46, 0.50, 0.54]
    assert verdicts(boots(still), boots([t + 0.02 for t in still])) == {"T_root": "slower", "image": "same"}
    assert verdicts(boots(noisy), boots([t + 0.02 for t in noisy]))["T_root"] == "same"
    assert verdicts(boots(still), boots([t - 0.02 for t in still]))["T_root"] == "faster"
    # Noise of the new ones counts as much, and more boots see smaller changes.
    assert verdicts(boots(still), boots([t + 0.02 for t in noisy]))["T_root"] == "same"
    assert verdicts(boots(noisy * 20), boots([t + 0.03 for t in noisy * 20]))["T_root"] == "slower"


def test_of_single_boots_the_noise_is_taken_to_be_one_percent():
    one, two = (figure({1: seconds}, {}) for seconds in (1.0, 1.2))
    assert noise(one, two) == comparing.SINGLE * 1.0
    assert verdicts(boots([1.0]), boots([1.009]))["T_root"] == "same"
    assert verdicts(boots([1.0]), boots([1.011]))["T_root"] == "slower"


def test_boots_that_are_alike_by_chance_are_no_reason_to_take_others_for_slower():
    # A deviation of 1 ms in 2 + 2 boots: 99 of 100 such differences are within 9.92 standard errors.
    alone = noise(*(figure({1: at, 2: at + 0.001}, {}) for at in (1.0, 2.0)))
    shares = [0.5**0.5 * 0.001 / at for at in (1.0005, 2.0005)]
    assert alone == pytest.approx(9.92 * 1.0005 * (sum(share**2 for share in shares) / 2) ** 0.5)
    # By ten others it is known better, even where these boots are alike, or are one each.
    others = [figure({1: 5.0, 2: 5.005}, {})] * 10
    sure = noise(*(figure({1: at, 2: at}, {}) for at in (1.0, 1.0)), others)
    assert 0.0015 < sure < 0.0025 < alone
    assert 1 < noise(figure({1: 1.0}, {}), figure({1: 1.0}, {}), others) / sure < 2
    # Boots that differ more than the others' have a noise of their own, and stamps one of a microsecond.
    assert noise(figure({1: 1.0, 2: 1.1}, {}), figure({1: 1.0, 2: 1.1}, {}), others) > 0.1
    assert noise(figure({1: 1.0, 2: 1.0}, {}), figure({1: 1.0, 2: 1.0}, {})) == 2e-6


def test_other_contenders_tell_how_far_boots_differ():
    still, noisy = boots([0.5, 0.5]), boots([0.5, 0.55, 0.6, 0.5, 0.55, 0.6], "noisy")
    slower = boots([0.52, 0.52])
    assert verdicts(still, slower)["T_root"] == "slower"
    here = compare(rows([*still, *noisy]), rows([*slower, *noisy]))
    assert {change.verdict for change in here if change.metric == "T_root"} == {"same"}
    elsewhere = [*still, *boots([0.5, 0.55, 0.6], "noisy", "ahci")]
    assert verdicts(elsewhere, [*slower, *elsewhere[2:]])["T_root"] == "same"  # of ahci, which is told last
    [change] = [each for each in compare(rows(elsewhere), rows([*slower, *elsewhere[2:]])) if each.metric == "T_root"
                and each.place[1] == "nvme"]  # fmt: skip
    assert change.verdict == "slower", "another machine's boots are no measure"


def test_an_image_has_no_noise():
    assert verdicts(boots([1.0]), boots([1.0], size=(1 << 20) + 1))["image"] == "larger"
    assert verdicts(boots([1.0]), boots([1.0], size=1000))["image"] == "smaller"


def test_what_one_of_them_lacks():
    changes = compare(rows(boots([1.0], "gone")), rows(boots([1.0], "new")))
    assert {(change.place[2], change.verdict) for change in changes} == {("gone", "gone"), ("new", "new")}
    assert verdicts(boots([1.0]), boots([1.0], ended="panic"))["T_root"] == "gone"


@pytest.fixture
def verdict(tmp_path):
    """verdict(budget, old, new): what is past it."""

    def judge(text, old, new):
        (tmp_path / "budget.toml").write_text(text)
        limits = read_budget(tmp_path / "budget.toml")
        return past(compare(rows(old), rows(new)), limits, rows(new), "budget.toml")

    return judge


def test_budgets(verdict):
    old, same, slow = boots([0.500, 0.501]), boots([0.501, 0.500]), boots([0.540, 0.541])
    where = "mine on nvme, qemu-icount: "
    assert verdict('T_root = "+5 %"', old, same) == []
    assert verdict('T_root = "+10 %"', old, slow) == []
    [line] = verdict('T_root = "+5 %"', old, slow)
    assert line.startswith(f"{where}T_root: 500.5 ms -> 540.5 ms +8.0 % slower")
    assert line.endswith("at most +5 %")
    assert verdict('T_root = "520 ms"', old, slow) == [f"{where}T_root: 540.5 ms, at most 520.0 ms"]
    assert verdict('T_root = "0.6 s"', old, slow) == []
    assert len(verdict('T_root = ["520 ms", "+5 %"]\nimage = "2 MiB"', old, slow)) == 2, "a line a limit"
    assert verdict('image = "1000 KiB"', old, same) == [f"{where}image: 1.0 MiB, at most 1.0 MiB"]
    assert verdict('image = "+1 %"', old, boots([0.5], size=2 << 20)) != []


def test_growth_within_the_noise_is_none(verdict):
    old, new = boots([0.40, 0.50, 0.60]), boots([0.44, 0.54, 0.64])
    assert verdict('T_root = "+5 %"', old, new) == []
    assert verdict('T_root = "520 ms"', old, new) != [], "a limit is a limit"


def test_limits_for_some(verdict):
    old = [*boots([0.5, 0.5], "mine"), *boots([0.5, 0.5], "other", "ahci")]
    new = [*boots([0.6, 0.6], "mine"), *boots([0.6, 0.6], "other", "ahci")]
    for narrow in ('contender = "mi*"', 'machine = "nvme"', 'engine = "*"\ncontender = "mine"'):
        assert [line.split()[0] for line in verdict(f'[[for]]\n{narrow}\nT_root = "+5 %"', old, new)] == ["mine"]


def test_a_boot_that_fails_or_is_gone_is_past_every_limit(verdict):
    old = boots([0.5, 0.5])
    half = [*boots([0.5]), *[run for run in boots([0.5, 0.5], ended="timeout") if run.run == 2]]
    assert verdict('T_root = "1 s"', old, half) == [
        "mine on nvme, qemu-icount: 1 of 2 boots did not come to the root's init"
    ]
    assert len(verdict('T_root = "1 s"', old, boots([0.5, 0.5], ended="panic"))) == 2
    assert verdict('T_root = "+5 %"', old, boots([0.5], "another")) == [
        "mine on nvme, qemu-icount: T_root: no longer measured"
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("T_root", "is no TOML"),
        ("", "sets no limit"),
        ('T_rot = "5 ms"', "T_rot is nothing that is compared: unpacking, T_root"),
        ("T_root = 500", 'T_root: a limit is text such as "500 ms" or "+5 %", not 500'),
        ('T_root = "5 %"', "T_root: a limit"),
        ('T_root = "+5 ms"', "T_root: a limit"),
        ('T_root = "5 MiB"', "T_root: a limit"),
        ('image = "5 ms"', 'image: a limit is text such as "8 MiB"'),
        ('contender = "mine"\nT_root = "5 ms"', "contender is nothing that is compared"),
        ('for = 3\nT_root = "5 ms"', "`for` is to be tables"),
        ('[[for]]\ncontender = 3\nT_root = "5 ms"', "contender is to be text"),
        ('[[for]]\ncontender = "main"\nT_root = "5 ms"', "there is no T_root of engine *, machine *, contender main"),
        ('T_gpu = "5 ms"', "there is no T_gpu of"),
    ],
)
def test_a_budget_that_limits_nothing_is_an_error(verdict, text, why):
    with pytest.raises(TinykmodError) as caught:
        verdict(text, boots([0.5]), boots([0.5]))
    assert why in caught.value.why


@pytest.fixture
def kept(tmp_path):
    """kept(name, runs): the path of a record with these."""

    def write(name, runs):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(f"{json.dumps(run.to_json())}\n" for run in runs))
        return path

    return write


def test_exit_codes(run_tinykmod, kept, tmp_path):
    old, new = kept("old", boots([0.499, 0.501])), kept("new", boots([0.599, 0.601]))
    (tmp_path / "budget.toml").write_text('T_root = "+5 %"\n')
    plain = run_tinykmod("bench", "compare", old, new)
    assert (plain.returncode, plain.stderr) == (0, "")
    assert "mine on nvme, qemu-icount: T_root 500.0 ms -> 600.0 ms +20.0 % slower (noise 2.6 %)\n" in plain.stdout
    assert "1 of 2 figures are the same within the noise\n" in plain.stdout
    over = run_tinykmod("bench", "compare", old, new, "--budget", tmp_path / "budget.toml")
    assert (over.returncode, over.stderr) == (1, "")
    assert over.stdout.splitlines()[-1].startswith("past the budget: mine on nvme, qemu-icount: T_root: 500.0 ms -> ")
    more = kept("more", [*boots([0.5]), *boots([0.5], "another")])
    added = run_tinykmod("bench", "compare", old, more)
    assert added.stdout.splitlines()[0] == f"another on nvme, qemu-icount: only in {more}"
    assert added.stdout.splitlines()[1] == "2 of 2 figures are the same within the noise"
    within = run_tinykmod("bench", "compare", old, old, "--budget", tmp_path / "budget.toml")
    assert within.returncode == 0
    assert run_tinykmod("bench", "compare", old).returncode == 2
    other = kept("other", boots([0.5], "other"))
    apart = run_tinykmod("bench", "compare", old, other)
    assert apart.returncode == 1
    assert apart.stderr == f"tinykmod: {other}: has no contender, machine and engine in common with {old}\n"
    empty = run_tinykmod("bench", "compare", old, tmp_path / "none")
    assert (empty.returncode, empty.stderr) == (1, f"tinykmod: {tmp_path}/none: No such file or directory\n")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "one of SUITE and --images says what to boot"),
        (("reference", "--images", "a"), "one of SUITE and --images says what to boot"),
        (("reference", "--runs", "0"), "--runs 0 is too small"),
        (("reference", "-j", "0"), "--jobs 0 is too small"),
        (("reference", "--timeout", "inf"), "--timeout inf is too large"),
        (("reference", "--timeout", "nan"), "--timeout nan is too"),
        (("run", "reference", "--no-such"), "unrecognized arguments: --no-such"),
        (("compare",), "the following arguments are required: OLD, NEW"),
    ],
)
def test_bad_usage_is_exit_code_2(run_tinykmod, tmp_path, words, why):
    done = run_tinykmod("bench", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr
    assert done.stderr.count("\n") == 1 or done.stderr.startswith("usage:")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("no-such-suite",), "no-such-suite: No such file or directory"),
        (("--images", "no-such.img", "--machine", "nvme"), "no-such.img: No such file or directory"),
        (("--images", "no-such.img", "--machine", "toaster"), "toaster: no machine of this name"),
        (("--images", "no-such.img", "--engine", "steam"), "steam: no engine of this name"),
        (("show", "."), "./runs.jsonl: No such file or directory"),
    ],
)
def test_what_is_not_there_is_one_line(run_tinykmod, words, why):
    done = run_tinykmod("bench", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert why.removeprefix("./") in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_qemu_is_one_line(run_tinykmod, tmp_path):
    (tmp_path / "a.img").write_bytes(b"")
    done = run_tinykmod("bench", "--images", tmp_path / "a.img", "-o", tmp_path / "out", PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "tinykmod: qemu-system-x86_64: not installed (Debian: apt-get install qemu-system-x86)\n"


def test_a_boot_that_gives_no_figure_is_told(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    tell = bench._teller(lambda text: None)
    for run in (*boots([0.5]), Measured("mine", "nvme", "qemu", 2, "root"), *boots([0.5], ended="panic")):
        tell(run, f"{run.run} of 3")
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "tinykmod: 2 of 3: the root's init runs; nothing could be measured, its log has no stamps"
    assert len(said) == 2


def test_help_says_how_times_are_taken(run_tinykmod):
    for words in ("bench", "--help"), ("bench", "run", "--help"), ("bench", "x.toml", "--help"):
        done = run_tinykmod(*words)
        assert done.returncode == 0
        assert "by the clock of the kernel's log" in done.stdout
