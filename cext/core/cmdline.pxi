# The kernel command line, split as the kernel splits it (lib/cmdline.c). Twin: tinykmod/boot/cmdline.py.

cdef enum:
    CMDLINE_MOST = 4096  # bytes that are read, the NUL included; kmod reads as many


cdef struct Word:
    const char* key
    size_t n_key
    const char* value  # NULL: a bare word
    size_t n_value


cdef const char* cmdline_next(const char* text, Word* word) noexcept nogil:
    # Take the next word off TEXT; what follows it, or NULL at the end. Blanks inside double quotes do not end a
    # word, but the newline at the end of /proc/cmdline does; quotes around the word or around its value are not part
    # of it, but a value with further quotes stays as it is written.
    cdef bint quoted = False
    cdef bint whole
    cdef const char* start
    cdef const char* end
    while text[0] == c' ' or text[0] == c'\t' or text[0] == c'\n':
        text += 1
    if text[0] == 0:
        return NULL
    whole = text[0] == c'"'
    if whole:
        text += 1
        quoted = True
    word.key = text
    word.value = NULL
    while text[0] and (quoted or (text[0] != c' ' and text[0] != c'\t' and text[0] != c'\n')):
        if text[0] == c'"':
            quoted = not quoted
        elif text[0] == c'=' and word.value == NULL:
            word.value = text + 1
        elif text[0] == c'\n' and text[1] == 0:
            break
        text += 1
    end = text
    if word.value == NULL:
        word.n_key = <size_t>(end - word.key)
        if word.n_key and (end - 1)[0] == c'"':
            word.n_key -= 1
        return text
    word.n_key = <size_t>(word.value - word.key) - 1
    start = word.value
    if end > start and (end - 1)[0] == c'"' and (whole or start[0] == c'"'):
        end -= 1
    if start < end and start[0] == c'"':
        start += 1
    if memchr(start, c'"', <size_t>(end - start)) == NULL:
        word.value = start
        word.n_value = <size_t>(end - start)
    else:
        word.n_value = <size_t>(text - word.value)
    return text


cdef bint word_is(const Word* word, const char* key) noexcept nogil:
    return strncmp(word.key, key, word.n_key) == 0 and key[word.n_key] == 0


cdef bint cmdline_get(const char* text, const char* key, Text* value) noexcept nogil:
    # The last KEY=VALUE's value into VALUE. False where there is none; a bare KEY counts, with an empty value.
    cdef Word word
    cdef bint found = False
    text = cmdline_next(text, &word)
    while text != NULL:
        if word_is(&word, key):
            found = True
            value.used = 0
            value.data[0] = 0
            if word.value != NULL:
                put_bytes(value, word.value, word.n_value)
        text = cmdline_next(text, &word)
    return found


cdef bint cmdline_shell(const char* text) noexcept nogil:
    # Whether rd.shell= lets a shell run.
    cdef char buffer[8]
    cdef Text value = text_over(buffer, sizeof(buffer))
    cmdline_get(text, b"rd.shell", &value)
    return strcmp(buffer, b"0") != 0 and strcmp(buffer, b"no") != 0


cdef void cmdline_options(const char* text, const char* module, Text* options) noexcept nogil:
    # Append what the command line gives to MODULE (`MODULE.PARAM[=VALUE]`, in order) as finit_module wants it: only
    # the module's part of the key is normalised, a value with blanks is quoted if it has no quotes of its own,
    # `a.b.c` belongs to nobody.
    cdef Word word
    cdef size_t dot
    cdef const char* found
    text = cmdline_next(text, &word)
    while text != NULL:
        found = <const char*>memchr(word.key, c'.', word.n_key)
        if found != NULL:
            dot = <size_t>(found - word.key)
            if (same_name(word.key, dot, module)
                    and memchr(found + 1, c'.', word.n_key - dot - 1) == NULL and dot + 1 < word.n_key):
                if options.used:
                    put_char(options, c' ')
                put_bytes(options, found + 1, word.n_key - dot - 1)
                if word.value != NULL:
                    put_char(options, c'=')
                    put_value(options, word.value, word.n_value)
        text = cmdline_next(text, &word)


cdef void put_value(Text* options, const char* value, size_t n) noexcept nogil:
    cdef bint quoted = ((memchr(value, c' ', n) != NULL or memchr(value, c'\t', n) != NULL)
                        and memchr(value, c'"', n) == NULL)
    if quoted:
        put_char(options, c'"')
    put_bytes(options, value, n)
    if quoted:
        put_char(options, c'"')


cdef bint cmdline_blacklisted(const char* text, const char* module, bint* by_kernel) noexcept nogil:
    # Whether the command line keeps MODULE from being loaded on behalf of an alias; BY_KERNEL: `module_blacklist=`
    # does, and the kernel refuses it, whoever asks.
    cdef Word word
    cdef bint kernel
    cdef bint found = False
    by_kernel[0] = False
    text = cmdline_next(text, &word)
    while text != NULL:
        kernel = word_is(&word, b"module_blacklist")
        if word.value != NULL and (kernel or word_is(&word, b"modprobe.blacklist")
                                   or word_is(&word, b"rd.driver.blacklist")):
            if list_has(word.value, word.n_value, module):
                found = True
                by_kernel[0] = by_kernel[0] or kernel
        text = cmdline_next(text, &word)
    return found


cdef bint list_has(const char* list, size_t n, const char* name) noexcept nogil:
    # Whether NAME is among the N characters of names with commas between them.
    cdef size_t at = 0
    cdef size_t end
    while at < n:
        end = at
        while end < n and list[end] != c',':
            end += 1
        if same_name(list + at, end - at, name):
            return True
        at = end + 1
    return False
