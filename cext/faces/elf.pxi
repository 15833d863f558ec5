# tinykmod._core.read_elf: the fast twin of tinykmod.modules.elf.read_elf.

from cpython.unicode cimport PyUnicode_DecodeUTF8

from tinykmod.errors import ModuleFormatError
from tinykmod.modules.elf_module import WHY, ElfModule


cdef str elf_text(ElfName name):
    return PyUnicode_DecodeUTF8(name.text, <Py_ssize_t>name.size, "surrogateescape")


def read_elf(bytes data not None, str which not None):
    """Read a module from its uncompressed bytes, as tinykmod.modules.elf.read_elf does."""
    cdef Elf elf
    cdef ElfName name, value
    cdef uint32_t crc = 0
    cdef const uint8_t* base = data
    cdef size_t size = len(data)
    cdef int found
    cdef dict exports = {}
    cdef dict imports = {}
    cdef list weak = []
    cdef list modinfo = []
    with nogil:
        found = elf_open(&elf, base, size)
    if found == 0:
        found = elf_next_symbol(&elf, &name, &crc)
    while found > 0:
        symbol = elf_text(name)
        if found == ELF_EXPORT_WITH_CRC:
            exports[symbol] = crc
        elif found == ELF_EXPORT:
            exports.setdefault(symbol, None)
        else:
            imports[symbol] = None
            if found == ELF_WEAK_IMPORT:
                weak.append(symbol)
        found = elf_next_symbol(&elf, &name, &crc)
    if found == 0 and not exports:
        names = elf.ksymtab_strings.data[:elf.ksymtab_strings.size].split(b"\0")
        exports = {symbol.decode("utf-8", "surrogateescape"): None for symbol in names if symbol}
    if found == 0:
        found = elf_next_version(&elf, &name, &crc)
    while found > 0:
        imports[elf_text(name)] = crc
        found = elf_next_version(&elf, &name, &crc)
    if found == 0:
        found = elf_next_modinfo(&elf, &name, &value)
    while found > 0:
        modinfo.append((elf_text(name), elf_text(value)))
        found = elf_next_modinfo(&elf, &name, &value)
    if found < 0:
        raise ModuleFormatError(which, WHY[elf.fault].format(elf.number))
    return ElfModule(tuple(modinfo), exports, imports, frozenset(weak))
