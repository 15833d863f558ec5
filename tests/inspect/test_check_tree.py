"""check: Debian's own trees are in order, and each fault that is put into a tree is found, and nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from make_ko import AARCH64, make_ko
from make_tree import RELEASE, make_tree

from tinykmod.bench.debian import Kernel
from tinykmod.inspect.check import check
from tinykmod.inspect.check_rules import RULES
from tinykmod.inspect.report import Level, is_wrong
from tinykmod.kmod.config import read_config
from tinykmod.modules.tree import read_tree

Run = Callable[..., subprocess.CompletedProcess[str]]

MAGIC = ("vermagic", f"{RELEASE} SMP mod_unload modversions ")
GPL = (MAGIC, ("license", "GPL"))


def found(root: Path, level: Level = Level.WARNING) -> list[tuple[str, str, str]]:
    """The findings of a tree of make_tree(), from a level on."""
    checked = check(root / "lib" / "modules" / RELEASE, root, read_config(root))
    return [
        (finding.rule.name, finding.where, finding.text)
        for finding in checked.findings
        if finding.rule.level >= level and finding.rule.name != "no-index"
    ]


def symvers(root: Path, lines: str) -> None:
    (root / "lib" / "modules" / RELEASE / "Module.symvers").write_text(lines)


def test_debians_tree_is_in_order(kernel: Kernel, depmod_root: Path) -> None:
    directory = depmod_root / "lib" / "modules" / kernel.release
    checked = check(directory, kernel.root, read_config(depmod_root))
    assert checked.kernel.source == kernel.vmlinuz
    assert checked.modules > 4000
    assert not is_wrong(checked.findings)
    assert {finding.rule.name for finding in checked.findings} == {"contested-alias", "softdep-target"}
    contested = {
        finding.where: finding.text for finding in checked.findings if finding.rule.name == "contested-alias"
    }
    assert "also claimed by 8139too" in contested["kernel/drivers/net/ethernet/realtek/8139cp.ko"]


def test_symbols(tmp_path: Path) -> None:
    root = make_tree(
        tmp_path,
        {
            "kernel/base.ko": {"modinfo": GPL, "exports": {"of_base": 7, "twice": 9}, "imports": {"printk": 1}},
            "kernel/good.ko": {"modinfo": GPL, "imports": {"of_base": 7, "printk": 1, "gone": 3}, "weak": ["gone"]},
            "kernel/lost.ko": {"modinfo": [*GPL, ("depends", "bass,base")], "imports": {"of_bass": 5, "kick": 2}},
            "kernel/lost2.ko": {"modinfo": [*GPL, ("depends", "bass")], "imports": {"of_bass": 5}},
            "kernel/astray.ko": {"modinfo": [*GPL, ("depends", "bass")], "imports": {"nowhere": 1, "of_bass": 5}},
            "kernel/too.ko": {"modinfo": GPL, "imports": {"nowhere": 1}},
            "kernel/old.ko": {"modinfo": GPL, "imports": {"of_base": 8, "printk": 2}},
            "kernel/closed.ko": {"modinfo": [MAGIC, ("license", "Proprietary")], "imports": {"kick": 2, "printk": 1}},
            "kernel/apart.ko": {"modinfo": GPL, "imports": {"feet": 4}},
            "kernel/inside.ko": {"modinfo": [*GPL, ("import_ns", "FEET")], "imports": {"feet": 4}},
            "kernel/other.ko": {"modinfo": GPL, "exports": {"twice": 9}},
            "kernel/own.ko": {"modinfo": GPL, "exports": {"printk": 3}},
        },
    )
    symvers(
        root,
        "0x00000001\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n0x00000002\tkick\tvmlinux\tEXPORT_SYMBOL_GPL\t\n"
        "0x00000004\tfeet\tvmlinux\tEXPORT_SYMBOL\tFEET\n",
    )
    assert found(root) == [
        ("unknown-symbol", "kernel/astray.ko", "nothing exports nowhere"),
        ("unknown-symbol", "kernel/too.ko", "nothing exports nowhere"),
        (
            "symbol-version",
            "kernel/old.ko",
            "of_base (built with 0x00000008, there is 0x00000007),"
            " printk (built with 0x00000002, there is 0x00000001)",
        ),
        ("gpl-only", "kernel/closed.ko", "license Proprietary, but GPL-only: kick of the kernel"),
        ("namespace", "kernel/apart.ko", "does not import FEET, of which it needs feet"),
        (
            "missing-dependency",
            "kernel/lost.ko",
            "needs bass, which is not in the tree (it has of_bass); so do lost2, astray",
        ),
        ("duplicate-export", "kernel/other.ko", "twice is exported by base, other"),
        ("duplicate-export", "kernel/own.ko", "printk is exported by the kernel, own"),
    ]


def test_symbols_where_the_kernel_is_not_known(tmp_path: Path) -> None:
    """Then a module that knows another CRC than all others is the odd one."""
    modules: dict[str, dict[str, Any]] = {
        f"kernel/m{number}.ko": {"modinfo": GPL, "imports": {"printk": 1}} for number in range(4)
    }
    modules["kernel/odd.ko"] = {"modinfo": [*GPL, ("depends", "m0,mm1")], "imports": {"printk": 2, "what": 3}}
    assert found(make_tree(tmp_path, modules)) == [
        ("symbol-version", "kernel/odd.ko", "printk (built with 0x00000002, there is 0x00000001)"),
        ("missing-dependency", "kernel/odd.ko", "needs mm1, which is not in the tree"),
    ]


def test_files_of_modules(tmp_path: Path) -> None:
    modules: dict[str, dict[str, Any]] = {f"kernel/m{number}.ko": {"modinfo": GPL} for number in range(3)}
    modules["kernel/up.ko"] = {"modinfo": [("vermagic", f"{RELEASE} mod_unload modversions RANDSTRUCT")]}
    modules["kernel/none.ko"] = {"modinfo": [("license", "GPL")]}
    modules["kernel/renamed.ko"] = {"modinfo": [*GPL, ("name", "was_this")]}
    modules["kernel/board.ko.xz"] = {"modinfo": GPL, "machine": AARCH64}
    modules["kernel/a.ko"] = {"modinfo": GPL, "exports": ["a"], "imports": ["b"]}
    modules["kernel/b.ko"] = {"modinfo": GPL, "exports": ["b"], "imports": ["a"]}
    root = make_tree(tmp_path, modules)
    directory = root / "lib" / "modules" / RELEASE
    (directory / "kernel" / "empty.ko").write_bytes(b"")
    (directory / "kernel" / "cut.ko").write_bytes(make_ko(GPL)[:-40])
    (directory / "kernel" / "cut2.ko.xz").write_bytes((directory / "kernel" / "board.ko.xz").read_bytes()[:-40])
    (directory / "modules.builtin").unlink()
    seen = found(root)
    wanted = f"`{MAGIC[1].strip()}`"
    assert seen[2:] == [
        ("unreadable-module", "kernel/empty.ko", "not an ELF file"),
        (
            "wrong-machine",
            "kernel/board.ko.xz",
            "is for aarch64 (64 bits, little endian), 8 others for x86_64 (64 bits, little endian)",
        ),
        ("vermagic", "kernel/none.ko", f"has no vermagic, 7 others have {wanted}"),
        (
            "vermagic",
            "kernel/up.ko",
            f"is for `{RELEASE} mod_unload modversions RANDSTRUCT`, 7 others for {wanted}: RANDSTRUCT too many,"
            " SMP missing",
        ),
        ("module-name", "kernel/renamed.ko", "the module within is was_this"),
        ("dependency-cycle", "kernel/a.ko", "its dependencies lead back to it: a -> b -> a"),
        ("build-file", "modules.builtin", "is not there"),
    ]
    assert [where for _, where, _ in seen[:2]] == ["kernel/cut.ko", "kernel/cut2.ko.xz"]
    # What depmod should have written is not known, what cannot be read of it is.
    for name in "modules.dep", "modules.alias":
        (directory / name).write_text("")
        (directory / f"{name}.bin").write_bytes(b"\xb0\x07")
    assert [where for rule, where, _ in found(root) if rule == "damaged-index"] == [
        "modules.alias.bin",
        "modules.dep.bin",
    ]


def test_modprobe_d(tmp_path: Path) -> None:
    root = make_tree(
        tmp_path,
        {
            "kernel/snd.ko": {
                "modinfo": [*GPL, ("parm", "index:Which."), ("parmtype", "index:int"), ("alias", "pci:v*")]
            },
        },
        builtin={"core": ["old-core"]},
        config="""# A comment
options snd index=1 indx=2 dyndbg=+p text="a b"  # not a comment
options core x=1
options snf index=1
blacklist snd
blacklist old_core
blacklist nowhere
blacklist core
softdep snd pre: core old-core post: nothing
softdep snd: pre: core
install evil /bin/false
install fine modprobe snd
balcklist snd
""",
    )
    seen = {
        (finding.rule.name, finding.line, finding.text)
        for finding in check(root / "lib" / "modules" / RELEASE, root, read_config(root)).findings
        if finding.where == "/etc/modprobe.d/test.conf"
    }
    assert seen == {
        ("unknown-parameter", 2, "snd has no parameter indx; nearest: index"),
        *(("unknown-parameter", 2, f"snd has no parameter {word}") for word in ("text", "#", "not", "a", "comment")),
        ("config-of-builtin", 3, "options core: is built into the kernel"),
        ("config-of-nothing", 4, "options snf: no such module"),
        ("blacklist-of-alias", 6, "blacklist old_core: is an alias of core"),
        ("config-of-nothing", 7, "blacklist nowhere: no such module"),
        ("config-of-builtin", 8, "blacklist core: is built into the kernel"),
        ("config-softdep-target", 9, "softdep nothing: no such module or alias"),
        ("config-of-nothing", 10, "softdep snd:: no such module; nearest: snd"),
        ("config-of-nothing", 11, "install evil: no such module"),
        ("config-line", 13, "balcklist: is no statement of modprobe.d"),
    }


def test_the_driver_that_is_loaded_first(tmp_path: Path) -> None:
    """As modprobe has it: in the tree's order, but what a driver needs before it; a blacklisted one not at all."""
    alias = ("alias", "usb:v*p*")
    driver = {"modinfo": [*GPL, alias], "imports": ["usb_register_driver"]}
    root = make_tree(
        tmp_path,
        {
            "kernel/uas.ko": {"modinfo": [*GPL, alias], "imports": ["usb_register_driver", "of_storage"]},
            "kernel/storage.ko": {**driver, "exports": ["of_storage"]},
            "kernel/late.ko": driver,
        },
    )

    def contested() -> list[tuple[str, str]]:
        return [(where, text) for rule, where, text in found(root, Level.NOTE) if rule == "contested-alias"]

    subprocess.run(["/sbin/depmod", "-b", root, RELEASE], check=True)
    done = subprocess.run(
        ["/sbin/modprobe", "-d", root, "-S", RELEASE, "-D", "usb:v1p1"], capture_output=True, text=True, check=True
    )
    loaded = dict.fromkeys(Path(word).stem for word in done.stdout.split() if ".ko" in word)
    assert [*loaded] == ["storage", "uas", "late"]
    assert contested() == [
        ("kernel/storage.ko", "usb:v*p*: also claimed by uas, late; storage is loaded first"),
    ]
    config = root / "etc" / "modprobe.d"
    config.mkdir(parents=True)
    (config / "a.conf").write_text("blacklist storage\n")
    assert contested() == [("kernel/uas.ko", "usb:v*p*: also claimed by late; uas is loaded first")]
    (config / "a.conf").write_text("blacklist storage\nblacklist uas\n")
    assert contested() == []


def test_a_tree_for_another_release(tmp_path: Path) -> None:
    modules: dict[str, dict[str, Any]] = {
        f"kernel/m{number}.ko": {"modinfo": [("vermagic", "5.0.0 SMP ")]} for number in range(3)
    }
    root = make_tree(tmp_path, modules)
    assert found(root) == [("vermagic", ".", f"most modules (3) are for 5.0.0, the tree is {RELEASE}'s")]
    # With CRCs it is these that tell.
    modules["kernel/m4.ko"] = {"modinfo": [("vermagic", "5.0.0 SMP ")], "imports": {"printk": 1}}
    assert found(make_tree(tmp_path / "crcs", modules)) == []


def test_a_name_that_would_act_on_a_terminal(tmp_path: Path, run_tinykmod: Run) -> None:
    root = make_tree(tmp_path, {"kernel/a.ko": {"modinfo": [*GPL, ("softdep", "pre: \x1b[2J")]}})
    (root / "lib" / "modules" / RELEASE / "kernel" / "b\n.ko").write_bytes(b"no module")
    done = run_tinykmod("check", "--notes", "-b", root, RELEASE)
    assert "\x1b" not in done.stdout
    assert "kernel/b .ko: error: not an ELF file [unreadable-module]\n" in done.stdout
    baseline = tmp_path / "known"
    run_tinykmod("check", "--write-baseline", baseline, "-b", root, RELEASE)
    assert run_tinykmod("check", "--baseline", baseline, "-b", root, RELEASE).returncode == 0


def test_parameters_that_modinfo_does_not_tell(kernel: Kernel, tmp_path: Path) -> None:
    """module_param_cb() without MODULE_PARM_DESC leaves nothing in .modinfo; the kernel takes the parameter still."""
    directory = tmp_path / "lib" / "modules" / kernel.release
    tree = read_tree(kernel.root, kernel.release)
    module = tree.by_name["ipmi_watchdog"]
    (directory / module.path).parent.mkdir(parents=True)
    shutil.copy(tree.directory / module.path, directory / module.path)
    config = tmp_path / "etc" / "modprobe.d"
    config.mkdir(parents=True)
    (config / "a.conf").write_text("options ipmi_watchdog preop=preop_none no_such=1\n")
    assert "preop" not in {value.partition(":")[0] for value in module.values("parmtype")}
    texts = [finding.text for finding in check(directory, tmp_path, read_config(tmp_path)).findings]
    assert [text for text in texts if "parameter" in text] == ["ipmi_watchdog has no parameter no_such"]


@pytest.mark.parametrize("compressed", ["", ".xz"])
def test_indexes(tmp_path: Path, compressed: str) -> None:
    modules = {
        f"kernel/{name}.ko{compressed}": {"modinfo": [*GPL, ("alias", f"pci:{name}")], "exports": [f"of_{name}"]}
        for name in "abc"
    }
    root = make_tree(tmp_path, modules)
    directory = root / "lib" / "modules" / RELEASE
    subprocess.run(["/sbin/depmod", "-b", root, RELEASE], check=True)
    assert found(root, Level.NOTE) == []
    (directory / f"kernel/c.ko{compressed}").rename(directory / f"kernel/d.ko{compressed}")
    (directory / f"kernel/d.ko{compressed}").write_bytes((directory / f"kernel/b.ko{compressed}").read_bytes())
    (directory / "modules.symbols.bin").write_bytes((directory / "modules.symbols.bin").read_bytes()[:-20])
    (directory / "modules.alias.bin").unlink()
    stale = [(rule, where) for rule, where, _ in found(root)]
    texts = [text for _, where, text in found(root) if where == "modules.dep"]
    assert texts == [f"lacks `kernel/d.ko{compressed}:`; should not say `kernel/c.ko{compressed}:`"]
    assert stale == [
        ("duplicate-export", f"kernel/d.ko{compressed}"),
        ("stale-index", "modules.alias"),
        ("stale-index", "modules.alias.bin"),
        ("stale-index", "modules.dep"),
        ("stale-index", "modules.symbols"),
        ("damaged-index", "modules.symbols.bin"),
    ]


def test_firmware(tmp_path: Path) -> None:
    wanted = ["plain.bin", "packed.bin", "far/away.bin", "linked/x.bin", "many/*.bin", "none/*.bin", "gone.bin"]
    root = make_tree(tmp_path, {"kernel/a.ko": {"modinfo": [*GPL, *(("firmware", name) for name in wanted)]}})
    assert found(root, Level.NOTE) == []
    home = root / "lib" / "firmware"
    for name in ("plain.bin", "packed.bin.xz", "updates/far/away.bin", "deep/real/x.bin", "many/1.bin.zst"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(b"x")
    (home / "linked").symlink_to("/lib/firmware/deep/real")
    (home / "gone.bin").symlink_to("nowhere.bin")
    assert found(root, Level.NOTE) == [
        ("missing-firmware", "kernel/a.ko", "not installed: none/*.bin, gone.bin"),
    ]


def test_the_command(tmp_path: Path, run_tinykmod: Run) -> None:
    root = make_tree(
        tmp_path / "root",
        {"kernel/a.ko": {"modinfo": GPL}, "kernel/b.ko": {"modinfo": GPL}},
        config="options a no_such=1\nblacklist c\n",
    )
    tree = root / "lib" / "modules" / RELEASE
    subprocess.run(["/sbin/depmod", "-b", root, RELEASE], check=True)
    done = run_tinykmod("check", "-b", root, RELEASE, COLUMNS="60")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "/etc/modprobe.d/test.conf:1: warning: a has no parameter no_such [unknown-parameter]",
        "    mend: tinykmod modinfo -p MODULE lists the parameters. A",
        "          comment must begin in a line's first column.",
        f"{tree}: 1 warning, 1 note; --notes shows the notes",
    ]
    assert run_tinykmod("check", tree, COLUMNS="200").stdout == done.stdout.replace("\n          ", " ")
    data = json.loads(run_tinykmod("check", "--json", tree).stdout)
    assert (data["modules"], data["kernel"], data["tree"]) == (2, None, str(tree))
    assert data["findings"][0] == {
        "rule": "unknown-parameter",
        "level": "warning",
        "where": "/etc/modprobe.d/test.conf",
        "line": 1,
        "text": "a has no parameter no_such",
    }
    assert set(data["rules"]) == {"unknown-parameter", "config-of-nothing"}

    log = json.loads(run_tinykmod("check", "--sarif", tree).stdout)
    [run] = log["runs"]
    assert log["version"] == "2.1.0"
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == [rule.name for rule in RULES]
    assert run["results"][0]["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "/etc/modprobe.d/test.conf"},
                "region": {"startLine": 1},
            }
        }
    ]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]

    baseline = tmp_path / "known"
    assert run_tinykmod("check", "--write-baseline", baseline, tree).returncode == 0
    done = run_tinykmod("check", "--baseline", baseline, tree)
    assert (done.returncode, done.stdout) == (0, f"{tree}: nothing found; 2 known\n")
    (root / "etc" / "modprobe.d" / "test.conf").write_text("\noptions b other=1\noptions a no_such=1\n")
    done = run_tinykmod("check", "--baseline", baseline, tree)
    assert done.returncode == 1
    assert "no_such" not in done.stdout
    assert done.stdout.endswith(f"{tree}: 1 warning; 1 known; 1 line fits nothing any more in {baseline}\n")


def test_bad_usage(tmp_path: Path, run_tinykmod: Run) -> None:
    def told(*words: str | Path) -> tuple[int, str]:
        done = run_tinykmod("check", *words)
        assert done.stdout == ""
        return done.returncode, done.stderr

    assert told(tmp_path / "no" / "tree") == (1, f"tinykmod: {tmp_path}/no/tree: no such directory\n")
    assert told(f"{tmp_path}/") == (1, f"tinykmod: {tmp_path}: holds no module\n")
    code, text = told("-b", tmp_path, "6.1.0")
    assert (code, text.count("\n")) == (1, 1)
    assert told("--explain", "unknow-symbol") == (
        1,
        "tinykmod: unknow-symbol: no such rule; nearest: unknown-symbol\n",
    )
    missing = tmp_path / "baseline"
    assert told("--baseline", missing, tmp_path) == (1, f"tinykmod: {missing}: No such file or directory\n")


def test_every_rule_is_explained(run_tinykmod: Run) -> None:
    listed = run_tinykmod("check", "--rules").stdout.splitlines()
    assert [line.split()[0] for line in listed] == [rule.name for rule in RULES]
    assert len({rule.name for rule in RULES}) == len(RULES)
    text = run_tinykmod("check", "--explain", "namespace").stdout
    assert all(word in text for word in ("MODULE_IMPORT_NS", "symbol-namespaces.rst", "EINVAL"))
