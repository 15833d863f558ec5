# What a .ko says of itself, over the bytes of the file and nothing else. Twin: tinykmod/modules/elf.py, which tells
# where the pieces lie. Needs memchr and memcmp of sys.pxd, and cdivision.

cdef enum ElfFault:
    # Numbered as tinykmod.modules.elf.Fault.
    ELF_NOT_ELF = 1
    ELF_CUT
    ELF_CLASS
    ELF_ORDER
    ELF_TYPE
    ELF_HEADERS
    ELF_SECTION
    ELF_NAMES
    ELF_SECTION_NAME
    ELF_SYMBOLS
    ELF_SYMBOL_NAME
    ELF_CRC
    ELF_VERSIONS
    ELF_VERSION_NAME
    ELF_EXTENDED
    ELF_MODINFO

cdef enum ElfKind:
    # What elf_next_symbol() found.
    ELF_END = 0
    ELF_IMPORT
    ELF_WEAK_IMPORT
    ELF_EXPORT
    ELF_EXPORT_WITH_CRC

cdef enum:
    ET_REL = 1
    EM_SPARC = 2
    EM_PPC64 = 21
    EM_SPARCV9 = 43
    SHT_NULL = 0
    SHT_SYMTAB = 2
    SHT_NOBITS = 8
    SHN_UNDEF = 0
    SHN_ABS = 0xfff1
    SHN_XINDEX = 0xffff
    STB_GLOBAL = 1
    STB_WEAK = 2
    STT_NOTYPE = 0
    STT_OBJECT = 1
    STT_SPARC_REGISTER = 13
    VERSION_RECORD = 64

cdef struct ElfSpan:
    const uint8_t* data
    uint64_t size

cdef struct ElfName:
    const char* text
    size_t size

cdef struct ElfSection:
    uint32_t name
    uint32_t kind
    uint32_t link
    uint64_t offset
    uint64_t size

cdef struct Elf:
    ElfSpan file
    bint wide
    bint big_endian
    unsigned int machine
    uint64_t headers
    uint64_t count
    ElfSpan names
    # The sections that are read; empty where there is none.
    ElfSpan modinfo
    ElfSpan ksymtab_strings
    ElfSpan versions
    ElfSpan extended_crcs
    ElfSpan extended_names
    ElfSpan symbols
    ElfSpan strings
    # The next symbol and the next record of each kind.
    uint64_t symbol
    uint64_t version
    # What is wrong, and with which section, symbol or record.
    int fault
    uint64_t number


cdef inline uint16_t elf_u16(const Elf* elf, const uint8_t* at) noexcept nogil:
    if elf.big_endian:
        return <uint16_t>(at[0] << 8 | at[1])
    return <uint16_t>(at[1] << 8 | at[0])


cdef inline uint32_t elf_u32(const Elf* elf, const uint8_t* at) noexcept nogil:
    if elf.big_endian:
        return <uint32_t>elf_u16(elf, at) << 16 | elf_u16(elf, at + 2)
    return <uint32_t>elf_u16(elf, at + 2) << 16 | elf_u16(elf, at)


cdef inline uint64_t elf_u64(const Elf* elf, const uint8_t* at) noexcept nogil:
    if elf.big_endian:
        return <uint64_t>elf_u32(elf, at) << 32 | elf_u32(elf, at + 4)
    return <uint64_t>elf_u32(elf, at + 4) << 32 | elf_u32(elf, at)


cdef int elf_fail(Elf* elf, int fault, uint64_t number) noexcept nogil:
    elf.fault = fault
    elf.number = number
    return -1


cdef inline bint elf_inside(ElfSpan span, uint64_t offset, uint64_t size) noexcept nogil:
    # The one range check: SIZE bytes at OFFSET lie within the span, whatever the two are.
    return size <= span.size and offset <= span.size - size


cdef bint elf_string(ElfSpan span, uint64_t offset, ElfName* name) noexcept nogil:
    # The string at an offset; false where it does not begin or end within the span.
    cdef const void* end
    if offset >= span.size:
        return False
    end = memchr(span.data + offset, 0, <size_t>(span.size - offset))
    if end == NULL:
        return False
    name.text = <const char*>(span.data + offset)
    name.size = <size_t>(<const char*>end - name.text)
    return True


cdef ElfSection elf_section(const Elf* elf, uint64_t number) noexcept nogil:
    # The header of a section; the table was checked.
    cdef ElfSection section
    cdef const uint8_t* at = elf.file.data + elf.headers + number * (64 if elf.wide else 40)
    section.name = elf_u32(elf, at)
    section.kind = elf_u32(elf, at + 4)
    if elf.wide:
        section.offset = elf_u64(elf, at + 24)
        section.size = elf_u64(elf, at + 32)
        section.link = elf_u32(elf, at + 40)
    else:
        section.offset = elf_u32(elf, at + 16)
        section.size = elf_u32(elf, at + 20)
        section.link = elf_u32(elf, at + 24)
    return section


cdef ElfSpan elf_contents(const Elf* elf, uint64_t number) noexcept nogil:
    # The bytes of a section whose range was checked; none where it has none in the file, or is not there.
    cdef ElfSpan span
    cdef ElfSection section
    span.data = elf.file.data
    span.size = 0
    if number < elf.count:
        section = elf_section(elf, number)
        if section.kind != SHT_NULL and section.kind != SHT_NOBITS:
            span.data = elf.file.data + section.offset
            span.size = section.size
    return span


cdef inline bint elf_is(ElfName name, const char* text, size_t size) noexcept nogil:
    return name.size == size and memcmp(name.text, text, size) == 0


cdef inline bint elf_begins(ElfName* name, const char* text, size_t size) noexcept nogil:
    # Whether a name begins so; if it does, the beginning is cut off.
    if name.size < size or memcmp(name.text, text, size) != 0:
        return False
    name.text += size
    name.size -= size
    return True


cdef int elf_open(Elf* elf, const uint8_t* data, size_t size) noexcept nogil:
    # Point ELF into the SIZE bytes at DATA. 0, or -1 with fault and number set.
    cdef uint64_t entry, names, number
    cdef const uint8_t* tail
    cdef ElfSection section
    memset(elf, 0, sizeof(Elf))
    elf.file.data = data
    elf.file.size = size
    if size < 4 or memcmp(data, b"\x7fELF", 4) != 0:
        return elf_fail(elf, ELF_NOT_ELF, 0)
    if size < 16:
        return elf_fail(elf, ELF_CUT, 0)
    if data[4] != 1 and data[4] != 2:
        return elf_fail(elf, ELF_CLASS, data[4])
    if data[5] != 1 and data[5] != 2:
        return elf_fail(elf, ELF_ORDER, data[5])
    elf.wide = data[4] == 2
    elf.big_endian = data[5] == 2
    if size < <size_t>(64 if elf.wide else 52):
        return elf_fail(elf, ELF_CUT, 0)
    if elf_u16(elf, data + 16) != ET_REL:
        return elf_fail(elf, ELF_TYPE, elf_u16(elf, data + 16))
    elf.machine = elf_u16(elf, data + 18)
    elf.headers = elf_u64(elf, data + 40) if elf.wide else elf_u32(elf, data + 32)
    tail = data + (58 if elf.wide else 46)
    entry = elf_u16(elf, tail)
    elf.count = elf_u16(elf, tail + 2)
    names = elf_u16(elf, tail + 4)
    if entry != <uint64_t>(64 if elf.wide else 40) or elf.headers == 0:
        return elf_fail(elf, ELF_HEADERS, 0)
    if not elf_inside(elf.file, elf.headers, entry):
        return elf_fail(elf, ELF_HEADERS, 0)
    # Section 0 is no section: it holds the numbers that do not fit into the ELF header's 16 bits.
    section = elf_section(elf, 0)
    if elf.count == 0:
        elf.count = section.size
    if names == SHN_XINDEX:
        names = section.link
    if elf.count > (elf.file.size - elf.headers) / entry:
        return elf_fail(elf, ELF_HEADERS, 0)
    for number in range(elf.count):
        section = elf_section(elf, number)
        if section.kind == SHT_NULL or section.kind == SHT_NOBITS:
            continue
        if not elf_inside(elf.file, section.offset, section.size):
            return elf_fail(elf, ELF_SECTION, number)
    if names == 0 or names >= elf.count:
        return elf_fail(elf, ELF_NAMES, names)
    elf.names = elf_contents(elf, names)
    return elf_find_sections(elf)


cdef int elf_find_sections(Elf* elf) noexcept nogil:
    cdef ElfSection section
    cdef ElfName name
    cdef uint64_t number, symbols = 0
    for number in range(1, elf.count):
        if not elf_string(elf.names, elf_section(elf, number).name, &name):
            return elf_fail(elf, ELF_SECTION_NAME, number)
    # From the last to the first, so that of several with one name the first is kept, as of symbol tables.
    number = elf.count
    while number > 1:
        number -= 1
        section = elf_section(elf, number)
        elf_string(elf.names, section.name, &name)
        if section.kind == SHT_SYMTAB:
            symbols = number
        if elf_is(name, b".modinfo", 8):
            elf.modinfo = elf_contents(elf, number)
        elif elf_is(name, b"__ksymtab_strings", 17):
            elf.ksymtab_strings = elf_contents(elf, number)
        elif elf_is(name, b"__versions", 10):
            elf.versions = elf_contents(elf, number)
        elif elf_is(name, b"__version_ext_crcs", 18):
            elf.extended_crcs = elf_contents(elf, number)
        elif elf_is(name, b"__version_ext_names", 19):
            elf.extended_names = elf_contents(elf, number)
    if symbols:
        section = elf_section(elf, symbols)
        elf.symbols = elf_contents(elf, symbols)
        if elf.symbols.size % <uint64_t>(24 if elf.wide else 16) or section.link == 0 or section.link >= elf.count:
            return elf_fail(elf, ELF_SYMBOLS, symbols)
        elf.strings = elf_contents(elf, section.link)
    return 0


cdef bint elf_undot(const Elf* elf, ElfName* name) noexcept nogil:
    # The name under which a symbol is exported; false where none exports it.
    # On ppc64 a function's entry point has a dot before its name (ELF ABI v1); .TOC. is the linker's (v2).
    if elf.machine == EM_PPC64 and name.size and name.text[0] == b".":
        if elf_is(name[0], b".TOC.", 5):
            return False
        name.text += 1
        name.size -= 1
    return name.size != 0


cdef int elf_next_symbol(Elf* elf, ElfName* name, uint32_t* crc) noexcept nogil:
    # The next import or mark of an export: its kind and symbol, with ELF_EXPORT_WITH_CRC its CRC. -1 at a fault.
    cdef const uint8_t* at
    cdef uint64_t number, value
    cdef uint32_t offset
    cdef unsigned int info, place
    cdef ElfSpan contents
    cdef uint64_t record = 24 if elf.wide else 16
    while elf.symbol * record < elf.symbols.size:
        number = elf.symbol
        at = elf.symbols.data + number * record
        elf.symbol += 1
        offset = elf_u32(elf, at)
        if elf.wide:
            info = at[4]
            place = elf_u16(elf, at + 6)
            value = elf_u64(elf, at + 8)
        else:
            value = elf_u32(elf, at + 4)
            info = at[12]
            place = elf_u16(elf, at + 14)
        if place == SHN_UNDEF:
            if info >> 4 != STB_GLOBAL and info >> 4 != STB_WEAK:
                continue
        elif info & 15 != STT_NOTYPE and info & 15 != STT_OBJECT:
            continue
        if not elf_string(elf.strings, offset, name):
            return elf_fail(elf, ELF_SYMBOL_NAME, number)
        if place == SHN_UNDEF:
            if info & 15 == STT_SPARC_REGISTER and (elf.machine == EM_SPARC or elf.machine == EM_SPARCV9):
                continue
            if elf_undot(elf, name):
                return ELF_WEAK_IMPORT if info >> 4 == STB_WEAK else ELF_IMPORT
        elif elf_begins(name, b"__crc_", 6):
            if place == SHN_ABS:
                crc[0] = <uint32_t>value
                return ELF_EXPORT_WITH_CRC
            contents = elf_contents(elf, place)
            if not elf_inside(contents, value, 4):
                return elf_fail(elf, ELF_CRC, number)
            crc[0] = elf_u32(elf, contents.data + value)
            return ELF_EXPORT_WITH_CRC
        elif elf_begins(name, b"__ksymtab_", 10):
            return ELF_EXPORT
    return ELF_END


cdef int elf_next_version(Elf* elf, ElfName* name, uint32_t* crc) noexcept nogil:
    # The next needed symbol that has a CRC: 1, 0 at the end, -1 at a fault.
    cdef const uint8_t* at
    cdef ElfSpan field
    cdef size_t width = 8 if elf.wide else 4
    if elf.versions.size % VERSION_RECORD:
        return elf_fail(elf, ELF_VERSIONS, 0)
    while elf.version * VERSION_RECORD < elf.versions.size:
        at = elf.versions.data + elf.version * VERSION_RECORD
        crc[0] = <uint32_t>elf_u64(elf, at) if elf.wide else elf_u32(elf, at)
        field.data = at + width
        field.size = VERSION_RECORD - width
        if not elf_string(field, 0, name):
            return elf_fail(elf, ELF_VERSION_NAME, elf.version)
        elf.version += 1
        if elf_undot(elf, name):
            return 1
    while elf.extended_crcs.size or elf.extended_names.size:
        if elf.extended_crcs.size < 4 or not elf_string(elf.extended_names, 0, name):
            return elf_fail(elf, ELF_EXTENDED, 0)
        crc[0] = elf_u32(elf, elf.extended_crcs.data)
        elf.extended_crcs.data += 4
        elf.extended_crcs.size -= 4
        elf.extended_names.data += name.size + 1
        elf.extended_names.size -= name.size + 1
        if elf_undot(elf, name):
            return 1
    return 0


cdef int elf_next_modinfo(Elf* elf, ElfName* key, ElfName* value) noexcept nogil:
    # The next `key=value` of .modinfo: 1, 0 at the end, -1 at a fault.
    cdef const char* equals
    if elf.modinfo.size and elf.modinfo.data[elf.modinfo.size - 1] != 0:
        return elf_fail(elf, ELF_MODINFO, 0)
    while elf.modinfo.size:
        elf_string(elf.modinfo, 0, key)
        elf.modinfo.data += key.size + 1
        elf.modinfo.size -= key.size + 1
        equals = <const char*>memchr(key.text, b"=", key.size)
        if equals != NULL:
            value.text = equals + 1
            value.size = key.size - <size_t>(equals - key.text) - 1
            key.size = <size_t>(equals - key.text)
            return 1
    return 0
