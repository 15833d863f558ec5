# Workers: processes that hand modules to the kernel, one at a time each, while PID 1 goes on.
#
# Processes and not threads, for three reasons. PID 1's exec of the root's init would first have to end its threads,
# and one that sits in a module's init cannot be ended. A module whose init faults takes the task that loads it along,
# and a thread of PID 1 is PID 1. And a process shares nothing that would need a lock: it has the index from the fork
# on, takes its orders from one pipe and answers into another.

cdef enum:
    ORDER_SIZE = 4096 + 8

cdef struct Order:
    # What PID 1 writes to a worker; `n_options` bytes of options follow.
    uint32_t module
    uint32_t n_options


cdef bint pool_stuck(const Worker* worker, int64_t now) noexcept nogil:
    # Whether WORKER, which is at work, is at it for so long that nothing is held back for its sake.
    return now - worker.begun >= STUCK_AFTER


cdef Worker* pool_free(Loader* loader, uint32_t most) noexcept nogil:
    # A worker that has nothing to do, if no more than MOST are then at work; started where there is none yet. NULL:
    # every one is at work. One that is stuck in a module, or whose module only waits for others, does not count, as
    # long as there is room for another.
    cdef uint32_t i
    cdef uint32_t busy = 0
    cdef Worker* worker
    cdef Worker* free = NULL
    cdef int64_t now = seam_now()
    for i in range(loader.n_workers):
        worker = loader.workers + i
        if worker.busy:
            busy += not pool_stuck(worker, now) and not loader.tasks[worker.module].live
        elif free == NULL:
            free = worker
    if busy >= most:
        return NULL
    if free == NULL and loader.n_workers < WORKERS_MOST:
        free = loader.workers + loader.n_workers
        loader.n_workers += 1
    return free


cdef bint pool_start(Loader* loader, Worker* worker) noexcept nogil:
    # Start WORKER's process where it has none. False: the kernel gives none.
    cdef int orders[2]
    cdef int answers[2]
    cdef uint32_t i
    if worker.pid > 0:
        return True
    if pipe2(orders, O_CLOEXEC) != 0:
        return False
    if pipe2(answers, O_CLOEXEC | O_NONBLOCK) != 0:
        close(orders[0])
        close(orders[1])
        return False
    worker.pid = fork()
    if worker.pid == 0:
        # Its elders' ends, or they would never see PID 1 go; and its own from PID 1's side.
        for i in range(loader.n_workers):
            if loader.workers[i].pid > 0:
                close(loader.workers[i].orders)
                close(loader.workers[i].answers)
        close(orders[1])
        close(answers[0])
        if loader.helper:
            # It may outlive us, and whoever reads what we print waits for its end.
            pool_silent()
        pool_work(loader, orders[0], answers[1])
    close(orders[0])
    close(answers[1])
    if worker.pid < 0:
        close(orders[1])
        close(answers[0])
        return False
    worker.orders = orders[1]
    worker.answers = answers[0]
    worker.yields = False
    return True


cdef void pool_silent() noexcept nogil:
    cdef int fd = open(b"/dev/null", O_RDWR | O_CLOEXEC)
    if fd >= 0:
        dup2(fd, 0)
        dup2(fd, 1)
        dup2(fd, 2)


cdef void pool_work(const Loader* loader, int orders, int answers) noexcept nogil:
    # A worker's life: it ends with the pipe of its orders.
    cdef char options[4096]
    cdef Order order
    cdef Outcome outcome
    while read(orders, &order, sizeof(order)) == sizeof(order):
        if order.n_options and read(orders, options, order.n_options) != order.n_options:
            break
        options[order.n_options] = 0
        outcome = load_record(loader, order.module, options)
        if write(answers, &outcome, sizeof(outcome)) != sizeof(outcome):
            break
    _exit(0)


cdef void pool_order(Loader* loader, Worker* worker, uint32_t module, const Text* options) noexcept nogil:
    # Have WORKER, whose process runs, load MODULE.
    cdef char buffer[ORDER_SIZE]
    cdef Order* order = <Order*>buffer
    order.module = module
    order.n_options = <uint32_t>options.used
    memcpy(buffer + sizeof(Order), options.data, options.used)
    worker.busy = True
    worker.module = module
    worker.begun = seam_now()
    write(worker.orders, buffer, sizeof(Order) + options.used)


cdef void pool_yield(Worker* worker, bint yields) noexcept nogil:
    # Whether WORKER only has the processor when nothing else wants it. musl has no sched_setscheduler().
    cdef int priority = 0
    if worker.yields != yields:
        worker.yields = yields
        syscall(SYS_sched_setscheduler, worker.pid, SCHED_IDLE if yields else SCHED_OTHER, &priority)


cdef bint pool_computes(const Worker* worker) noexcept nogil:
    # Whether WORKER, which is at work, has or wants a processor: the module does not wait for its hardware.
    cdef char path[32]
    cdef char line[128]
    cdef Text text = text_over(path, sizeof(path))
    cdef const char* at = line
    put(&text, b"/proc/")
    put_number(&text, worker.pid)
    put(&text, b"/stat")
    if read_small(AT_FDCWD, path, line, sizeof(line)) < 0:
        return False
    # `PID (COMMAND) STATE ...`
    while at[0] and at[0] != c')':
        at += 1
    return at[0] != 0 and at[1] == c' ' and at[2] == c'R'


cdef bint pool_answer(Worker* worker, Outcome* outcome) noexcept nogil:
    # Whether WORKER, which is at work, has an answer. Its death is one as well: the kernel ends a task in which a
    # module's init faults.
    cdef ssize_t n = read(worker.answers, outcome, sizeof(Outcome))
    cdef int status
    if n < 0 and (errno == EAGAIN or errno == EINTR):
        return False
    if n != sizeof(Outcome):
        waitpid(worker.pid, &status, 0)
        close(worker.orders)
        close(worker.answers)
        worker.pid = 0
        outcome.result = -EIO
        outcome.opened = False
        outcome.begun = worker.begun
        outcome.ended = seam_now()
        outcome.cpu = -1
    worker.busy = False
    return True


cdef uint32_t pool_poll(Loader* loader, pollfd* pollers) noexcept nogil:
    # What answers the workers at work will write to, for poll(); their number.
    cdef uint32_t i
    cdef uint32_t n = 0
    for i in range(loader.n_workers):
        if loader.workers[i].busy:
            pollers[n].fd = loader.workers[i].answers
            pollers[n].events = POLLIN
            n += 1
    return n


cdef void pool_end(Loader* loader) noexcept nogil:
    # The workers that have nothing to do end. One in the kernel does so when it comes out: it then finds no PID 1.
    cdef uint32_t i
    cdef int status
    for i in range(loader.n_workers):
        if loader.workers[i].pid > 0:
            close(loader.workers[i].orders)
            if not loader.workers[i].busy:
                waitpid(loader.workers[i].pid, &status, 0)
                loader.workers[i].pid = 0
