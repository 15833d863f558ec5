# tinykmod._core.unpack: the fast twin of tinykmod.modules.packed.unpack.

from cpython.bytes cimport PyBytes_FromStringAndSize


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
