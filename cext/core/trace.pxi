# The boot trace: one JSON object a line in a buffer, added to the file in /run/tinykmod when the boot is handed over
# (docs/trace-format.md). A line that does not fit is left out whole.

cdef extern from *:
    """
    #define TRACE_PATH "/run/tinykmod/trace.jsonl"
    """
    const char* TRACE_PATH


cdef void trace_write(Loader* loader) noexcept nogil:
    # Add what was gathered to the file, if there is one.
    cdef size_t done = 0
    cdef ssize_t n
    while loader.trace_fd >= 0 and done < loader.trace.used:
        n = write(loader.trace_fd, loader.trace.data + done, loader.trace.used - done)
        if n <= 0:
            break
        done += <size_t>n


cdef void trace_start(Loader* loader) noexcept nogil:
    if trace_begin(loader, loader.started, b"start"):
        trace_text(loader, b"version", TINYKMOD_VERSION)
        trace_text(loader, b"release", loader.release)
        trace_number(loader, b"processors", <int64_t>sysconf(_SC_NPROCESSORS_ONLN))
        trace_end(loader)


cdef bint trace_begin(Loader* loader, int64_t at, const char* event) noexcept nogil:
    # Start a line; False where the trace is off or full. trace_end() must follow a True.
    cdef Text* out = &loader.trace
    if out.data == NULL or out.size - out.used < 3 * PATH_SIZE:
        return False
    put(out, b'{"t":')
    put_number(out, at)
    put(out, b',"ev":"')
    put(out, event)
    put_char(out, c'"')
    return True


cdef void trace_text(Loader* loader, const char* key, const char* value) noexcept nogil:
    trace_key(loader, key)
    put_json(&loader.trace, value)


cdef void trace_number(Loader* loader, const char* key, int64_t value) noexcept nogil:
    trace_key(loader, key)
    put_number(&loader.trace, value)


cdef void trace_key(Loader* loader, const char* key) noexcept nogil:
    put(&loader.trace, b',"')
    put(&loader.trace, key)
    put(&loader.trace, b'":')


cdef void trace_list(Loader* loader, const char* key) noexcept nogil:
    # Begin a list of texts: trace_item() for each, then trace_list_end().
    trace_key(loader, key)
    put_char(&loader.trace, c'[')


cdef void trace_item(Loader* loader, const char* value) noexcept nogil:
    if loader.trace.used and loader.trace.data[loader.trace.used - 1] != c'[':
        put_char(&loader.trace, c',')
    put_json(&loader.trace, value)


cdef void trace_list_end(Loader* loader) noexcept nogil:
    put_char(&loader.trace, c']')


cdef void trace_end(Loader* loader) noexcept nogil:
    put(&loader.trace, b"}\n")
