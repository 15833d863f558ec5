"""Makes tiny .ko files: relocatable ELF of either size and byte order with what readers of modules look at."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

X86_64, PPC64, SPARCV9, AARCH64 = 62, 21, 43, 183
ABS = 0xFFF1
GLOBAL, WEAK = 1, 2


class _Strings:
    def __init__(self) -> None:
        self.data = b"\0"

    def add(self, text: str) -> int:
        at = len(self.data)
        self.data += text.encode(errors="surrogateescape") + b"\0"
        return at


def make_ko(
    modinfo: Iterable[tuple[str, str]] = (),
    exports: Mapping[str, int | None] | Iterable[str] = (),
    imports: Mapping[str, int | None] | Iterable[str] = (),
    *,
    weak: Iterable[str] = (),
    bits: int = 64,
    little_endian: bool = True,
    machine: int = X86_64,
    absolute_crcs: bool = False,
    extended_versions: bool = False,
    stripped: bool = False,
    import_type: int = 0,
) -> bytes:
    """The bytes of a module.

    exports and imports: symbol -> CRC, or None where MODVERSIONS is off. absolute_crcs: as kernels before 5.19 kept
    them. extended_versions: as Linux 6.13. stripped: without local symbols. import_type: the imports' STT_ value.
    """
    exports = dict.fromkeys(exports) if not isinstance(exports, Mapping) else exports
    imports = dict.fromkeys(imports) if not isinstance(imports, Mapping) else imports
    order, wide = "<" if little_endian else ">", bits == 64
    word = "Q" if wide else "I"
    needed = {name: crc for name, crc in imports.items() if crc is not None}
    versions = b"" if extended_versions else b"".join(
        struct.pack(f"{order}{word}{64 - bits // 8}s", crc, _bytes(name)) for name, crc in needed.items()
    )  # fmt: skip
    crcs = [] if absolute_crcs else [crc for crc in exports.values() if crc is not None]
    contents = {
        ".modinfo": b"".join(_bytes(f"{key}={value}") + b"\0" for key, value in modinfo),
        "__ksymtab_strings": b"".join(_bytes(name) + b"\0" for name in exports),
        "__kcrctab": struct.pack(f"{order}{len(crcs)}I", *crcs),
        "__versions": versions,
    }
    if extended_versions:
        contents["__version_ext_crcs"] = struct.pack(f"{order}{len(needed)}I", *needed.values())
        contents["__version_ext_names"] = b"".join(_bytes(name) + b"\0" for name in needed)
    numbers = {name: number for number, name in enumerate(contents, 1)}

    form = order + ("IBBHQQ" if wide else "IIIBBH")
    strings = _Strings()
    symbols = [_symbol(form, 0, 0, 0, 0)]
    place = 0
    for name, crc in () if stripped else exports.items():
        symbols.append(_symbol(form, strings.add(f"__ksymtab_{name}"), 0, numbers["__ksymtab_strings"], 0))
        if crc is not None:
            section, value = (ABS, crc) if absolute_crcs else (numbers["__kcrctab"], place)
            symbols.append(_symbol(form, strings.add(f"__crc_{name}"), 0, section, value))
            place += 4
    local = len(symbols)
    weak = set(weak)
    for name in imports:
        binding = WEAK if name in weak else GLOBAL
        symbols.append(_symbol(form, strings.add(name), binding << 4 | import_type, 0, 0))
    contents[".symtab"] = b"".join(symbols)
    contents[".strtab"] = strings.data

    names = _Strings()
    named = {name: names.add(name) for name in [*contents, ".shstrtab"]}
    contents[".shstrtab"] = names.data
    body = bytes(64 if wide else 52)
    headers = [bytes(64 if wide else 40)]
    for number, (name, data) in enumerate(contents.items(), 1):
        kind, link, info, entry = {
            ".symtab": (2, number + 1, local, 24 if wide else 16),
            ".strtab": (3, 0, 0, 0),
            ".shstrtab": (3, 0, 0, 0),
        }.get(name, (1, 0, 0, 0))
        body += bytes(-len(body) % 8)
        header = (named[name], kind, 0, 0, len(body), len(data), link, info, 8, entry)
        headers.append(struct.pack(order + ("IIQQQQIIQQ" if wide else "10I"), *header))
        body += data
    body += bytes(-len(body) % 8)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if little_endian else 2, 1]).ljust(12, b"\0")
    head = struct.pack(
        f"{order}16sHHI{word * 3}IHHHHHH",
        ident, 1, machine, 1, 0, 0, len(body), 0, 64 if wide else 52, 0, 0, 64 if wide else 40, len(headers),
        len(headers) - 1,
    )  # fmt: skip
    return head + body[len(head) :] + b"".join(headers)


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _symbol(form: str, name: int, info: int, section: int, value: int) -> bytes:
    if form[1:] == "IBBHQQ":
        return struct.pack(form, name, info, 0, section, value, 0)
    return struct.pack(form, name, value, 0, info, 0, section)
