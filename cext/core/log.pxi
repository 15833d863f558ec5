# Messages: one record "<priority>tinykmod: what which: why" in the kernel's log, or a line on standard error; for a
# helper both.

cdef extern from *:
    """
    #define PRINTK_DEVKMSG "/proc/sys/kernel/printk_devkmsg"
    """
    const char* PRINTK_DEVKMSG
    const char* TINYKMOD_VERSION  # from the compiler's command line

cdef enum:
    LOG_ERROR = 3  # the console shows it even with `quiet`
    LOG_NOTICE = 5
    LOG_INFO = 6


cdef void log_line(Loader* loader, int priority, const char* line) noexcept nogil:
    cdef char buffer[LINE_SIZE]
    cdef Text text = text_over(buffer, sizeof(buffer) - 1)
    put(&text, b"<0>tinykmod: ")
    buffer[1] = <char>(c'0' + priority)
    put(&text, line)
    # Without it a record waits on the console for the next one.
    buffer[text.used] = c'\n'
    text.used += 1
    if loader.kmsg >= 0:
        write(loader.kmsg, buffer, text.used)
    if (loader.kmsg < 0 or loader.helper) and (priority < LOG_INFO or loader.verbose):
        write(2, buffer + 3, text.used - 3)


cdef void log_why(Loader* loader, int priority, const char* what, const char* which,
                  const char* why) noexcept nogil:
    cdef char buffer[LINE_SIZE]
    cdef Text text = text_over(buffer, sizeof(buffer))
    put(&text, what)
    put_char(&text, c' ')
    put(&text, which)
    put(&text, b": ")
    put(&text, why)
    log_line(loader, priority, buffer)
