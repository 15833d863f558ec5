# A packed module (docs/packed-module.md): one that the loader decompresses itself. Twin: tinykmod/modules/packed.py.

cdef enum:
    PACKED_WIDEST = 32

cdef struct PackedHeader:
    uint8_t magic[4]
    uint32_t size  # of the module in bytes
    uint32_t n_tables

cdef struct PackedTable:
    # `count` records of `width` bytes, kept byte by byte: first the first byte of each record, and so on.
    uint32_t offset
    uint32_t count
    uint32_t planes  # bit N: not all of the records' bytes N are 0
    uint16_t width
    uint16_t word  # bytes of each record's first number, of which the difference to the last one is kept; 0: itself


cdef bint packed_is(const uint8_t* data, uint64_t size) noexcept nogil:
    return size >= sizeof(PackedHeader) and memcmp(data, b"\x89TKP", 4) == 0


cdef bint packed_in(int fd) noexcept nogil:
    cdef PackedHeader header
    return (pread(fd, &header, sizeof(header), 0) == sizeof(header)
            and packed_is(<const uint8_t*>&header, sizeof(header)))


cdef uint32_t packed_size(const uint8_t* data, uint64_t size) noexcept nogil:
    # Of the module within, in bytes; 0 where that cannot be: no byte of an LZ4 block stands for more than 255.
    cdef uint32_t plain = (<const PackedHeader*>data).size
    return plain if plain <= size * 255 else 0


cdef bint packed_decode(const uint8_t* data, uint64_t size, uint8_t* out) noexcept nogil:
    # The module within the SIZE bytes at DATA (packed_is(), aligned to 4) to OUT, as large as the header tells and
    # aligned to 8. False: damaged.
    cdef const PackedHeader* header = <const PackedHeader*>data
    cdef const PackedTable* tables = <const PackedTable*>(data + sizeof(PackedHeader))
    cdef uint64_t body = sizeof(PackedHeader) + <uint64_t>header.n_tables * sizeof(PackedTable)
    cdef uint64_t most = 0
    cdef uint64_t n
    cdef uint32_t i
    cdef uint8_t* scratch
    if body > size:
        return False
    for i in range(header.n_tables):
        n = <uint64_t>tables[i].count * tables[i].width
        if tables[i].width == 0 or tables[i].width > PACKED_WIDEST or tables[i].offset + n > header.size:
            return False
        if tables[i].word != 0 and (
                (tables[i].word != 4 and tables[i].word != 8)
                or tables[i].offset % tables[i].word or tables[i].width % tables[i].word):
            return False
        if n > most:
            most = n
    if not lz4_decode(data + body, data + size, out, header.size):
        return False
    if most == 0:
        return True
    scratch = <uint8_t*>take_pages(most)
    if scratch == NULL:
        return False
    for i in range(header.n_tables):
        packed_table(tables + i, out + tables[i].offset, scratch)
    munmap(scratch, most)
    return True


cdef void packed_table(const PackedTable* table, uint8_t* out, uint8_t* scratch) noexcept nogil:
    cdef ssize_t width = table.width
    cdef size_t n = <size_t>table.count * table.width
    cdef const uint8_t* plane = scratch
    cdef uint8_t* at
    cdef uint8_t* end = out + n
    cdef uint32_t i
    cdef uint32_t small = 0
    cdef uint64_t large = 0
    memcpy(scratch, out, n)
    memset(out, 0, n)
    for i in range(table.width):
        if table.planes >> i & 1:
            at = out + i
            while end - at > 3 * width:
                at[0] = plane[0]
                at[width] = plane[1]
                at[2 * width] = plane[2]
                at[3 * width] = plane[3]
                plane += 4
                at += 4 * width
            while at < end:
                at[0] = plane[0]
                plane += 1
                at += width
        else:
            plane += table.count
    if table.word == 8:
        at = out
        while at < end:
            large += (<uint64_t*>at)[0]
            (<uint64_t*>at)[0] = large
            at += width
    elif table.word == 4:
        at = out
        while at < end:
            small += (<uint32_t*>at)[0]
            (<uint32_t*>at)[0] = small
            at += width


cdef bint lz4_length(const uint8_t** at, const uint8_t* end, size_t* n) noexcept nogil:
    # What follows a length of 15: bytes to add, up to the first that is not 255.
    cdef uint8_t more = 255
    while more == 255:
        if at[0] == end or n[0] > <uint32_t>-1:
            return False
        more = at[0][0]
        at[0] += 1
        n[0] += more
    return True


cdef bint lz4_decode(const uint8_t* at, const uint8_t* end, uint8_t* out, size_t size) noexcept nogil:
    # One LZ4 block of SIZE bytes (lz4_Block_format.md of the LZ4 project). False: damaged.
    cdef uint8_t* to = out
    cdef uint8_t* limit = out + size
    cdef size_t n, distance, step
    cdef uint8_t token
    while at < end:
        token = at[0]
        at += 1
        n = token >> 4
        if n < 15 and end - at >= 16 and limit - to >= 48:
            # Most runs are this short; so many bytes at once, needed or not, cost less than their number.
            memcpy(to, at, 16)
            at += n
            to += n
            distance = at[0] | <size_t>at[1] << 8
            at += 2
            if token & 15 != 15 and 8 <= distance <= <size_t>(to - out):
                memcpy(to, to - distance, 8)
                memcpy(to + 8, to + 8 - distance, 8)
                memcpy(to + 16, to + 16 - distance, 2)
                to += (token & 15) + 4
                continue
        else:
            if n == 15 and not lz4_length(&at, end, &n):
                return False
            if n > <size_t>(end - at) or n > <size_t>(limit - to):
                return False
            memcpy(to, at, n)
            at += n
            to += n
            if at == end:
                return to == limit
            if end - at < 2:
                return False
            distance = at[0] | <size_t>at[1] << 8
            at += 2
        n = token & 15
        if n == 15 and not lz4_length(&at, end, &n):
            return False
        n += 4
        if distance == 0 or distance > <size_t>(to - out) or n > <size_t>(limit - to):
            return False
        if distance == 1:
            memset(to, (to - 1)[0], n)
            to += n
            continue
        # A short pattern is repeated until 8 bytes of it can be copied at once.
        step = distance
        while step < 8:
            step += distance
        if step != distance:
            step = step if step < n else n
            n -= step
            while step > 0:
                to[0] = (to - distance)[0]
                to += 1
                step -= 1
            while distance < 8:
                distance += distance
        while n >= 8:
            memcpy(to, to - distance, 8)
            to += 8
            n -= 8
        while n > 0:
            to[0] = (to - distance)[0]
            to += 1
            n -= 1
    return False


cdef uint8_t* packed_read(const uint8_t* data, uint64_t* size) noexcept nogil:
    # The module within the SIZE[0] bytes at DATA, in memory of its own; SIZE becomes the module's. NULL: damaged, or
    # no memory.
    cdef uint32_t plain = packed_size(data, size[0])
    cdef uint8_t* out = <uint8_t*>take_pages(plain)
    if plain == 0 or out == NULL or not packed_decode(data, size[0], out):
        return NULL
    size[0] = plain
    return out


cdef int packed_file(const uint8_t* data, uint64_t size, const char* name) noexcept nogil:
    # A descriptor of a file in memory, called NAME, with the module within the SIZE bytes at DATA; a negative errno
    # where there can be none, EBADMSG where the data are damaged.
    cdef uint32_t plain = packed_size(data, size)
    cdef int result
    cdef void* out = NULL
    # From Linux 6.3 on vm.memfd_noexec may refuse files that could be executed; before, the flag is not known.
    cdef int fd = memfd_create(name, MFD_CLOEXEC | MFD_NOEXEC_SEAL) if plain else -1
    if plain and fd < 0 and errno == EINVAL:
        fd = memfd_create(name, MFD_CLOEXEC)
    if fd < 0:
        return -errno if plain else -EBADMSG
    if ftruncate(fd, plain) == 0:
        # Populated at once: a fault a page costs more.
        out = mmap(NULL, plain, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0)
    result = fd if out != NULL and <ssize_t>out != -1 else -errno
    if result >= 0:
        if not packed_decode(data, size, <uint8_t*>out):
            result = -EBADMSG
        munmap(out, plain)
    if result < 0:
        close(fd)
    return result
