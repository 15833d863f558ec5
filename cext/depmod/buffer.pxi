# Bytes that grow at their end. For the extension only: the loader never gives memory back and does not grow it.

from libc.stdlib cimport calloc, free, malloc, qsort, realloc

cdef struct Buffer:
    uint8_t* data
    size_t size
    size_t used
    bint failed  # memory ran out, and what came after was dropped


cdef uint8_t* more(Buffer* buffer, size_t n) noexcept nogil:
    # N more bytes at the end, for the caller to fill; NULL where memory ran out.
    cdef size_t size
    cdef uint8_t* data
    if buffer.failed:
        return NULL
    if n > buffer.size - buffer.used:
        size = buffer.size * 2 if buffer.size * 2 > buffer.used + n else buffer.used + n
        data = <uint8_t*>realloc(buffer.data, size)
        if data == NULL:
            buffer.failed = True
            return NULL
        buffer.data = data
        buffer.size = size
    buffer.used += n
    return buffer.data + buffer.used - n


cdef inline void add(Buffer* buffer, const void* source, size_t n) noexcept nogil:
    cdef uint8_t* to = more(buffer, n)
    if to != NULL:
        memcpy(to, source, n)


cdef inline void add_text(Buffer* buffer, const char* text) noexcept nogil:
    add(buffer, text, strlen(text))


cdef inline void add_byte(Buffer* buffer, uint8_t byte) noexcept nogil:
    add(buffer, &byte, 1)


cdef inline void add_u32(Buffer* buffer, uint32_t number) noexcept nogil:
    # Big-endian, as all of an index is.
    cdef uint8_t* to = more(buffer, 4)
    if to != NULL:
        to[0] = <uint8_t>(number >> 24)
        to[1] = <uint8_t>(number >> 16)
        to[2] = <uint8_t>(number >> 8)
        to[3] = <uint8_t>number


cdef void trim(Buffer* buffer) noexcept nogil:
    # Give back what is not used, for thousands of them are kept.
    cdef uint8_t* data = <uint8_t*>realloc(buffer.data, buffer.used if buffer.used else 1)
    if data != NULL:
        buffer.data = data
        buffer.size = buffer.used
