# All that the loader knows, in one struct that is passed down. Its arrays are sized by the index's own counts.

cdef enum:
    MODULE_NEW = 0
    MODULE_LOADED = 1
    MODULE_FAILED = 2
    MODULE_LOADING = 3  # by a worker
    JOBS_USUAL = 4  # docs/benchmarks.md
    JOBS_MOST = 16
    WORKERS_MOST = 32  # more than JOBS_MOST: one that is stuck in a module is replaced
    DRAIN_USUAL = 10  # seconds that a module under way may take before the boot is handed over without it
    FILESYSTEMS_MOST = 16
    GPU_WAIT = 0
    GPU_GO = 1
    GPU_SKIP = 2
    SEEN_SLOTS = 4096  # modaliases that are remembered as matched; a power of two
    TEXTS_SIZE = 1 << 20
    TRACE_SIZE = 1 << 20
    LINE_SIZE = 960  # one kmsg record; the kernel cuts at 976
    PATH_SIZE = 4096


cdef struct Wanted:
    # A module that something asks for, until its turn comes.
    uint32_t module
    uint32_t by  # offset in Loader.texts: the modalias
    uint8_t rank  # lower goes first
    bint made  # by a driver
    bint done


cdef extern from *:
    """
    #define STUCK_AFTER 5000000000LL /* nanoseconds in a module's init */
    """
    const int64_t STUCK_AFTER


cdef struct Task:
    # What is known of a planned module beside its Step.
    uint32_t urgency
    uint32_t position  # in the plan
    const char* by  # the modalias, the module that needs it, or the filesystem
    int64_t queued
    int64_t begun
    int64_t live_at  # when that was seen
    bint live  # its init has returned, and its load waits for what others probe


cdef struct Worker:
    int pid  # 0: not started
    int orders  # where its orders are written to
    int answers  # where its answers come from
    bint yields  # has the processor only when nothing else wants it
    bint busy
    uint32_t module  # that it loads
    int64_t begun


cdef struct Loader:
    const char* root  # in front of /lib/modules; "" but with -d
    const char* sysroot  # in front of /sys and /proc; "" but with --sysroot
    char release[65]
    char cmdline[CMDLINE_MOST]
    char devkmsg[16]  # printk_devkmsg as it was
    int kmsg  # -1: messages go to standard error
    bint dry_run
    bint verbose
    bint quiet  # modprobe -q: nothing is said of a name that is not found
    bint explain  # -n and -v say why as well
    bint check_live  # ask sysfs before each load: as PID 1 it costs more than it saves
    bint await_coming  # and let the kernel wait for a module that something else is loading (coldplug)
    bint helper  # not PID 1, but loads as it does: core/helper.pxi
    bint have_modules
    int modules_fd  # /lib/modules/RELEASE
    const uint8_t* frozen  # the index in this program, and its modules; NULL: it is not used
    BootIndex index
    Search search
    Plan plan
    uint8_t* states  # one a module
    uint32_t n_loaded
    uint32_t n_failed
    uint32_t n_idle  # of those: drivers that found no device
    Wanted* wanted
    uint32_t n_wanted
    uint32_t n_taken  # of `wanted`: they are in the plan; with one job load_next() takes them itself
    uint8_t* is_wanted  # one a module
    uint32_t jobs  # modules that are loaded at the same time; 1: serially, in a fixed order, by this process
    Task* tasks  # one a module
    uint32_t n_settled  # steps of the plan, from its start, whose modules were tried
    Worker workers[WORKERS_MOST]
    uint32_t n_workers
    char types[128]  # the root's filesystems, with commas between them
    char kinds[128]  # the same, with NULs
    uint32_t filesystems[FILESYSTEMS_MOST]  # the modules that serve them
    uint32_t n_filesystems
    bint planned  # the index's plan is followed
    bint held  # something is ready, but leaves the processors to what is more urgent
    int64_t idle_from  # since when the more urgent modules all wait while something is held; 0: they do not
    uint32_t processors
    bint root_there
    bint mount_next  # only its filesystem is missing
    uint32_t hash  # the module that makes signatures quicker to check, until it is planned; NONE: there is none
    bint equal  # no root is awaited: no module has to leave the processors to others
    bint walked  # what devices are seen now was made by drivers
    char mark[40]  # UUID of the event that is to come back; empty: none is awaited
    bint no_marks  # the kernel sends none
    uint32_t settled  # 1 + the steps of the plan when all loads had ended and all events were read; 0: never yet
    bint closing  # nothing more is started, but for displays
    uint16_t classes  # of drivers that are loaded; 0: all
    int gpu
    bint no_hash  # rd.tinykmod.hash=off
    char asynchronous[256]  # rd.tinykmod.async=
    int64_t drain  # nanoseconds that one under way may take
    char* texts  # modaliases, NUL-terminated
    uint32_t n_texts
    uint32_t* seen  # hash table of offsets in texts, 0 where free
    Text trace
    int trace_fd
    int64_t started
    int64_t mounted
    Text reasons  # why modules failed: see core/report.pxi
    bint asked_after  # modules-load.d and its like were seen to


cdef bint state_prepare(Loader* loader) noexcept nogil:
    # The arrays for an index that has just been opened. False: out of memory.
    cdef size_t n = loader.index.count[<int>SECTION_MODULES]
    cdef uint32_t* marks = <uint32_t*>take_pages(
        sizeof(uint32_t) * (loader.index.header.stars if loader.index.header != NULL else 0))
    loader.plan.steps = <Step*>take_pages(2 * n * sizeof(Step))
    loader.plan.visited = <uint8_t*>take_pages(3 * n)
    loader.wanted = <Wanted*>take_pages(n * sizeof(Wanted))
    loader.texts = <char*>take_pages(TEXTS_SIZE)
    loader.n_texts = 1
    loader.seen = <uint32_t*>take_pages(SEEN_SLOTS * sizeof(uint32_t))
    loader.tasks = <Task*>take_pages(n * sizeof(Task))
    if (marks == NULL or loader.plan.steps == NULL or loader.plan.visited == NULL or loader.wanted == NULL
            or loader.texts == NULL or loader.seen == NULL or loader.tasks == NULL):
        return False
    loader.states = loader.plan.visited + n
    loader.processors = <uint32_t>sysconf(_SC_NPROCESSORS_ONLN)
    loader.is_wanted = loader.states + n
    loader.hash = <uint32_t>-1
    search_start(&loader.search, &loader.index, marks, NULL)
    return True


cdef void state_forget(Loader* loader) noexcept nogil:
    # What was planned and tried: after a dry run nothing has changed.
    loader.plan.n_steps = 0
    memset(loader.plan.visited, 0, loader.index.count[<int>SECTION_MODULES])
    memset(loader.states, 0, loader.index.count[<int>SECTION_MODULES])


cdef uint32_t state_keep_text(Loader* loader, const char* text) noexcept nogil:
    # Keep TEXT and give its offset in `texts`; 0, the empty text, where there is no room.
    cdef size_t n = strlen(text) + 1
    cdef uint32_t at
    if n > TEXTS_SIZE - loader.n_texts:
        return 0
    at = loader.n_texts
    memcpy(loader.texts + at, text, n)
    loader.n_texts += <uint32_t>n
    return at


cdef bint state_seen(Loader* loader, const char* modalias, uint32_t* kept) noexcept nogil:
    # Whether MODALIAS was met before. If not it is remembered, and KEPT is its text's offset; where there is no room
    # for that it is met again and again, which costs time and nothing else.
    cdef uint32_t hash = 2166136261
    cdef uint32_t slot, tries
    cdef const char* at = modalias
    kept[0] = 0
    while at[0]:
        hash = (hash ^ <uint8_t>at[0]) * 16777619
        at += 1
    for tries in range(SEEN_SLOTS):
        slot = (hash + tries) % SEEN_SLOTS
        if loader.seen[slot] == 0:
            kept[0] = loader.seen[slot] = state_keep_text(loader, modalias)
            return False
        if strcmp(loader.texts + loader.seen[slot], modalias) == 0:
            return True
    return False
