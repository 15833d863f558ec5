# What depmod wants to know of a module, as one run of bytes: tinykmod/kmod/depmod_record.py tells the entries.

cdef enum RecordTag:
    TAG_ALIAS = 0x61  # a
    TAG_SOFTDEP = 0x73  # s
    TAG_WEAKDEP = 0x77  # w
    TAG_EXPORT = 0x65  # e
    TAG_EXPORT_CRC = 0x45  # E
    TAG_IMPORT = 0x69  # i
    TAG_IMPORT_CRC = 0x49  # I
    TAG_WEAK_IMPORT = 0x6f  # o

cdef struct Entry:
    # One entry of a record.
    uint8_t tag
    uint32_t crc
    ElfName text


cdef void record_entry(Buffer* out, uint8_t tag, ElfName text) noexcept nogil:
    add_byte(out, tag)
    add(out, text.text, text.size)
    add_byte(out, 0)


cdef void record_crc(Buffer* out, uint8_t tag, uint32_t crc, ElfName text) noexcept nogil:
    add_byte(out, tag)
    add(out, &crc, 4)
    add(out, text.text, text.size)
    add_byte(out, 0)


cdef int record_of(Elf* elf, Buffer* out) noexcept nogil:
    # Add an opened module's entries. 0, or -1 with the module's fault set.
    cdef ElfName name, value
    cdef const void* end
    cdef uint32_t crc = 0
    cdef bint exports = False
    cdef int found = elf_next_symbol(elf, &name, &crc)
    while found > 0:
        if found == ELF_EXPORT_WITH_CRC:
            record_crc(out, TAG_EXPORT_CRC, crc, name)
        elif found == ELF_EXPORT:
            record_entry(out, TAG_EXPORT, name)
        else:
            record_entry(out, TAG_WEAK_IMPORT if found == ELF_WEAK_IMPORT else TAG_IMPORT, name)
        exports |= found == ELF_EXPORT_WITH_CRC or found == ELF_EXPORT
        found = elf_next_symbol(elf, &name, &crc)
    while not exports and elf.ksymtab_strings.size:
        name.text = <const char*>elf.ksymtab_strings.data
        end = memchr(name.text, 0, <size_t>elf.ksymtab_strings.size)
        name.size = <size_t>(<const char*>end - name.text if end != NULL else <ssize_t>elf.ksymtab_strings.size)
        if name.size:
            record_entry(out, TAG_EXPORT, name)
        elf.ksymtab_strings.data += name.size + (end != NULL)
        elf.ksymtab_strings.size -= name.size + (end != NULL)
    if found == 0:
        found = elf_next_version(elf, &name, &crc)
    while found > 0:
        record_crc(out, TAG_IMPORT_CRC, crc, name)
        found = elf_next_version(elf, &name, &crc)
    if found == 0:
        found = elf_next_modinfo(elf, &name, &value)
    while found > 0:
        if elf_is(name, b"alias", 5):
            record_entry(out, TAG_ALIAS, value)
        elif elf_is(name, b"softdep", 7):
            record_entry(out, TAG_SOFTDEP, value)
        elif elf_is(name, b"weakdep", 7):
            record_entry(out, TAG_WEAKDEP, value)
        found = elf_next_modinfo(elf, &name, &value)
    return found


cdef bint next_entry(ElfSpan* record, Entry* entry) noexcept nogil:
    # Take the first entry off a record. False at its end, and where what is left is no entry.
    cdef size_t head
    if record.size == 0:
        return False
    entry.tag = record.data[0]
    entry.crc = 0
    head = 5 if entry.tag == TAG_EXPORT_CRC or entry.tag == TAG_IMPORT_CRC else 1
    if not elf_string(record[0], head, &entry.text):
        return False
    if head == 5:
        memcpy(&entry.crc, record.data + 1, 4)
    record.data += head + entry.text.size + 1
    record.size -= head + entry.text.size + 1
    return True
