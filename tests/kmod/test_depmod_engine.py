"""tinykmod._core.Depmod takes what it is given only as far as it makes sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinykmod import _core


@pytest.mark.parametrize(
    ("names", "paths", "kernel", "error"),
    [
        ([], [b"x.ko"], None, ValueError),
        ([b"x"], [], None, ValueError),
        ([b"x", b"y"], [b"x.ko"], None, ValueError),
        ([None], [b"x.ko"], None, TypeError),
        ([b"x"], ["x.ko"], None, TypeError),
        ([b"x"], [b"x.ko"], {None: 1}, TypeError),
        ([b"x"], [b"x.ko"], {b"x": 1 << 40}, OverflowError),
    ],
)
def test_the_engine_refuses_what_is_no_name(names: list, paths: list, kernel: object, error: type) -> None:
    engine = _core.Depmod([b""])
    engine.give(0, b"")
    with pytest.raises(error):
        engine.make(names, paths, kernel)


def test_the_engine_keeps_its_own_list_of_files(tmp_path: Path) -> None:
    files = [bytes(tmp_path / "none")] * 3
    engine = _core.Depmod(files)
    files.clear()
    with pytest.raises(FileNotFoundError):
        engine.read(lambda data, which: [data])


def test_a_decompressor_that_gives_no_bytes_is_told(tmp_path: Path) -> None:
    (tmp_path / "packed").write_bytes(b"packed")
    with pytest.raises(TypeError):
        _core.Depmod([bytes(tmp_path / "packed")]).read(lambda data, which: [None])
