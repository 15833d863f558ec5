# The kernel's own words on a module that it has refused, out of its log: an errno alone stands for many causes.

cdef bint words_known(const char* text) noexcept nogil:
    # Whether it is one of the kernel's messages on why a module is refused (kernel/module/main.c, version.c,
    # kernel/params.c). What it says of a symbol's version or namespace is followed by one of EINVAL that says less.
    if starts(text, b"Unknown symbol ") != NULL:
        return strstr(text, b"(err -22)") == NULL
    return (starts(text, b"disagrees about version of symbol ") != NULL
            or starts(text, b"no symbol version for ") != NULL
            or starts(text, b"module uses symbol ") != NULL
            or starts(text, b"version magic ") != NULL
            or starts(text, b"exports duplicate symbol ") != NULL
            or text[0] == c'`')


cdef void put_words(Text* text, const char* name) noexcept nogil:
    # `; kernel: WORDS`, the last that the kernel's log has on the module; nothing where it has none.
    cdef char record[8192]
    cdef char last[256]
    cdef Text words
    cdef const char* at
    cdef ssize_t got
    cdef int fd = open(b"/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    last[0] = 0
    while fd >= 0:
        got = read(fd, record, sizeof(record) - 1)
        # EPIPE: the log has run over what was to come next.
        if got < 0 and (errno == EPIPE or errno == EINTR):
            continue
        if got <= 0:
            break
        record[got] = 0
        # PRIORITY,NUMBER,MICROSECONDS,FLAGS;NAME: WORDS, a newline, and a dictionary.
        at = <const char*>memchr(record, c';', <size_t>got)
        if at != NULL:
            at = starts(at + 1, name)
        if at != NULL:
            at = starts(at, b": ")
        if at == NULL or not words_known(at):
            continue
        words = text_over(last, sizeof(last))
        while at[0] and at[0] != c'\n':
            put_char(&words, at[0])
            at += 1
    if fd >= 0:
        close(fd)
    if last[0]:
        put(text, b"; kernel: ")
        put(text, last)
