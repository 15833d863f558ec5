# tinykmod._core.turn and unpack: the fast twins of tinykmod.modules.packed.turn and unpack.

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport free, malloc


cdef uint32_t packed_turn(const PackedTable* table, uint8_t* at, uint8_t* scratch) noexcept nogil:
    # The other way round than packed_table(): from records, aligned as their first numbers, to columns. The planes.
    cdef size_t width = table.width
    cdef size_t n = table.count * width
    cdef size_t place = 0
    cdef size_t i
    cdef uint8_t seen
    cdef uint32_t planes = 0
    memcpy(scratch, at, n)
    # From the last one on, so that what is subtracted still is what it was.
    i = n
    while table.word == 8 and i > width:
        i -= width
        (<uint64_t*>(scratch + i))[0] -= (<uint64_t*>(scratch + i - width))[0]
    while table.word == 4 and i > width:
        i -= width
        (<uint32_t*>(scratch + i))[0] -= (<uint32_t*>(scratch + i - width))[0]
    while place < width:
        seen = 0
        i = place
        while i < n:
            at[0] = scratch[i]
            seen |= scratch[i]
            at += 1
            i += width
        if seen:
            planes |= <uint32_t>1 << place
        place += 1
    return planes


def turn(bytearray module not None, tables):
    """As tinykmod.modules.packed.turn()."""
    cdef Py_buffer view
    cdef PackedTable table
    cdef uint8_t* scratch
    cdef uint8_t* base
    cdef uint64_t end
    planes = []
    PyObject_GetBuffer(module, &view, PyBUF_WRITABLE)
    base = <uint8_t*>view.buf
    try:
        for table.offset, table.count, table.planes, table.width, table.word in tables:
            end = table.offset + <uint64_t>table.count * table.width
            if table.width > PACKED_WIDEST or end > <uint64_t>view.len:
                raise ValueError("a table lies outside")
            scratch = <uint8_t*>malloc(<size_t>table.count * table.width + 1)
            if scratch == NULL:
                raise MemoryError
            with nogil:
                table.planes = packed_turn(&table, base + table.offset, scratch)
            free(scratch)
            planes.append(table.planes)
    finally:
        PyBuffer_Release(&view)
    return planes


def unpack(bytes data not None, str which not None):
    """The module within packed data, as tinykmod.modules.packed.unpack gives it."""
    cdef const uint8_t* base = data
    cdef uint64_t size = len(data)
    cdef uint32_t plain = packed_size(base, size) if packed_is(base, size) else 0
    cdef bytes module = PyBytes_FromStringAndSize(NULL, plain)
    cdef uint8_t* out = <uint8_t*>module
    cdef bint good
    with nogil:
        good = plain != 0 and packed_decode(base, size, out)
    if not good:
        raise ModuleFormatError(which, "packed data are damaged")
    return module
