"""The signature that modinfo shows: beside Debian's, and never anything but ModuleFormatError for damage."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from beside_kmod import kmod, ours
from hypothesis import given
from hypothesis import strategies as st
from make_ko import make_ko
from make_signature import COMMON_NAME, MAGIC, ORGANISATION, appended, pkcs7, trailer

from tinykmod.errors import ModuleFormatError, TinykmodError
from tinykmod.kmod.signature import Signature, read_signature, without_signature

IMAGE = make_ko(modinfo=[("license", "GPL")])
OLD = b"A signer" + bytes(range(20)) + bytes(range(66))

#: What stands behind the module.
SHOWN_BY_KMOD = {
    "as the kernel's build makes it": appended(pkcs7()),
    "a negative serial": appended(pkcs7(serial=b"\xfb")),
    "a serial with its top bit set": appended(pkcs7(serial=b"\0\xff\x11")),
    "sha1": appended(pkcs7(digest="sha1")),
    "sha224": appended(pkcs7(digest="sha224")),
    "sha384": appended(pkcs7(digest="sha384")),
    "sha512": appended(pkcs7(digest="sha512")),
    "md5": appended(pkcs7(digest="md5")),
    "the common name before others": appended(pkcs7([(COMMON_NAME, "é"), (ORGANISATION, "x")])),
    "no common name": appended(pkcs7([(ORGANISATION, "x"), (ORGANISATION, "y")])),
    "two common names": appended(pkcs7([(COMMON_NAME, "x"), (COMMON_NAME, "y")])),
    "a signature of one line": appended(pkcs7(signature=bytes(20))),
    "a signature of one byte": appended(pkcs7(signature=b"\xaa")),
    "two signers": appended(pkcs7(signers=2)),
    "bytes behind the PKCS#7": appended(pkcs7() + b"abc"),
    "lengths that PKCS#7 does not use": pkcs7() + trailer(len(pkcs7()), signer=3, key=4),
    "PGP": OLD + trailer(66, id_type=0, hash_=4, signer=8, key=20),
    "X509 without a signer": OLD + trailer(66, id_type=1, hash_=2, key=20),
    **{f"X509 with hash {n}": OLD + trailer(66, id_type=1, algo=1, hash_=n, signer=8, key=20) for n in range(9)},
}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, bytes]:
    """Debian's answers for each file."""
    directory = tmp_path_factory.mktemp("signed")
    files = [directory / f"{number}.ko" for number in range(len(SHOWN_BY_KMOD))]
    for file, signature in zip(files, SHOWN_BY_KMOD.values(), strict=True):
        file.write_bytes(IMAGE + signature)
    return {file: kmod("modinfo", file).out for file in files}


@pytest.mark.parametrize("number", range(len(SHOWN_BY_KMOD)), ids=list(SHOWN_BY_KMOD))
def test_the_same_fields(theirs: dict[Path, bytes], capfdbinary: pytest.CaptureFixture[bytes], number: int) -> None:
    file, expected = list(theirs.items())[number]
    assert b"sig_hashalgo:" in expected
    assert ours(capfdbinary, "modinfo", file) == (0, expected, b"")


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (pkcs7(key=b"\x01\x02"), Signature("PKCS#7", "", b"\x01\x02", "sha256", bytes(range(256)))),
        (pkcs7(digest="sha3-256"), Signature("PKCS#7", "A signer", b"\x7f", "sha3-256", bytes(range(256)))),
        (pkcs7(digest="1.2.3.4"), Signature("PKCS#7", "A signer", b"\x7f", "1.2.3.4", bytes(range(256)))),
    ],
    ids=["the key is named", "sha3", "unknown hash"],
)
def test_what_kmod_30_does_not_show(raw: bytes, shown: Signature) -> None:
    assert read_signature(IMAGE + appended(raw), "x.ko") == shown


def test_none() -> None:
    assert read_signature(IMAGE, "x.ko") is None
    assert read_signature(IMAGE + appended(pkcs7())[:-1], "x.ko") is None


@pytest.mark.parametrize("name", [name for name in SHOWN_BY_KMOD if name != "X509 without a signer"])
def test_it_is_cut_off(name: str) -> None:
    signature = SHOWN_BY_KMOD[name]
    assert without_signature(IMAGE + signature, "x.ko") == IMAGE
    # The kernel would find the inner one.
    assert without_signature(IMAGE + signature + signature, "x.ko") == IMAGE
    assert without_signature(IMAGE, "x.ko") == IMAGE


def test_it_is_not_cut_off_where_it_is_damaged() -> None:
    for what in ("nothing but the magic", "no bytes", "more than the file", "an unknown type"):
        data, why = BAD[what]
        with pytest.raises(ModuleFormatError, match=f"^x.ko: {why}$"):
            without_signature(data, "x.ko")


BAD = {
    "nothing but the magic": (appended(b"")[12:], "its signature is cut short"),
    "no bytes": (IMAGE + trailer(0), "its signature cannot have 0 bytes"),
    "more than the file": (IMAGE + pkcs7() + trailer(1 << 30), f"its signature cannot have {1 << 30} bytes"),
    "more than the signature": (IMAGE + pkcs7() + trailer(len(pkcs7()) + 5), "its PKCS#7 signature is damaged"),
    "a signer before the file": (trailer(1, id_type=1, signer=1), "its signature cannot have 1 bytes"),
    "an unknown type": (IMAGE + OLD + trailer(66, id_type=3), "its signature is of unknown type 3"),
    "an unknown hash": (IMAGE + OLD + trailer(66, id_type=1, hash_=9), "its signature has unknown hash 9"),
    "no PKCS#7": (IMAGE + appended(b"junk"), "its PKCS#7 signature is damaged"),
    "no signer": (IMAGE + appended(pkcs7(signers=0)), "its PKCS#7 signature is damaged"),
    "no issuer": (IMAGE + appended(pkcs7([])), "its PKCS#7 signature is damaged"),
    "cut": (IMAGE + appended(pkcs7()[:-1]), "its PKCS#7 signature is damaged"),
}


@pytest.mark.parametrize(("data", "why"), BAD.values(), ids=BAD)
def test_damage_is_told(data: bytes, why: str) -> None:
    with pytest.raises(ModuleFormatError) as error:
        read_signature(data, "x.ko")
    assert str(error.value) == f"x.ko: {why}"


@given(st.data())
def test_any_damage(data: st.DataObject) -> None:
    signed = bytearray(appended(pkcs7(signature=bytes(30))))
    for _ in range(data.draw(st.integers(1, 3))):
        signed[data.draw(st.integers(0, len(signed) - 1))] = data.draw(st.integers(0, 255))
    start = data.draw(st.integers(0, 40))
    try:
        read_signature(bytes(signed[start:]), "x.ko")
    except ModuleFormatError as error:
        assert str(error).startswith("x.ko: its ")


@pytest.mark.parametrize("value", [0x00, 0x80, 0xFF])
def test_each_byte(value: int) -> None:
    """0x80 as a length is BER's, without an end, which pyasn1's own decoder of BER may not survive."""
    signed = appended(pkcs7(signature=bytes(3)))
    for place in range(len(signed) - len(MAGIC)):
        damaged = signed[:place] + bytes([value]) + signed[place + 1 :]
        try:
            read_signature(damaged, "x.ko")
        except ModuleFormatError as error:
            assert str(error).startswith("x.ko: its ")


def test_deep_nesting() -> None:
    deep = b""
    for _ in range(2000):
        deep = b"\x30\x84" + len(deep).to_bytes(4, "big") + deep
    with pytest.raises(ModuleFormatError, match="damaged"):
        read_signature(appended(deep), "x.ko")


@pytest.mark.parametrize("package", ["pyasn1.error", "pyasn1_modules"])
def test_without_the_package(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(TinykmodError, match="x.ko: reading its signature takes pyasn1-modules"):
        read_signature(appended(pkcs7()), "x.ko")


def test_the_other_fields_are_still_shown(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    file = tmp_path / "x.ko"
    file.write_bytes(IMAGE + appended(b"junk"))
    mine = ours(capfdbinary, "modinfo", file)
    assert mine.out == b"filename:       %s\nlicense:        GPL\n" % bytes(file)
    assert (mine.code, mine.err) == (1, b"modinfo: ERROR: %s: its PKCS#7 signature is damaged\n" % bytes(file))
    assert ours(capfdbinary, "modinfo", "-l", file) == (0, b"GPL\n", b"")
