"""The signature at the end of a .ko, as far as it tells who signed (Documentation/admin-guide/module-signing.rst).

signer's name, key id   only where id_type is PGP or X509 (Linux 3.7 to 4.2)
signature               PKCS#7: SignedData (RFC 2315; RFC 5652 where the key and not its issuer is named)
struct module_signature
                        u8 algo, u8 hash, u8 id_type, u8 signer_len, u8 key_id_len, 3 bytes, u32 sig_len, big-endian
MAGIC
"""

from __future__ import annotations

import importlib
import struct
from typing import NamedTuple

from tinykmod.errors import ModuleFormatError, TinykmodError

MAGIC = b"~Module signature appended~\n"
TRAILER = struct.Struct(">BBBBB3xI")

ID_TYPES = ("PGP", "X509", "PKCS#7")
#: enum pkey_hash_algo of the kernels that wrote it down (crypto/public_key.h).
HASHES = ("md4", "md5", "sha1", "rmd160", "sha256", "sha384", "sha512", "sha224", "sm3")
HASH_OIDS = {
    "1.2.840.113549.2.4": "md4",
    "1.2.840.113549.2.5": "md5",
    "1.3.14.3.2.26": "sha1",
    "1.3.36.3.2.1": "rmd160",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
    "2.16.840.1.101.3.4.2.4": "sha224",
    "2.16.840.1.101.3.4.2.8": "sha3-256",
    "2.16.840.1.101.3.4.2.9": "sha3-384",
    "2.16.840.1.101.3.4.2.10": "sha3-512",
    "1.2.156.10197.1.401": "sm3",
}
_COMMON_NAME = "2.5.4.3"


class Signature(NamedTuple):
    """What modinfo shows of it. Nothing is verified."""

    id_type: str  # of ID_TYPES
    signer: str
    key: bytes  # serial number of the signer's certificate, or its key identifier
    hash: str  # the kernel's name of the algorithm; one unknown here is an object identifier
    signature: bytes


class _Parts(NamedTuple):
    """Where the pieces of a signature are in a module's file."""

    id_type: str
    hash: int
    signer: slice
    key: slice
    signature: slice


def _parts(data: bytes, which: str) -> _Parts | None:
    end = len(data) - len(MAGIC)
    if not data.endswith(MAGIC):
        return None
    if end < TRAILER.size:
        raise ModuleFormatError(which, "its signature is cut short")
    _, hash_, id_type, signer_length, key_length, length = TRAILER.unpack_from(data, end - TRAILER.size)
    end -= TRAILER.size
    if id_type >= len(ID_TYPES):
        raise ModuleFormatError(which, f"its signature is of unknown type {id_type}")
    if ID_TYPES[id_type] == "PKCS#7":
        signer_length = key_length = 0
    if length == 0 or signer_length + key_length + length > end:
        raise ModuleFormatError(which, f"its signature cannot have {length} bytes")
    raw = end - length
    key = raw - key_length
    return _Parts(ID_TYPES[id_type], hash_, slice(key - signer_length, key), slice(key, raw), slice(raw, end))


def without_signature(data: bytes, which: str) -> bytes:
    """A module's uncompressed bytes without the signature, or signatures, at their end.

    Raises ModuleFormatError(which, ...) for one that is damaged or of an unknown kind.
    """
    while parts := _parts(data, which):
        data = data[: parts.signer.start]
    return data


def read_signature(data: bytes, which: str) -> Signature | None:
    """The signature of a module's uncompressed bytes; None where there is none.

    Raises ModuleFormatError(which, ...) for one that is damaged or of an unknown kind, TinykmodError where the
    package that reads ASN.1 is missing.
    """
    parts = _parts(data, which)
    if parts is None:
        return None
    raw = data[parts.signature]
    if parts.id_type == "PKCS#7":
        return _pkcs7(raw, which)
    if parts.hash >= len(HASHES):
        raise ModuleFormatError(which, f"its signature has unknown hash {parts.hash}")
    signer = data[parts.signer].decode(errors="surrogateescape")
    return Signature(parts.id_type, signer, data[parts.key], HASHES[parts.hash], raw)


def _pkcs7(raw: bytes, which: str) -> Signature:
    try:
        import pyasn1_modules  # noqa: F401 - what _first_signer() imports of it
        from pyasn1.error import PyAsn1Error
    except ImportError:
        raise TinykmodError(which, "reading its signature takes pyasn1-modules, which is not installed") from None
    try:
        try:
            return _first_signer(raw, "pyasn1_modules.rfc2315")
        except PyAsn1Error:
            # The newer syntax takes in the older one, but takes three times as long to load.
            return _first_signer(raw, "pyasn1_modules.rfc5652")
    # pyasn1 raises what it comes upon, not only its own errors.
    except (PyAsn1Error, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise ModuleFormatError(which, "its PKCS#7 signature is damaged") from error


def _first_signer(raw: bytes, syntax: str) -> Signature:
    from pyasn1.codec.der.decoder import decode
    from pyasn1.type.univ import Choice, OctetString

    module = importlib.import_module(syntax)
    content = decode(raw, asn1Spec=module.ContentInfo())[0]
    signed = decode(content["content"], asn1Spec=module.SignedData())[0]
    # In both syntaxes: version, who, digest algorithm, attributes, signature algorithm, signature, attributes.
    _, who, digest, _, _, signature, _ = signed["signerInfos"][0].values()
    if isinstance(who, Choice):
        who = who.getComponent()
    if isinstance(who, OctetString):
        signer, key = "", bytes(who)
    else:
        # The common name, else what the issuer's name ends with, as kmod has it.
        names = [(str(part["type"]), part["value"]) for parts in who["issuer"][0] for part in parts]
        value = next((value for kind, value in names if kind == _COMMON_NAME), names[-1][1])
        signer, serial = str(decode(value)[0]), abs(int(who["serialNumber"]))
        key = serial.to_bytes(max(1, (serial.bit_length() + 7) // 8), "big")
    algorithm = str(digest["algorithm"])
    return Signature("PKCS#7", signer, key, HASH_OIDS.get(algorithm, algorithm), bytes(signature))
