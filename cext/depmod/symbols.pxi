# The symbols of all modules by name.

cdef enum:
    NOBODY = -1
    KERNEL = -2

cdef struct Symbol:
    ElfName name
    uint32_t hash
    int owner  # the module that exports it, KERNEL or NOBODY
    bint has_crc
    uint32_t crc
    # What the module that was looked at last wants of it; its number plus 1, so that 0 is none.
    uint32_t wanted_by
    bint weak
    bint wants_crc
    uint32_t wanted_crc

cdef struct Symbols:
    Symbol* items
    size_t count
    size_t room
    uint32_t* slots  # an item's number plus 1, or 0; at most half of them are taken
    size_t mask  # the number of slots, a power of 2, less 1


cdef uint32_t symbol_hash(ElfName name) noexcept nogil:
    # Paul Hsieh's SuperFastHash, as tinykmod.kmod.depmod has it.
    cdef const uint8_t* at = <const uint8_t*>name.text
    cdef uint32_t value = <uint32_t>name.size
    cdef size_t words = name.size // 4, rest = name.size & 3
    while words:
        value += at[0] | <uint32_t>at[1] << 8
        value = value << 16 ^ (at[2] | <uint32_t>at[3] << 8) << 11 ^ value
        value += value >> 11
        at += 4
        words -= 1
    if rest == 3:
        value += at[0] | <uint32_t>at[1] << 8
        value = value ^ value << 16 ^ <uint32_t>at[2] << 18
        value += value >> 11
    elif rest == 2:
        value += at[0] | <uint32_t>at[1] << 8
        value ^= value << 11
        value += value >> 17
    elif rest == 1:
        value += at[0]
        value ^= value << 10
        value += value >> 1
    value ^= value << 3
    value += value >> 5
    value ^= value << 4
    value += value >> 17
    value ^= value << 25
    value += value >> 6
    return value


cdef bint grow_symbols(Symbols* symbols) noexcept nogil:
    # Twice the room. False where memory ran out.
    cdef size_t room = symbols.room * 2 if symbols.room else 1 << 14
    cdef size_t number, slot
    cdef uint32_t* slots = <uint32_t*>calloc(room * 2, sizeof(uint32_t))
    cdef Symbol* items = <Symbol*>realloc(symbols.items, room * sizeof(Symbol))
    if items != NULL:
        symbols.items = items
    if items == NULL or slots == NULL:
        free(slots)
        return False
    free(symbols.slots)
    symbols.slots = slots
    symbols.room = room
    symbols.mask = room * 2 - 1
    for number in range(symbols.count):
        slot = items[number].hash & symbols.mask
        while slots[slot]:
            slot = (slot + 1) & symbols.mask
        slots[slot] = <uint32_t>number + 1
    return True


cdef Symbol* find_symbol(Symbols* symbols, ElfName name, bint make) noexcept nogil:
    # The symbol of this name; where there is none, a new one if wanted, else NULL. NULL also where memory ran out.
    cdef uint32_t hash = symbol_hash(name)
    cdef Symbol* found
    cdef size_t slot
    if symbols.count == symbols.room and not grow_symbols(symbols):
        return NULL
    slot = hash & symbols.mask
    while symbols.slots[slot]:
        found = &symbols.items[symbols.slots[slot] - 1]
        if found.hash == hash and elf_is(found.name, name.text, name.size):
            return found
        slot = (slot + 1) & symbols.mask
    if not make:
        return NULL
    found = &symbols.items[symbols.count]
    symbols.count += 1
    symbols.slots[slot] = <uint32_t>symbols.count
    memset(found, 0, sizeof(Symbol))
    found.name = name
    found.hash = hash
    found.owner = NOBODY
    return found


cdef int compare_symbols(const void* a, const void* b) noexcept nogil:
    # In the order of the hash table of 2048 buckets from which kmod writes them.
    cdef const Symbol* left = (<const Symbol* const*>a)[0]
    cdef const Symbol* right = (<const Symbol* const*>b)[0]
    if left.hash & 2047 != right.hash & 2047:
        return 1 if left.hash & 2047 > right.hash & 2047 else -1
    return order_of_names(left.name, right.name)


cdef int order_of_names(ElfName a, ElfName b) noexcept nogil:
    cdef int order = memcmp(a.text, b.text, a.size if a.size < b.size else b.size)
    if order == 0 and a.size != b.size:
        return 1 if a.size > b.size else -1
    return order


cdef bint is_ascii(ElfName name) noexcept nogil:
    cdef size_t i
    for i in range(name.size):
        if <uint8_t>name.text[i] > 0x7f:
            return False
    return True
