# The boot index, read in place (docs/index-format.md). Twin: tinykmod/index/reader.py.

cdef struct BootIndex:
    const uint8_t* base
    const Header* header
    const char* strings
    const Module* modules
    const uint32_t* by_name
    const uint32_t* links
    const Node* nodes
    const Value* values
    const uint32_t* builtins
    const Statement* statements
    const Planned* planned
    uint32_t count[FORMAT_SECTIONS]
    # Only where the text files stand in for a damaged index (core/textfiles.pxi): modules.alias as it is.
    const char* alias_text
    size_t alias_size


cdef inline bint is_none(uint32_t number) noexcept nogil:
    return number == <uint32_t>-1


cdef size_t section_item(int section) noexcept nogil:
    if section == SECTION_STRINGS:
        return 1
    if section == SECTION_MODULES:
        return sizeof(Module)
    if section == SECTION_NODES:
        return sizeof(Node)
    if section == SECTION_VALUES:
        return sizeof(Value)
    if section == SECTION_STATEMENTS:
        return sizeof(Statement)
    if section == SECTION_PLAN:
        return sizeof(Planned)
    return 4


cdef const char* index_open(BootIndex* ix, const void* data, uint64_t size) noexcept nogil:
    # Point IX into the SIZE bytes at DATA (aligned to 8). NULL, or why they are no index that can be used.
    cdef const uint8_t* base = <const uint8_t*>data
    cdef const Header* header = <const Header*>data
    cdef const Table* tables
    cdef int section
    cdef uint64_t end
    memset(ix, 0, sizeof(BootIndex))
    if size < 16 or memcmp(base, b"\x89TKI\r\n\x1a\n", 8) != 0:
        return b"not a boot index (its first bytes are not an index's)"
    if header.byte_order != FORMAT_BYTE_ORDER:
        return b"of the other byte order, or damaged: the byte-order mark is not this machine's"
    if header.version != FORMAT_VERSION:
        return b"of another format version than this program reads"
    if size < sizeof(Header) + FORMAT_SECTIONS * sizeof(Table):
        return b"cut short: it does not hold the header"
    if header.size != size or size % 8:
        return b"cut short or grown: its header tells another size"
    if not checksum_fits(header, size):
        return b"damaged: the checksum does not fit"
    tables = <const Table*>(base + sizeof(Header))
    for section in range(FORMAT_SECTIONS):
        end = tables[section].offset + <uint64_t>tables[section].count * section_item(section)
        if tables[section].offset % 8 or end > size:
            return b"damaged: a section lies outside the file"
        ix.count[section] = tables[section].count
    ix.base = base
    ix.header = header
    ix.strings = <const char*>(base + tables[<int>SECTION_STRINGS].offset)
    ix.modules = <const Module*>(base + tables[<int>SECTION_MODULES].offset)
    ix.by_name = <const uint32_t*>(base + tables[<int>SECTION_BY_NAME].offset)
    ix.links = <const uint32_t*>(base + tables[<int>SECTION_LINKS].offset)
    ix.nodes = <const Node*>(base + tables[<int>SECTION_NODES].offset)
    ix.values = <const Value*>(base + tables[<int>SECTION_VALUES].offset)
    ix.builtins = <const uint32_t*>(base + tables[<int>SECTION_BUILTINS].offset)
    ix.statements = <const Statement*>(base + tables[<int>SECTION_STATEMENTS].offset)
    ix.planned = <const Planned*>(base + tables[<int>SECTION_PLAN].offset)
    # A search has one mark a star, and the marks are allocated by this number.
    if header.stars > ix.count[<int>SECTION_NODES]:
        return b"damaged: more stars than nodes"
    # Every string ends inside the section once its last byte is a NUL.
    if ix.count[<int>SECTION_STRINGS] == 0 or ix.strings[ix.count[<int>SECTION_STRINGS] - 1] != 0:
        return b"damaged: the strings do not end"
    return NULL


cdef bint checksum_fits(const Header* header, uint64_t size) noexcept nogil:
    cdef const uint64_t* word = <const uint64_t*>(<const uint8_t*>header + FORMAT_SUMMED_FROM)
    cdef const uint64_t* end = <const uint64_t*>(<const uint8_t*>header + size)
    cdef uint64_t total = 0
    cdef uint64_t weighted = 0
    while word < end:
        total += word[0]
        weighted += total
        word += 1
    return total == header.sum and weighted == header.weighted


cdef const char* index_string(const BootIndex* ix, uint32_t offset) noexcept nogil:
    return either(offset < ix.count[<int>SECTION_STRINGS], ix.strings + offset, b"")


cdef const char* index_name(const BootIndex* ix, uint32_t module) noexcept nogil:
    if module >= ix.count[<int>SECTION_MODULES]:
        return b""
    return index_string(ix, ix.modules[module].name)


cdef bint index_blacklisted(const BootIndex* ix, uint32_t module) noexcept nogil:
    return module < ix.count[<int>SECTION_MODULES] and (ix.modules[module].flags & MODULE_FLAG_BLACKLISTED) != 0


cdef bint index_forbidden(const BootIndex* ix, uint32_t module) noexcept nogil:
    # Whether `install MODULE /bin/false`, or true, keeps it from being loaded, whoever asks.
    return (ix.modules[module].flags & (MODULE_FLAG_REFUSED | MODULE_FLAG_SKIPPED)) != 0


cdef const uint32_t* index_links(const BootIndex* ix, uint64_t first, uint32_t n) noexcept nogil:
    # N module numbers; NULL where they would lie outside.
    return ix.links + first if first + n <= ix.count[<int>SECTION_LINKS] else NULL


cdef uint32_t index_find(const BootIndex* ix, const char* name) noexcept nogil:
    # The module called NAME (`-` and `_` being equal), or NONE.
    cdef uint32_t low = 0
    cdef uint32_t high = ix.count[<int>SECTION_BY_NAME]
    cdef uint32_t middle
    cdef int order
    while low < high:
        middle = low + (high - low) / 2
        order = compare_names(index_name(ix, ix.by_name[middle]), name)
        if order == 0:
            return ix.by_name[middle] if ix.by_name[middle] < ix.count[<int>SECTION_MODULES] else <uint32_t>-1
        if order < 0:
            low = middle + 1
        else:
            high = middle
    return <uint32_t>-1


cdef uint32_t index_find_builtin(const BootIndex* ix, const char* name) noexcept nogil:
    # The position of NAME in BUILTINS, or NONE.
    cdef uint32_t low = 0
    cdef uint32_t high = ix.count[<int>SECTION_BUILTINS]
    cdef uint32_t middle
    cdef int order
    while low < high:
        middle = low + (high - low) / 2
        order = compare_names(index_string(ix, ix.builtins[middle]), name)
        if order == 0:
            return middle
        if order < 0:
            low = middle + 1
        else:
            high = middle
    return <uint32_t>-1


cdef int compare_names(const char* known, const char* name) noexcept nogil:
    # strcmp of KNOWN, which is normalised, and NAME as if it were.
    cdef int order
    while True:
        order = <uint8_t>known[0] - <uint8_t>normal(name[0])
        if order != 0 or known[0] == 0:
            return order
        known += 1
        name += 1
