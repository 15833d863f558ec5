# A frozen program: the loader with its boot index, and modules, behind it in one file. `tinykmod freeze` makes it
# (tinykmod/image/freeze.py): it finds the mark in the loader's file and writes the numbers that follow it.

cdef extern from *:
    """
    static const volatile struct { char mark[16]; uint64_t at, index, all; } FROZEN = {
        "\\x89TKF frozen\\r\\n\\x1a", 0, 0, 0};
    """
    struct Frozen:
        uint64_t at  # of the index, in bytes from the start of the file
        uint64_t index  # bytes; behind them a FrozenModule for each of its modules, or nothing
        uint64_t all  # bytes from the index to the end of the modules; 0: nothing is frozen
    const Frozen FROZEN

cdef struct FrozenModule:
    # A packed module.
    uint32_t at  # in bytes from the start of the index, a multiple of 8
    uint32_t size  # 0: it is not in the program


cdef const uint8_t* frozen_open() noexcept nogil:
    # What is frozen in this program, aligned to 8; NULL where nothing is, or it cannot be read.
    cdef uint64_t size = 0
    cdef const uint8_t* base
    cdef int fd
    if FROZEN.all == 0:
        return NULL
    fd = open(b"/proc/self/exe", O_RDONLY | O_CLOEXEC)
    if fd < 0:
        return NULL
    base = <const uint8_t*>map_lazily(fd, &size)
    close(fd)
    if base == NULL or FROZEN.at % 8 or FROZEN.index > FROZEN.all or FROZEN.at + FROZEN.all > size:
        return NULL
    return base + FROZEN.at


cdef const uint8_t* frozen_module(const Loader* loader, uint32_t module, uint64_t* size) noexcept nogil:
    # The packed MODULE and its SIZE in bytes; NULL where it is not in this program.
    cdef const FrozenModule* table = <const FrozenModule*>(loader.frozen + FROZEN.index)
    cdef uint64_t n = <uint64_t>loader.index.count[<int>SECTION_MODULES] * sizeof(FrozenModule)
    if loader.frozen == NULL or FROZEN.index + n > FROZEN.all or table[module].size == 0:
        return NULL
    size[0] = table[module].size
    if table[module].at % 8 or table[module].at + size[0] > FROZEN.all or not packed_is(
            loader.frozen + table[module].at, size[0]):
        return NULL
    return loader.frozen + table[module].at
