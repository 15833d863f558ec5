# tinykmod._core.read_elf: the fast twin of tinykmod.modules.elf.read_elf.

from cpython.unicode cimport PyUnicode_DecodeUTF8

from tinykmod.errors import ModuleFormatError
from tinykmod.modules.elf_module import WHY, ElfModule


cdef str elf_text(ElfName name):
    return PyUnicode_DecodeUTF8(name.text, <Py_ssize_t>name.size, "surrogateescape")


cdef object elf_module(Elf* elf, int found, str which):
    # The module of an opened ELF; FOUND is what elf_open() said. Raises ModuleFormatError.
    cdef ElfName name, value
    cdef uint32_t crc = 0
    cdef dict exports = {}
    cdef dict imports = {}
    cdef list weak = []
    cdef list modinfo = []
    if found == 0:
        found = elf_next_symbol(elf, &name, &crc)
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
        found = elf_next_symbol(elf, &name, &crc)
    if found == 0 and not exports:
        names = elf.ksymtab_strings.data[:elf.ksymtab_strings.size].split(b"\0")
        exports = {symbol.decode("utf-8", "surrogateescape"): None for symbol in names if symbol}
    if found == 0:
        found = elf_next_version(elf, &name, &crc)
    while found > 0:
        imports[elf_text(name)] = crc
        found = elf_next_version(elf, &name, &crc)
    if found == 0:
        found = elf_next_modinfo(elf, &name, &value)
    while found > 0:
        modinfo.append((elf_text(name), elf_text(value)))
        found = elf_next_modinfo(elf, &name, &value)
    if found < 0:
        raise ModuleFormatError(which, WHY[elf.fault].format(elf.number))
    return ElfModule(tuple(modinfo), exports, imports, frozenset(weak))


def read_elf(bytes data not None, str which not None):
    """Read a module from its uncompressed bytes, as tinykmod.modules.elf.read_elf does."""
    cdef Elf elf
    cdef const uint8_t* base = data
    cdef size_t size = len(data)
    cdef int found
    with nogil:
        found = elf_open(&elf, base, size)
    return elf_module(&elf, found, which)


cdef struct ElfFile:
    FileView view
    Buffer small
    Elf elf
    int failed
    int found


def read_elf_files(list paths not None):
    """Read module files: of each its bytes on disk and what read_elf() finds, or None where it is no ELF as it lies.

    paths are bytes. A thread that reads one file after the other gives the interpreter away for each, and waits
    until it has it back. Raises OSError, ModuleFormatError.
    """
    cdef size_t count = len(paths)
    cdef size_t number
    cdef const char** names = <const char**>calloc(count + 1, sizeof(char*))
    cdef ElfFile* files = <ElfFile*>calloc(count + 1, sizeof(ElfFile))
    cdef ElfFile* file
    read = []
    try:
        if files == NULL or names == NULL:
            raise MemoryError()
        for number in range(count):
            names[number] = name_of(paths[number]).text
        with nogil:
            for number in range(count):
                file = &files[number]
                file.failed = open_view(&file.view, names[number], &file.small)
                if not file.failed and begins_as_elf(&file.view):
                    file.found = elf_open(&file.elf, file.view.data, file.view.size)
        for number in range(count):
            file = &files[number]
            which = paths[number].decode("utf-8", "surrogateescape")
            if file.failed:
                raise OSError(file.failed, strerror(file.failed).decode(), which)
            if begins_as_elf(&file.view):
                read.append((file.view.size, elf_module(&file.elf, file.found, which)))
            else:
                read.append(None)
        return read
    finally:
        if files != NULL:
            for number in range(count):
                close_view(&files[number].view)
                free(files[number].small.data)
        free(files)
        free(names)
