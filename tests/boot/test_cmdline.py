"""The kernel command line, through all three faces."""

from __future__ import annotations

import pytest
from faces import Face
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinykmod.boot import cmdline


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("nvme.poll=1 quiet nvme.flag", "poll=1 flag"),
        ("nvme-core.x=1 nvme.x=2", "x=2"),
        ('nvme.text="a b" nvme.n=1', 'text="a b" n=1'),
        ('"nvme.text=a b"', 'text="a b"'),
        ("nvme.a.b=1 nvme.=2 .nvme=3 nvme", ""),
        ("nvme.list=1,2,-3", "list=1,2,-3"),
        ("nvme.some-param=x", "some-param=x"),
        ("  nvme.a=1\t nvme.b=2\n", "a=1 b=2"),
        ("nvme.a= nvme.b==", "a= b=="),
        ("-- nvme.after=1", "after=1"),
        ('nvme.open="a b', 'open="a b"'),
        ('nvme.open="a b\n', 'open="a b"'),
        ('nvme.w=1"2 3"4 nvme.x="1 2"3 nvme.y="1"2"', 'w=1"2 3"4 x="1 2"3 y="1"2"'),
        ('nvme.w="" nvme.x="""" "nvme.y=a b"c nvme.z="', 'w= x="""" y=a b"c z='),
        ("", ""),
    ],
)
def test_options_of_a_module(face: Face, text: str, options: str) -> None:
    assert face.options_of(text, "nvme") == options


def test_the_modules_part_of_a_key_is_normalised(face: Face) -> None:
    assert face.options_of("i2c-dev.some-x=1 i2c_dev.y=2", "i2c_dev") == "some-x=1 y=2"


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        ("modprobe.blacklist=a,nvme-core,b", True),
        ("modprobe.blacklist=nvme_core", True),
        ("module_blacklist=nvme_core", True),
        ("rd.driver.blacklist=nvme_core", True),
        ("modprobe.blacklist=a modprobe.blacklist=nvme_core", True),
        ("modprobe.blacklist=nvme_cor,nvme_core2,nvme", False),
        ("modprobe.blacklist", False),
        ("blacklist=nvme_core", False),
        ("", False),
    ],
)
def test_blacklists(face: Face, text: str, listed: bool) -> None:
    assert face.blacklists(text, "nvme_core") is listed


def test_kernels_own_blacklist_is_told_apart() -> None:
    assert cmdline.blacklisted_by_kernel("module_blacklist=a,b modprobe.blacklist=c", "b")
    assert not cmdline.blacklisted_by_kernel("module_blacklist=a,b modprobe.blacklist=c", "c")


PIECES = st.sampled_from(
    ["m.", "m.p", "m-x.", "=", '"', " ", "\t", ",", "p", "b.c", "modprobe.blacklist", "m", "-"]
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PIECES, max_size=24).map("".join))
def test_faces_agree(face: Face, text: str) -> None:
    assert face.options_of(f"{text}\n", "m") == cmdline.options_of(f"{text}\n", "m") == cmdline.options_of(text, "m")
    assert face.blacklists(text, "m") == cmdline.blacklists(text, "m")


def test_only_the_first_4095_bytes_are_read(face: Face) -> None:
    text = "x" * 4085 + " m.long=12345"
    assert face.options_of(text, "m") == cmdline.options_of(text, "m") == "long=12"
