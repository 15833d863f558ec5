"""The static gates on the loader: each is seen to fail."""

from __future__ import annotations

import importlib
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

from tinykmod import loaders

ROOT = Path(__file__).resolve().parents[2]
ARCH = platform.machine()

HEAD = "# cython: language_level=3, cdivision=True\n"
GOOD = HEAD + "cdef public int main(int argc, char **argv) noexcept nogil:\n    return argc // 3\n"
#: What is wrong -> the source, and what the gates say.
BAD = {
    "module-level variable": (
        HEAD + "cdef int answer = 40\ncdef public int main(int argc, char **argv) noexcept nogil:\n"
        "    global answer\n    answer += argc\n    return answer\n",
        "module-level variable __pyx_v_3bad_answer",
    ),
    "public variable": (
        HEAD + "cdef public int shared\ncdef public int main(int argc, char **argv) noexcept nogil:\n"
        "    global shared\n    shared += argc\n    return shared\n",
        "bad.pyx:2: cdef public variable: cdef public int shared",
    ),
    "exception": (
        HEAD + "cdef int f(int x) except -1 nogil:\n    if x > 3:\n        return -1\n    return x\n"
        "cdef public int main(int argc, char **argv) noexcept nogil:\n    return f(argc)\n",
        "does not link: undefined PyGILState_Ensure",
    ),
    "division": (
        GOOD.replace("cdivision=True", "cdivision=False").replace("// 3", "// argv[0][0]"),
        "does not link: undefined Py",
    ),
    "object": (
        HEAD + "cdef public int main(int argc, char **argv) noexcept:\n    return len([argc])\n",
        "does not link: undefined Py",
    ),
    "syntax": (HEAD + "cdef public int main(:\n", "exit code 1"),
}


@pytest.fixture(scope="module")
def gates() -> ModuleType:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        return importlib.import_module("check_loader")
    finally:
        sys.path.pop(0)


def check(source: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "scripts/check_loader.py", "--source", source],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_loader_passes(gates: ModuleType, tmp_path: Path) -> None:
    assert list(gates.faults(ROOT / "cext/loader.pyx", ARCH, tmp_path)) == []


@pytest.mark.parametrize("wrong", BAD)
def test_each_fault_is_told(tmp_path: Path, wrong: str) -> None:
    text, said = BAD[wrong]
    source = tmp_path / "bad.pyx"
    source.write_text(text)
    done = check(source)
    assert done.returncode == 1
    assert said in done.stderr


def test_a_loader_that_is_not_what_the_sources_give_is_told(tmp_path: Path) -> None:
    source = tmp_path / "good.pyx"
    source.write_text(GOOD)
    done = check(source)
    assert done.returncode == 1
    assert f"tinykmod-{ARCH}: not what the sources give; run make build" in done.stderr


def test_a_dynamic_program_is_told(gates: ModuleType) -> None:
    faults = list(gates.program_faults(Path("/bin/ls").resolve()))
    assert any("not static: asks for /" in fault for fault in faults)
    assert any("not static: needs libc.so" in fault for fault in faults)


def test_a_stripped_program_is_not_taken_for_clean(gates: ModuleType) -> None:
    assert any("stripped" in fault for fault in gates.program_faults(loaders.find()))


def test_an_interpreter_symbol_is_told(gates: ModuleType, tmp_path: Path) -> None:
    source = tmp_path / "dead.c"
    source.write_text("int PyErr_Occurred(void) { return 0; }\nint main(void) { return PyErr_Occurred(); }\n")
    compiler = gates.build_loader.compiler(ARCH)
    # Linked as the loader is: for other flags zig would build another libc.
    subprocess.run([*compiler, "-O0", "-c", source, "-o", tmp_path / "dead.o"], check=True)
    link = [*compiler, *gates.build_loader.LINK_FLAGS, tmp_path / "dead.o", "-o", tmp_path / "dead"]
    subprocess.run(link, check=True)
    assert list(gates.program_faults(tmp_path / "dead")) == ["dead: interpreter symbol PyErr_Occurred"]


def test_a_compiler_that_cannot_be_used_is_told(gates: ModuleType) -> None:
    builder = gates.build_loader
    with pytest.raises(builder.BuildError, match="no-such-cc: no such compiler"):
        builder.compiler(ARCH, "no-such-cc")
    with pytest.raises(builder.BuildError, match=f"cc: builds for {ARCH} only, other was asked for"):
        builder.compiler("other", "cc")
    with pytest.raises(builder.BuildError, match="other: unknown architecture"):
        builder.compiler("other")


def test_the_gates_use_the_compiler_that_the_build_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYKMOD_LOADER_CC", "no-such-cc")
    (tmp_path / "good.pyx").write_text(GOOD)
    assert "check_loader: no-such-cc: no such compiler\n" in check(tmp_path / "good.pyx").stderr


def test_the_source_archive_can_be_built_from(tmp_path: Path) -> None:
    """setup.py sdist from a copy: it has what the extension and the loader are made of, and nothing that was made."""
    copy = tmp_path / "copy"
    left = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=left, symlinks=True)
    (copy / "cext/_core.c").write_text("made\n")
    done = subprocess.run([sys.executable, "setup.py", "-q", "sdist", "-d", tmp_path], cwd=copy, check=False,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    [archive] = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    needed = {"scripts/build_loader.py", "cext/pyconfig.h", "cext/core/boot.pxi", "cext/libc_sys.pxd"}
    assert needed | {"Makefile", "tests/make_ko.py", "docs/boot.md", "tinykmod/initramfs/coldplug"} <= names
    assert not [name for name in names if name.endswith((".so", ".pyc", ".c")) or "loaders/tinykmod-" in name]


def test_the_budget_is_held(gates: ModuleType) -> None:
    program = loaders.find()
    size = program.stat().st_size
    assert list(gates.size_faults(program, size)) == []
    assert list(gates.size_faults(program, size - 1)) == [
        f"{program.name}: {size} bytes, 1 over the budget of {size - 1}"
    ]


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        ("cdef public int count", True),
        ("cdef public int count = f(1)", True),
        ("    cdef public char *name, *other", True),
        ("cdef public int table[4]", True),
        ("cdef public int (*hook)(int)", True),
        ("cdef public:", True),
        ("cdef public int main(int argc, char **argv) noexcept nogil:", False),
        ("cdef public void *get(size_t n) noexcept nogil:", False),
        ("cdef public enum Kind:", False),
        ("cdef public struct Step:", False),
        ("cdef int publicity", False),
    ],
)
def test_public_variables_are_forbidden_and_public_functions_are_not(
    gates: ModuleType, tmp_path: Path, line: str, bad: bool
) -> None:
    (tmp_path / "x.pxi").write_text(f"# first\n{line}\n")
    assert bool(list(gates.source_faults([tmp_path / "x.pxi"]))) == bad
