"""The core under AddressSanitizer: no damaged input makes it leave what it was given, leak, crash or hang."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from once import once

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "scripts"))

import build_sanitized  # noqa: E402

PARTS = ["loader_files", "loader_index", "blkid", "depmod", "index", "elf", "packed", "threads", "records", "leaks"]
LONGEST = 600


@pytest.fixture(scope="session")
def sanitized() -> Path:
    """The directory of the core, built with the sanitizers."""
    directory = build_sanitized.place()
    directory.parent.mkdir(parents=True, exist_ok=True)
    return once(directory, build_sanitized.build)


def run(directory: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], env=build_sanitized.environment(directory), check=False, timeout=LONGEST,
        capture_output=True, text=True, errors="backslashreplace",
    )  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_damaged_input_is_no_danger(sanitized: Path, tmp_path: Path, part: str) -> None:
    done = run(sanitized, HERE / "damage.py", part, tmp_path)
    if done.returncode:
        # While the loader runs, what it says is in a file.
        said = done.stderr + "".join(path.read_text(errors="replace") for path in tmp_path.glob("err"))
        pytest.fail(f"{said}\nexit code {done.returncode} at: {(tmp_path / 'case').read_bytes()[:4000]!r}")
    assert int(done.stdout.split()[1]) > 3


@pytest.fixture(scope="session")
def wrong(sanitized: Path, shared_dir: Path) -> Path:
    """A directory with tests/sanitizer/wrong.pyx, built as the core is."""

    def make(directory: Path) -> None:
        directory.mkdir()
        build_sanitized.build_one(HERE / "wrong.pyx", directory)

    return once(shared_dir / "sanitized-wrong", make)


ASAN = "ERROR: AddressSanitizer: "
FAULTS = [
    ("behind_a_text(sanitizer.guarded(b'four'))", f"{ASAN}heap-buffer-overflow"),
    ("behind_a_mapping(b'FILE')", f"{ASAN}heap-buffer-overflow"),
    ("behind_an_allocation(4)", f"{ASAN}heap-buffer-overflow"),
    ("behind_an_array(17)", f"{ASAN}stack-buffer-overflow"),
    ("after_it_is_freed(4)", f"{ASAN}heap-use-after-free"),
    ("more_than_fits(1)", "signed integer overflow"),
    ("from_nowhere(0)", "null pointer passed as argument 1"),
]


@pytest.mark.parametrize(("call", "said"), FAULTS)
def test_a_fault_of_each_kind_is_seen(sanitized: Path, wrong: Path, tmp_path: Path, call: str, said: str) -> None:
    (tmp_path / "file").write_bytes(b"x" * 5000)
    call = call.replace("FILE", str(tmp_path / "file"))
    done = run(sanitized, "-c", f"import damage as sanitizer, sys; sys.path.append({str(wrong)!r}); import wrong\n"
               f"wrong.{call}")  # fmt: skip
    assert (done.returncode, said in done.stderr) == (-signal.SIGABRT, True), done.stderr


def test_a_hang_is_seen(sanitized: Path, wrong: Path, tmp_path: Path) -> None:
    """The case that it was stands in the file."""
    text = (
        f"import damage, sys; from pathlib import Path; sys.path.append({str(wrong)!r}); import wrong\n"
        f"damage.TOO_LONG = 0.2; damage.Cases(Path({str(tmp_path)!r})).begin('endless'); wrong.without_end(1)"
    )
    assert run(sanitized, "-c", text).returncode == -signal.SIGALRM
    assert (tmp_path / "case").read_bytes().startswith(b"endless")


def test_without_the_runtime_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(build_sanitized.BuildError, match=r"gcc: no such compiler.*Debian: gcc"):
        build_sanitized.runtime()
    (tmp_path / "gcc").write_text("#!/bin/sh\necho libasan.so\n")
    (tmp_path / "gcc").chmod(0o755)
    with pytest.raises(build_sanitized.BuildError, match=r"no libasan\.so; install.*Debian: gcc"):
        build_sanitized.runtime()
