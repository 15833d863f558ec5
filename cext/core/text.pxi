# Text: building it in fixed buffers, comparing it. No allocation, no stdio.

cdef extern from *:
    """
    #define TOO_LONG "its options do not fit into 4 KiB"
    """
    const char* TOO_LONG


cdef struct Text:
    # A buffer that is filled from the front. What does not fit is dropped, and `cut` says so.
    char* data
    size_t size
    size_t used
    bint cut


cdef inline Text text_over(char* buffer, size_t size) noexcept nogil:
    cdef Text text
    text.data = buffer
    text.size = size
    text.used = 0
    text.cut = False
    buffer[0] = 0
    return text


cdef void put_bytes(Text* text, const char* source, size_t n) noexcept nogil:
    # One byte stays for the NUL, so that `data` is a C string at any time.
    if n > text.size - 1 - text.used:
        n = text.size - 1 - text.used
        text.cut = True
    memcpy(text.data + text.used, source, n)
    text.used += n
    text.data[text.used] = 0


cdef void put(Text* text, const char* source) noexcept nogil:
    put_bytes(text, source, strlen(source))


cdef void put_char(Text* text, char c) noexcept nogil:
    put_bytes(text, &c, 1)


cdef void put_number(Text* text, int64_t number) noexcept nogil:
    cdef char digits[24]
    cdef int at = 24
    cdef uint64_t rest = <uint64_t>number
    if number < 0:
        put_char(text, c'-')
        rest = -rest
    while True:
        at -= 1
        digits[at] = <char>(c'0' + rest % 10)
        rest = rest / 10
        if rest == 0:
            break
    put_bytes(text, digits + at, 24 - at)


cdef void put_hex(Text* text, uint8_t byte) noexcept nogil:
    cdef const char* digits = b"0123456789abcdef"
    put_char(text, digits[byte >> 4])
    put_char(text, digits[byte & 15])


cdef void put_json(Text* text, const char* source) noexcept nogil:
    # A JSON string with its quotes. What is not UTF-8, as a label in an old code page, becomes U+FFFD.
    cdef size_t n
    put_char(text, c'"')
    while source[0]:
        if <uint8_t>source[0] >= 0x80:
            n = utf8_length(source)
            if n:
                put_bytes(text, source, n)
            else:
                put(text, b"\\ufffd")
            source += n if n else 1
            continue
        if source[0] == c'"' or source[0] == c'\\':
            put_char(text, c'\\')
            put_char(text, source[0])
        elif <uint8_t>source[0] < 0x20:
            put(text, b"\\u00")
            put_hex(text, <uint8_t>source[0])
        else:
            put_char(text, source[0])
        source += 1
    put_char(text, c'"')


cdef size_t utf8_length(const char* at) noexcept nogil:
    # Bytes of the UTF-8 sequence that begins at AT, beyond ASCII; 0: it is none (RFC 3629).
    cdef uint8_t lead = <uint8_t>at[0]
    cdef uint8_t next = <uint8_t>at[1]
    cdef size_t n = 2 + (lead >= 0xe0) + (lead >= 0xf0)
    cdef size_t i
    if lead < 0xc2 or lead > 0xf4:
        return 0
    if ((lead == 0xe0 and next < 0xa0) or (lead == 0xed and next > 0x9f) or (lead == 0xf0 and next < 0x90)
            or (lead == 0xf4 and next > 0x8f)):
        return 0
    for i in range(1, n):
        if <uint8_t>at[i] & 0xc0 != 0x80:
            return 0
    return n


cdef inline const char* either(bint first, const char* a, const char* b) noexcept nogil:
    # `A if FIRST else B`: of a bytes literal and a char*, Cython's own conditional would make a Python object.
    return a if first else b


cdef inline char normal(char c) noexcept nogil:
    return c'_' if c == c'-' else c


cdef bint same_name(const char* a, size_t n, const char* b) noexcept nogil:
    # Whether the N characters at A are the name B, `-` and `_` being equal.
    cdef size_t i
    for i in range(n):
        if b[i] == 0 or normal(a[i]) != normal(b[i]):
            return False
    return b[n] == 0


cdef const char* starts(const char* text, const char* prefix) noexcept nogil:
    # What follows PREFIX in TEXT; NULL where TEXT does not begin with it.
    cdef size_t n = strlen(prefix)
    return text + n if strncmp(text, prefix, n) == 0 else NULL


cdef bint parse_number(const char* text, size_t n, uint64_t* out) noexcept nogil:
    # A decimal number that fills all N characters and stays below 2**32.
    cdef size_t i
    out[0] = 0
    if n == 0 or n > 10:
        return False
    for i in range(n):
        if text[i] < c'0' or text[i] > c'9':
            return False
        out[0] = out[0] * 10 + <uint64_t>(text[i] - c'0')
    return out[0] < <uint64_t>1 << 32
