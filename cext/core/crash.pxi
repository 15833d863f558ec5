# A crash of the loader as PID 1: the first one starts it anew, without the index and without workers; a second one
# ends in the shell. Without this the kernel would panic.

cdef extern from "<signal.h>" nogil:
    enum: SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGPIPE, SA_ONSTACK, SA_NODEFER
    void SIG_IGN(int) noexcept nogil
    ctypedef struct sigaction_t "struct sigaction":
        void (*sa_handler)(int) noexcept nogil
        int sa_flags
    ctypedef struct stack_t:
        void* ss_sp
        int ss_flags
        size_t ss_size
    int sigaction(int number, const sigaction_t* action, sigaction_t* old)
    int sigaltstack(const stack_t* stack, stack_t* old)

cdef extern from *:
    """
    #define AFTER_CRASH "tinykmod-after-crash" /* argv[0] of a loader that a crash started */
    """
    const char* AFTER_CRASH

cdef enum:
    CRASH_STACK = 65536
    CRASH_WORDS = 64


cdef void crash_watch() noexcept nogil:
    # From now on a fatal signal leads to crash_seen(). On a stack of its own, as ours may be what is broken.
    cdef stack_t stack
    cdef sigaction_t action
    memset(&stack, 0, sizeof(stack))
    stack.ss_sp = take_pages(CRASH_STACK)
    stack.ss_size = CRASH_STACK
    if stack.ss_sp == NULL or sigaltstack(&stack, NULL) != 0:
        return
    memset(&action, 0, sizeof(action))
    action.sa_handler = crash_seen
    # NODEFER: exec keeps what is blocked, and a signal that is blocked kills at once.
    action.sa_flags = SA_ONSTACK | SA_NODEFER
    sigaction(SIGSEGV, &action, NULL)
    sigaction(SIGBUS, &action, NULL)
    sigaction(SIGFPE, &action, NULL)
    sigaction(SIGILL, &action, NULL)
    sigaction(SIGABRT, &action, NULL)


cdef void crash_seen(int signal) noexcept nogil:
    # Only what the kernel has is trusted here: our own words are read back from it.
    cdef char words[4096]
    cdef char* argv[CRASH_WORDS]
    cdef char line[128]
    cdef Text text = text_over(line, sizeof(line))
    cdef ssize_t n, at
    cdef int count = 0
    cdef int fd
    cdef bint again
    if getpid() != 1:
        _exit(128 + signal)
    n = read_small(AT_FDCWD, b"/proc/self/cmdline", words, sizeof(words))
    again = n <= 0 or strcmp(words, AFTER_CRASH) == 0
    put(&text, b"<2>tinykmod: crashed with signal ")
    put_number(&text, signal)
    put(&text, either(again, b"; a shell follows if there is one\n", b"; it starts again\n"))
    fd = open(b"/dev/kmsg", O_WRONLY | O_CLOEXEC)
    write(fd, line, text.used)
    if not again:
        at = 0
        while at < n and count < CRASH_WORDS - 1:
            argv[count] = words + at
            at += <ssize_t>strlen(words + at) + 1
            count += 1
        argv[count] = NULL
        argv[0] = <char*>AFTER_CRASH
        execv(b"/proc/self/exe", argv)
        execv(b"/init", argv)
    read_small(AT_FDCWD, b"/proc/cmdline", words, sizeof(words))
    while True:
        if cmdline_shell(words) and access(b"/bin/sh", X_OK) == 0:
            run_shell()
        else:
            pause()


cdef void crash_try(const char* cmdline, bint crashed) noexcept nogil:
    # rd.tinykmod.debug=crash: crash once; crash-twice: also after that. For the tests of what is above.
    cdef char buffer[32]
    cdef Text text = text_over(buffer, sizeof(buffer))
    cmdline_get(cmdline, b"rd.tinykmod.debug", &text)
    if strcmp(buffer, b"crash-twice") == 0 or (strcmp(buffer, b"crash") == 0 and not crashed):
        # The C compiler does not see that this is no address.
        memset(<char*>text.used, 1, text.used)
