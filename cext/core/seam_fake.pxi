# The seam's stand-in for tests: nothing reaches the kernel. Each call is a line on standard output; what it is to
# answer stands in $TINYKMOD_FAKE, as `NAME=ERRNO` words (NAME: the file's name up to its first dot); `NAME.wait=MS`
# has it take so long.

cdef extern from "<stdlib.h>" nogil:
    const char* getenv(const char* name)

cdef enum:
    MODULE_INIT_COMPRESSED_FILE = 4


cdef uint64_t fake_answer(const char* name) noexcept nogil:
    cdef const char* text = getenv(b"TINYKMOD_FAKE")
    cdef Word word
    cdef uint64_t number
    if text == NULL:
        return 0
    text = cmdline_next(text, &word)
    while text != NULL:
        if same_name(word.key, word.n_key, name) and parse_number(word.value, word.n_value, &number):
            return number
        text = cmdline_next(text, &word)
    return 0


cdef int fake_call(const char* call, const char* what, const char* options, int flags) noexcept nogil:
    # `CALL WHAT [OPTIONS] [flags=N] = RESULT`
    cdef char buffer[8192]
    cdef char name[256]
    cdef Text text = text_over(buffer, sizeof(buffer))
    cdef Text stem = text_over(name, sizeof(name))
    cdef size_t dot = 0
    cdef int result
    while what[dot] and what[dot] != c'.':
        dot += 1
    put_bytes(&stem, what, dot)
    result = -<int>fake_answer(name)
    put(&stem, b".wait")
    poll(NULL, 0, <int>fake_answer(name))
    put(&text, call)
    put_char(&text, c' ')
    put(&text, what)
    if options[0]:
        put_char(&text, c' ')
        put(&text, options)
    if flags:
        put(&text, b" flags=")
        put_number(&text, flags)
    put(&text, b" = ")
    put_number(&text, result)
    put_char(&text, c'\n')
    write(1, buffer, text.used)
    return result


cdef int seam_finit_module(int fd, const char* options, int flags) noexcept nogil:
    cdef char link[64]
    cdef char path[4096]
    cdef Text text = text_over(link, sizeof(link))
    cdef ssize_t n, i
    cdef ssize_t name = 0
    put(&text, b"/proc/self/fd/")
    put_number(&text, fd)
    n = readlinkat(AT_FDCWD, link, path, sizeof(path) - 1)
    path[n if n > 0 else 0] = 0
    for i in range(n):
        if path[i] == c'/':
            name = i + 1
    return fake_call(b"finit_module", path + name, options, flags)


cdef int seam_delete_module(const char* name) noexcept nogil:
    return fake_call(b"delete_module", name, b"", 0)


cdef int64_t seam_now() noexcept nogil:
    return 0
