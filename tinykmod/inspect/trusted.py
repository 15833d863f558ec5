"""The certificates that a kernel carries for its modules' signatures, and whether a signature is by one of them.

They are X.509 (RFC 5280) in DER, one behind the other in the kernel's image (certs/system_certificates.S); a module's
signature names its own by the serial number (Documentation/admin-guide/module-signing.rst).
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from tinykmod.errors import ModuleFormatError
from tinykmod.kmod.signature import Signature, without_signature

#: A certificate's beginning: its own length, that of what is signed, version 3, the serial number's tag.
_CERTIFICATE = re.compile(rb"\x30\x82(..)\x30\x82..\xa0\x03\x02\x01\x02\x02", re.DOTALL)
_RSA = "1.2.840.113549.1.1.1"
#: DigestInfo's octets before a digest (RFC 8017, 9.2, notes).
_DIGESTS = {
    "sha1": bytes.fromhex("3021300906052b0e03021a05000414"),
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
    "sha224": bytes.fromhex("302d300d06096086480165030402040500041c"),
}


class Key(NamedTuple):
    """The key of a certificate that the kernel trusts."""

    serial: bytes  # without leading zeros
    modulus: int  # 0 for a key that is not RSA's
    exponent: int


def keys_of(image: bytes) -> list[Key]:
    """The keys of the certificates in a kernel's uncompressed image."""
    from pyasn1.codec.der.decoder import decode
    from pyasn1.error import PyAsn1Error

    found = []
    for place in _CERTIFICATE.finditer(image):
        end = place.start() + 4 + int.from_bytes(place[1], "big")
        try:
            signed = decode(image[place.start() : end])[0][0]
            public = signed[6]
            modulus, exponent = (
                map(int, decode(public[1].asOctets())[0]) if str(public[0][0]) == _RSA else (0, 0)
            )
            found.append(Key(_octets(int(signed[1])), modulus, exponent))
        # pyasn1 raises what it comes upon: these bytes were no certificate.
        except (PyAsn1Error, AttributeError, LookupError, TypeError, ValueError):
            continue
    return found


def verified(module: bytes, which: str, signature: Signature, key: Key) -> bool | None:
    """Whether KEY has signed these bytes; None where the key's kind, or the hash, is not known here.

    Raises ModuleFormatError for a signature that is damaged.
    """
    if not key.modulus or signature.hash not in _DIGESTS:
        return None
    signed = without_signature(module, which)
    width = (key.modulus.bit_length() + 7) // 8
    if len(signature.signature) != width:
        raise ModuleFormatError(which, f"its signature has {len(signature.signature)} bytes, the key {width}")
    digest = _DIGESTS[signature.hash] + hashlib.new(signature.hash, signed).digest()
    opened = pow(int.from_bytes(signature.signature, "big"), key.exponent, key.modulus).to_bytes(width, "big")
    return opened == b"\0\1" + b"\xff" * (width - len(digest) - 3) + b"\0" + digest


def _octets(number: int) -> bytes:
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")
