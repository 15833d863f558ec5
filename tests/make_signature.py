"""Makes what the kernel's sign-file appends to a module, without signing: nothing in the tests verifies it."""

from __future__ import annotations

import struct
from collections.abc import Sequence

MAGIC = b"~Module signature appended~\n"
COMMON_NAME, ORGANISATION = b"\x55\x04\x03", b"\x55\x04\x0a"
#: The contents of object identifiers.
DIGESTS = {
    "md5": b"\x2a\x86\x48\x86\xf7\x0d\x02\x05",
    "sha1": b"\x2b\x0e\x03\x02\x1a",
    "sha224": b"\x60\x86\x48\x01\x65\x03\x04\x02\x04",
    "sha256": b"\x60\x86\x48\x01\x65\x03\x04\x02\x01",
    "sha384": b"\x60\x86\x48\x01\x65\x03\x04\x02\x02",
    "sha512": b"\x60\x86\x48\x01\x65\x03\x04\x02\x03",
    "sha3-256": b"\x60\x86\x48\x01\x65\x03\x04\x02\x08",
    "1.2.3.4": b"\x2a\x03\x04",
}
_DATA, _SIGNED_DATA = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01", b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"
_RSA = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"
_INTEGER, _OCTETS, _NULL, _OID, _UTF8, _SEQUENCE, _SET, _TAGGED = 0x02, 0x04, 0x05, 0x06, 0x0C, 0x30, 0x31, 0xA0


def trailer(length: int, *, algo: int = 0, hash_: int = 0, id_type: int = 2, signer: int = 0, key: int = 0) -> bytes:
    """struct module_signature and the magic string."""
    return struct.pack(">BBBBB3xI", algo, hash_, id_type, signer, key, length) + MAGIC


def appended(raw: bytes) -> bytes:
    """A PKCS#7 signature as it stands behind a module."""
    return raw + trailer(len(raw))


def pkcs7(
    issuer: Sequence[tuple[bytes, str]] = ((COMMON_NAME, "A signer"),),
    serial: bytes = b"\x7f",
    digest: str = "sha256",
    signature: bytes = bytes(range(256)),
    *,
    key: bytes | None = None,
    signers: int = 1,
) -> bytes:
    """SignedData without certificates. SERIAL: a DER integer's content. KEY: names the key instead of the issuer."""
    algorithm = _der(_SEQUENCE, _der(_OID, DIGESTS[digest]))
    names = b"".join(
        _der(_SET, _der(_SEQUENCE, _der(_OID, kind), _der(_UTF8, text.encode()))) for kind, text in issuer
    )
    if key is None:
        version, who = b"\1", _der(_SEQUENCE, _der(_SEQUENCE, names), _der(_INTEGER, serial))
    else:
        version, who = b"\3", _der(0x80, key)
    signer = _der(
        _SEQUENCE,
        _der(_INTEGER, version),
        who,
        algorithm,
        _der(_SEQUENCE, _der(_OID, _RSA), _der(_NULL)),
        _der(_OCTETS, signature),
    )
    signed = _der(
        _SEQUENCE,
        _der(_INTEGER, version),
        _der(_SET, algorithm),
        _der(_SEQUENCE, _der(_OID, _DATA)),
        _der(_SET, signer * signers),
    )
    return _der(_SEQUENCE, _der(_OID, _SIGNED_DATA), _der(_TAGGED, signed))


def _der(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content
