# The order of loading with several workers: a graph, no rounds. Whatever is ready goes, the most urgent first.
#
# A module is ready when what it needs directly has been tried; if that failed, it fails without being tried. Softdeps
# order and nothing more. All of this happens in PID 1; workers only load (core/pool.pxi).

cdef enum:
    # The urgency of a module, its upper byte: what leads to the root, then the display, then the rest. Of disks'
    # drivers that whose device another driver made (virtio_blk, sd_mod) is nearer to a disk than a controller is.
    # Once the root is there, displays have the disks' place, and other disks come behind USB. Once it is mounted,
    # nothing but displays is started.
    URGENT_DISPLAY = 12  # the root is mounted
    URGENT_ROOT = 11  # the root is there, and its filesystem is missing
    URGENT_PLANNED = 10  # the plan's chain to the root
    URGENT_DISK = 9
    URGENT_BUS = 8
    URGENT_CONTROLLER = 7
    URGENT_FILESYSTEM = 6  # rootfstype=, before the root is there
    URGENT_USB = 5
    URGENT_HASH = 4
    URGENT_GPU = 3
    URGENT_OTHER_DISK = 2  # that the root is not behind
    URGENT_REST = 1
    URGENCY_SHIFT = 24
    URGENCY_DRIVER = 1 << 23

    HASH_WORTH = 1 << 20  # bytes to check from which on a quicker hash saves more than its own load takes

    HELD_AGAIN = 10000000  # nanoseconds between two looks at what modules under way do
    HELD_FOR = 30000000  # and after which they are taken to wait for hardware

    READY = 0
    WAITS_SOFT = 1
    WAITS_HARD = 2


cdef void engine_settings(Loader* loader) noexcept nogil:
    # The words of the kernel command line that say what is loaded here and how.
    cdef char buffer[128]
    cdef Text text = text_over(buffer, sizeof(buffer))
    cdef uint64_t number
    loader.jobs = JOBS_USUAL
    loader.drain = <int64_t>DRAIN_USUAL * 1000000000
    text = text_over(loader.asynchronous, sizeof(loader.asynchronous))
    cmdline_get(loader.cmdline, b"rd.tinykmod.async", &text)
    text = text_over(buffer, sizeof(buffer))
    if cmdline_get(loader.cmdline, b"rd.tinykmod.jobs", &text):
        if parse_number(buffer, text.used, &number) and 1 <= number <= JOBS_MOST:
            loader.jobs = <uint32_t>number
        else:
            log_why(loader, LOG_ERROR, b"rd.tinykmod.jobs", buffer, b"is no number from 1 to 16")
    text = text_over(buffer, sizeof(buffer))
    if cmdline_get(loader.cmdline, b"rd.tinykmod.drain", &text) and parse_number(buffer, text.used, &number):
        loader.drain = <int64_t>number * 1000000000
    text = text_over(buffer, sizeof(buffer))
    if cmdline_get(loader.cmdline, b"rd.tinykmod.gpu", &text):
        loader.gpu = GPU_GO if strcmp(buffer, b"go") == 0 else GPU_SKIP if strcmp(buffer, b"skip") == 0 else GPU_WAIT
        if loader.gpu == GPU_WAIT and strcmp(buffer, b"wait") != 0:
            log_why(loader, LOG_ERROR, b"rd.tinykmod.gpu", buffer, b"is none of wait, go, skip")
    text = text_over(buffer, sizeof(buffer))
    if cmdline_get(loader.cmdline, b"rd.tinykmod.hash", &text):
        loader.no_hash = strcmp(buffer, b"off") == 0
        if not loader.no_hash and strcmp(buffer, b"auto") != 0:
            log_why(loader, LOG_ERROR, b"rd.tinykmod.hash", buffer, b"is neither auto nor off")
    text = text_over(buffer, sizeof(buffer))
    if cmdline_get(loader.cmdline, b"rd.tinykmod.class", &text):
        loader.classes = class_bits(buffer)
        if loader.classes == 0:
            log_why(loader, LOG_ERROR, b"rd.tinykmod.class", buffer, b"names no class of drivers")


cdef uint16_t class_bits(const char* words) noexcept nogil:
    # The classes in WORDS, with commas between them, and those that their devices sit behind (BEHIND in
    # tinykmod/image/select.py); a word that is no class counts nothing.
    cdef uint16_t board = DRIVER_CLASS_BUS | DRIVER_CLASS_PLATFORM
    cdef uint16_t bits = 0
    cdef size_t n
    while words[0]:
        n = list_word(words)
        if same_word(words, n, b"storage"):
            bits |= DRIVER_CLASS_STORAGE | DRIVER_CLASS_USB | board
        elif same_word(words, n, b"gpu"):
            bits |= DRIVER_CLASS_GPU | board
        elif same_word(words, n, b"input"):
            bits |= DRIVER_CLASS_INPUT | DRIVER_CLASS_USB | board
        elif same_word(words, n, b"network"):
            bits |= DRIVER_CLASS_NETWORK | DRIVER_CLASS_USB | board
        elif same_word(words, n, b"usb"):
            bits |= DRIVER_CLASS_USB | board
        elif same_word(words, n, b"bus"):
            bits |= DRIVER_CLASS_BUS
        elif same_word(words, n, b"filesystem"):
            bits |= DRIVER_CLASS_FILESYSTEM
        elif same_word(words, n, b"platform"):
            bits |= DRIVER_CLASS_PLATFORM
        words += n + (words[n] == c',')
    return bits


cdef uint32_t engine_urgency(Loader* loader, const Wanted* wanted) noexcept nogil:
    # Of two controllers that whose modules are smaller goes first: it is the
    # sooner known whether the root is behind it.
    cdef const Module* record = loader.index.modules + wanted.module
    cdef const uint32_t* deps = index_links(&loader.index, record.deps, record.n_deps)
    cdef uint32_t size = record.size
    cdef uint32_t level = URGENT_REST
    cdef uint32_t i
    if record.classes & DRIVER_CLASS_GPU and loader.root_there:
        level = URGENT_DISK
    elif record.classes & DRIVER_CLASS_STORAGE and loader.root_there:
        level = URGENT_OTHER_DISK
    elif record.classes & DRIVER_CLASS_STORAGE:
        level = URGENT_DISK if wanted.made else URGENT_CONTROLLER
    elif record.classes & DRIVER_CLASS_BUS:
        level = URGENT_BUS
    elif record.classes & DRIVER_CLASS_USB:
        level = URGENT_USB
    elif record.classes & DRIVER_CLASS_GPU:
        level = URGENT_GPU
    if level == URGENT_REST or deps == NULL:
        return level << URGENCY_SHIFT
    for i in range(record.n_deps):
        if deps[i] < loader.index.count[<int>SECTION_MODULES] and loader.states[deps[i]] == MODULE_NEW:
            size += loader.index.modules[deps[i]].size
    size = size >> 8
    return ((level + 1) << URGENCY_SHIFT) - 1 - (size if size < 1 << URGENCY_SHIFT else (1 << URGENCY_SHIFT) - 1)


cdef void engine_want(Loader* loader, uint32_t module, uint32_t why, const char* by, uint32_t urgency) noexcept nogil:
    # Plan MODULE and all that goes with it, or make it more urgent where it is planned already.
    cdef Plan* plan = &loader.plan
    cdef uint32_t first = plan.n_steps
    cdef uint32_t i
    cdef const Step* step
    cdef Task* task
    plan_add(plan, &loader.index, module, <uint32_t>-1, why)
    for i in range(first, plan.n_steps):
        step = plan.steps + i
        task = loader.tasks + step.module
        task.position = i
        task.by = by if is_none(step.parent) else index_name(&loader.index, step.parent)
        task.queued = seam_now()
    engine_raise(loader, module, urgency)
    for i in range(first, plan.n_steps):
        engine_raise(loader, plan.steps[i].module,
                     <uint32_t>URGENT_REST << URGENCY_SHIFT if engine_idle(loader, plan.steps[i].module) else urgency)


cdef bint engine_idle(const Loader* loader, uint32_t module) noexcept nogil:
    # Whether MODULE is for a processor that this one is not: a softdep (crc32c-intel of jbd2) is not waited for then,
    # as the kernel takes its time to see that there is nothing to do.
    return (module < loader.index.count[<int>SECTION_MODULES] and not loader.is_wanted[module]
            and (loader.index.modules[module].flags & MODULE_FLAG_PROCESSOR) != 0
            and not engine_planned(loader, module))


cdef bint engine_planned(const Loader* loader, uint32_t module) noexcept nogil:
    # Whether MODULE is there for the index's plan.
    return (loader.plan.visited[module] != 0
            and loader.plan.steps[loader.tasks[module].position].why == WHY_PLAN)


cdef void engine_plan(Loader* loader) noexcept nogil:
    # Begin with what the index's plan has, if rd.tinykmod.plan=off is not said: before a device is looked at.
    cdef char buffer[8]
    cdef Text text = text_over(buffer, sizeof(buffer))
    cdef const Planned* planned
    cdef uint32_t i, urgency
    if loader.jobs == 1 or loader.index.count[<int>SECTION_PLAN] == 0:
        return
    if cmdline_get(loader.cmdline, b"rd.tinykmod.plan", &text):
        if strcmp(buffer, b"off") == 0:
            return
        log_why(loader, LOG_ERROR, b"rd.tinykmod.plan", buffer, b"is not off")
    loader.planned = True
    for i in range(loader.index.count[<int>SECTION_PLAN]):
        planned = loader.index.planned + i
        if planned.module >= loader.index.count[<int>SECTION_MODULES] or load_left_out(loader, planned.module):
            continue
        # Whether that one is worth it is seen when more is known of what there is to load.
        if loader.index.modules[planned.module].flags & MODULE_FLAG_HASH:
            continue
        urgency = engine_length(planned) | <uint32_t>URGENT_REST << URGENCY_SHIFT
        if planned.flags:
            urgency = engine_length(planned) | <uint32_t>URGENT_PLANNED << URGENCY_SHIFT
        # The root's disk may keep one waiting, which is time for its filesystem.
        if planned.flags & PLAN_FLAG_ROOT:
            urgency |= URGENCY_DRIVER
        engine_want(loader, planned.module, WHY_PLAN, b"", urgency)
    engine_feed(loader)


cdef uint32_t engine_length(const Planned* planned) noexcept nogil:
    return planned.length if planned.length < URGENCY_DRIVER else URGENCY_DRIVER - 1


cdef void engine_root_there(Loader* loader) noexcept nogil:
    # What might have led to the root no longer goes first: of what is planned the longest way does.
    cdef const Planned* planned
    cdef const Wanted* wanted
    cdef uint32_t i
    for i in range(loader.n_settled, loader.plan.n_steps):
        loader.tasks[loader.plan.steps[i].module].urgency = <uint32_t>URGENT_REST << URGENCY_SHIFT
    for i in range(loader.index.count[<int>SECTION_PLAN] if loader.planned else 0):
        planned = loader.index.planned + i
        if planned.module < loader.index.count[<int>SECTION_MODULES]:
            engine_raise(loader, planned.module, engine_length(planned) | <uint32_t>URGENT_REST << URGENCY_SHIFT)
    for i in range(loader.n_taken):
        wanted = loader.wanted + i
        if not engine_planned(loader, wanted.module):
            engine_raise(loader, wanted.module, engine_urgency(loader, wanted))
    engine_yield(loader)


cdef void engine_raise(Loader* loader, uint32_t module, uint32_t urgency) noexcept nogil:
    # Make MODULE, and what has to come before it, at least that urgent.
    cdef const Module* record = loader.index.modules + module
    cdef const uint32_t* links
    cdef uint32_t i
    if (module >= loader.index.count[<int>SECTION_MODULES] or not loader.plan.visited[module]
            or loader.tasks[module].urgency >= urgency):
        return
    loader.tasks[module].urgency = urgency
    if loader.states[module] != MODULE_NEW:
        return
    links = index_links(&loader.index, <uint64_t>record.deps + record.n_deps, record.n_direct)
    for i in range(record.n_direct if links != NULL else 0):
        engine_raise(loader, links[i], urgency)
    links = index_links(&loader.index, record.soft, record.n_pre)
    for i in range(record.n_pre if links != NULL else 0):
        if not engine_idle(loader, links[i]):
            engine_raise(loader, links[i], urgency)


cdef bint engine_settled(const Loader* loader, uint32_t module) noexcept nogil:
    return loader.states[module] == MODULE_LOADED or loader.states[module] == MODULE_FAILED


cdef int engine_ready(const Loader* loader, uint32_t module, int64_t now) noexcept nogil:
    # READY, or what MODULE waits for. A softdep that is stuck is not waited for.
    cdef const BootIndex* ix = &loader.index
    cdef const Module* record = ix.modules + module
    cdef const Step* step = loader.plan.steps + loader.tasks[module].position
    cdef const uint32_t* links = index_links(ix, <uint64_t>record.deps + record.n_deps, record.n_direct)
    cdef uint32_t i
    if index_forbidden(ix, module):
        return READY
    for i in range(record.n_direct if links != NULL else 0):
        # What is not planned is the plan of a damaged index: nothing to wait for.
        if links[i] < ix.count[<int>SECTION_MODULES] and loader.plan.visited[links[i]]:
            if not engine_settled(loader, links[i]) and not engine_live(loader, links[i]):
                return WAITS_HARD
    links = index_links(ix, record.soft, record.n_pre)
    for i in range(record.n_pre if links != NULL else 0):
        if links[i] < ix.count[<int>SECTION_MODULES] and engine_awaits(loader, links[i], now):
            return WAITS_SOFT
    # One of a `post` softdep stands behind the module that named it.
    if step.why == WHY_SOFTDEP and loader.tasks[step.parent].position < loader.tasks[module].position:
        if engine_awaits(loader, step.parent, now):
            return WAITS_SOFT
    return READY


cdef bint engine_live(const Loader* loader, uint32_t module) noexcept nogil:
    # Whether MODULE's init has returned while its load waits for all that is being probed in the system, for ever
    # where one disk does not answer: nothing has to wait with it.
    return loader.states[module] == MODULE_LOADING and loader.tasks[module].live


cdef void engine_announced(Loader* loader, const char* devpath) noexcept nogil:
    # The kernel announces a module when its init has returned, before that wait; ahead of the init until Linux 5.10.
    cdef const char* name = starts(devpath, b"/module/")
    cdef uint32_t i
    for i in range(loader.n_workers if name != NULL else 0):
        if loader.workers[i].busy and strcmp(index_name(&loader.index, loader.workers[i].module), name) == 0:
            engine_look(loader, loader.workers[i].module)


cdef void engine_look(Loader* loader, uint32_t module) noexcept nogil:
    # See whether the init of MODULE, whose load is under way, has returned.
    cdef char state[16]
    if loader.tasks[module].live:
        return
    loader.tasks[module].live_at = seam_now()
    loader.tasks[module].live = (read_initstate(loader, index_name(&loader.index, module), state, sizeof(state))
                                 and starts(state, b"live") != NULL)


cdef bint engine_awaits(const Loader* loader, uint32_t module, int64_t now) noexcept nogil:
    # Whether what a softdep orders behind MODULE has to wait for it.
    cdef const Task* task = loader.tasks + module
    return (loader.plan.visited[module] != 0 and not engine_settled(loader, module)
            and not engine_idle(loader, module) and not engine_live(loader, module)
            and not (loader.states[module] == MODULE_LOADING and now - task.begun >= STUCK_AFTER))


cdef uint32_t engine_next(Loader* loader, uint32_t least, int most) noexcept nogil:
    # The most urgent module, of at least LEAST, that waits for nothing worse than MOST; NONE where there is none.
    cdef Plan* plan = &loader.plan
    cdef uint32_t best = <uint32_t>-1
    cdef uint32_t i, module, urgency
    cdef int64_t now = seam_now()
    while loader.n_settled < plan.n_steps and engine_settled(loader, plan.steps[loader.n_settled].module):
        loader.n_settled += 1
    for i in range(loader.n_settled, plan.n_steps):
        module = plan.steps[i].module
        urgency = loader.tasks[module].urgency
        if loader.states[module] != MODULE_NEW or urgency < least:
            continue
        if (is_none(best) or urgency > loader.tasks[best].urgency) and engine_ready(loader, module, now) <= most:
            best = module
    return best


cdef uint32_t engine_running(const Loader* loader) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t n = 0
    for i in range(loader.n_workers):
        n += loader.workers[i].busy
    return n


cdef void engine_feed(Loader* loader) noexcept nogil:
    # Plan what devices ask for by now, and give every free worker a module.
    cdef const Wanted* wanted
    while loader.n_taken < loader.n_wanted:
        wanted = loader.wanted + loader.n_taken
        loader.n_taken += 1
        if loader.closing:
            if load_display(loader, wanted.module):
                engine_want(loader, wanted.module, WHY_MODALIAS, loader.texts + wanted.by,
                            <uint32_t>URGENT_DISPLAY << URGENCY_SHIFT)
            continue
        if loader.index.modules[wanted.module].flags & MODULE_FLAG_HASH and is_none(loader.hash):
            loader.hash = loader.n_taken - 1
            continue
        engine_want(loader, wanted.module, WHY_MODALIAS, loader.texts + wanted.by, engine_urgency(loader, wanted))
    if not loader.closing:
        engine_hash(loader)
    loader.held = False
    while engine_feed_one(loader):
        pass
    engine_yield(loader)


cdef void engine_hash(Loader* loader) noexcept nogil:
    # Have signatures checked by a quicker hash where what is left to load is worth it: never before what may lead
    # to the root. Where no root is awaited, it is one of the devices' modules like others.
    cdef const Wanted* wanted
    cdef uint32_t urgency = (<uint32_t>URGENT_ROOT << URGENCY_SHIFT) - 1
    cdef uint32_t i, module
    cdef uint64_t size = 0
    if is_none(loader.hash) or not (loader.walked or loader.root_there):
        return
    wanted = loader.wanted + loader.hash
    if not loader.root_there:
        urgency = <uint32_t>URGENT_HASH << URGENCY_SHIFT
    for i in range(loader.n_settled, loader.plan.n_steps):
        module = loader.plan.steps[i].module
        if loader.states[module] == MODULE_NEW and loader.tasks[module].urgency < urgency:
            size += loader.index.modules[module].size
    if size >= HASH_WORTH or loader.plan.visited[wanted.module] or loader.equal:
        engine_want(loader, wanted.module, WHY_MODALIAS, loader.texts + wanted.by, urgency)
    if loader.root_there and loader.plan.visited[wanted.module]:
        loader.hash = <uint32_t>-1


cdef bint engine_feed_one(Loader* loader) noexcept nogil:
    # Settle one module's fate, or have a worker do so. False: no worker is free, or nothing is ready. What leads to
    # the root may have one worker more than the others, so that those which wait for some device do not hold it up.
    cdef uint32_t module
    cdef uint32_t least = <uint32_t>URGENT_DISPLAY << URGENCY_SHIFT if loader.closing else 0
    cdef Worker* worker = pool_free(loader, loader.jobs)
    if loader.closing and seam_now() - loader.mounted >= loader.drain:
        return False
    if worker == NULL:
        if not loader.closing:
            least = <uint32_t>URGENT_DISK << URGENCY_SHIFT
        worker = pool_free(loader, loader.jobs + 1)
    if worker == NULL:
        return False
    module = engine_next(loader, least, READY)
    if is_none(module) and engine_running(loader) == 0:
        # Nothing can get ready any more: a circle, of softdeps or, in a damaged index, of any kind.
        module = engine_next(loader, least, WAITS_SOFT)
        if is_none(module):
            module = engine_next(loader, least, WAITS_HARD)
    if is_none(module):
        return False
    loader.held = not engine_room(loader, loader.tasks[module].urgency)
    if loader.held:
        return False
    engine_start(loader, worker, module)
    return True


cdef uint32_t engine_leading(const Loader* loader) noexcept nogil:
    # The urgency from which on a module goes ahead of the others: it may lead to the root. With the root there the
    # others' hardware is no longer what the boot waits for, unless it has time (rootdelay=): then displays and buses
    # do, which have devices behind them.
    cdef uint32_t level = URGENT_OTHER_DISK if loader.root_there else URGENT_USB
    return (URGENT_ROOT if loader.mount_next else level) << URGENCY_SHIFT


cdef bint engine_room(Loader* loader, uint32_t urgency) noexcept nogil:
    # Whether a module of URGENCY can start without taking a processor from a more urgent one that may lead to the
    # root. That it would have to yield is not enough: in the kernel a module's check runs to its end. So it starts on
    # a processor that is free, or when the most urgent has been waiting for a while: not for a block of a disk or the
    # kernel's own clean-up, but for its hardware.
    cdef uint32_t i, other
    cdef uint32_t busy = 0
    cdef uint32_t most = 0
    cdef bint computing = False
    cdef int64_t now = seam_now()
    cdef const Worker* worker
    if loader.equal or loader.closing:
        return True
    for i in range(loader.n_workers):
        worker = loader.workers + i
        if worker.busy and not pool_stuck(worker, now):
            busy += 1
            other = loader.tasks[worker.module].urgency
            if other > most:
                most = other
    if busy < loader.processors:
        return True
    if urgency >> URGENCY_SHIFT == URGENT_DISK and engine_finds(loader):
        return False
    if most < engine_leading(loader) or most <= urgency:
        return True
    for i in range(loader.n_workers):
        worker = loader.workers + i
        other = loader.tasks[worker.module].urgency
        if worker.busy and other > urgency and not pool_stuck(worker, now) and pool_computes(worker):
            computing = True
            if other == most:
                loader.idle_from = 0
    if not computing and loader.idle_from == 0:
        loader.idle_from = now
    return not computing and now - loader.idle_from >= HELD_FOR


cdef bint engine_finds(Loader* loader) noexcept nogil:
    # Whether a bus's driver is at it: of the disks that it has yet to find one may be nearer to the root.
    cdef uint32_t i
    cdef Worker* worker
    for i in range(loader.n_workers):
        worker = loader.workers + i
        if (worker.busy and loader.tasks[worker.module].urgency >> URGENCY_SHIFT == URGENT_BUS
                and not engine_live(loader, worker.module) and not pool_stuck(worker, seam_now())
                and pool_computes(worker)):
            return True
    return False


cdef bint engine_async(const Loader* loader, const Step* step) noexcept nogil:
    # Whether the load of a module is not to end by waiting for all that is being probed in the system: links of disk
    # controllers, a mouse. What is no driver, a library or a filesystem, has nothing to probe itself and needs no
    # such wait. rd.tinykmod.async= names other modules instead; `off` is none.
    if loader.asynchronous[0]:
        return list_has(loader.asynchronous, strlen(loader.asynchronous), index_name(&loader.index, step.module))
    return (loader.index.modules[step.module].flags & MODULE_FLAG_DRIVER) == 0


cdef void engine_start(Loader* loader, Worker* worker, uint32_t module) noexcept nogil:
    # Have WORKER load MODULE, unless its fate is settled without.
    cdef char buffer[4096]
    cdef Text options = text_over(buffer, sizeof(buffer))
    cdef Task* task = loader.tasks + module
    cdef const Step* step = loader.plan.steps + task.position
    cdef Outcome outcome
    if not load_prepare(loader, step, task.by, b"", &options):
        return
    if engine_async(loader, step) and not options.cut:
        put(&options, either(options.used != 0, b" async_probe", b"async_probe"))
    task.begun = seam_now()
    loader.states[module] = MODULE_LOADING
    if pool_start(loader, worker):
        pool_order(loader, worker, module, &options)
    else:
        outcome = load_record(loader, module, buffer)
        load_settle(loader, step, task.by, &outcome, load_reason(&outcome), 0, task.queued)


cdef void engine_yield(Loader* loader) noexcept nogil:
    # Until the root is mounted, the most urgent module under way, with what it needs, has the processors, if it can
    # lead to the root; the others, and what is stuck, have what it and PID 1 leave. So the root is there as soon as
    # if it were alone, and what only waits for hardware costs it nothing.
    cdef uint32_t i, urgency
    cdef uint32_t most = engine_leading(loader)
    cdef int64_t now = seam_now()
    cdef Worker* worker
    cdef bint behind
    for i in range(loader.n_workers):
        worker = loader.workers + i
        urgency = loader.tasks[worker.module].urgency
        if worker.busy and urgency > most and not pool_stuck(worker, now):
            most = urgency
    if most >> URGENCY_SHIFT == URGENT_DISK:
        # A bus may yet have the disk that is the root behind it.
        most = <uint32_t>URGENT_BUS << URGENCY_SHIFT
    for i in range(loader.n_workers):
        worker = loader.workers + i
        if worker.busy:
            behind = loader.tasks[worker.module].urgency < most or pool_stuck(worker, now)
            pool_yield(worker, behind and not loader.closing and not loader.equal)


cdef int64_t engine_again(const Loader* loader, int64_t until) noexcept nogil:
    # When, before UNTIL, something that is held may have a processor, or a module under way becomes one that nothing
    # waits for any longer.
    cdef uint32_t i
    cdef int64_t then
    cdef int64_t now = seam_now()
    if loader.held and now + HELD_AGAIN < until:
        until = now + HELD_AGAIN
    for i in range(loader.n_workers):
        then = loader.workers[i].begun + STUCK_AFTER
        if loader.workers[i].busy and now < then < until:
            until = then
    return until


cdef void engine_answers(Loader* loader) noexcept nogil:
    # Take what the workers have to say.
    cdef uint32_t i
    cdef Worker* worker
    cdef Task* task
    cdef Outcome outcome
    cdef const char* why
    for i in range(loader.n_workers):
        worker = loader.workers + i
        if not worker.busy:
            continue
        task = loader.tasks + worker.module
        if not pool_answer(worker, &outcome):
            if not task.live and pool_stuck(worker, seam_now()):
                engine_look(loader, worker.module)
            continue
        why = load_reason(&outcome)
        if worker.pid == 0:
            why = b"the kernel ended the process that loaded it (its log says why)"
        load_settle(loader, loader.plan.steps + task.position, task.by, &outcome, why, i + 1, task.queued)


cdef void engine_close(Loader* loader) noexcept nogil:
    # The root is mounted: of what was planned only what a display needs is still started, as the root's init is to
    # find it. The rest is dropped.
    cdef uint32_t i
    loader.closing = True
    engine_yield(loader)
    for i in range(loader.n_taken):
        if load_display(loader, loader.wanted[i].module):
            engine_raise(loader, loader.wanted[i].module, <uint32_t>URGENT_DISPLAY << URGENCY_SHIFT)
    engine_drop(loader, URGENT_DISPLAY)


cdef void engine_drop(Loader* loader, uint32_t level) noexcept nogil:
    # Start nothing more that is less urgent than LEVEL; the trace names it.
    cdef uint32_t i
    cdef const Step* step
    cdef Task* task
    for i in range(loader.n_settled, loader.plan.n_steps):
        step = loader.plan.steps + i
        task = loader.tasks + step.module
        if (loader.states[step.module] != MODULE_NEW or not loader.plan.visited[step.module]
                or task.urgency >= level << URGENCY_SHIFT):
            continue
        # The user may yet ask for it by name.
        loader.plan.visited[step.module] = 0
        if trace_begin(loader, seam_now(), b"dropped"):
            trace_text(loader, b"name", index_name(&loader.index, step.module))
            trace_text(loader, b"why", why_word(step.why))
            trace_text(loader, b"by", task.by)
            trace_end(loader)


cdef int64_t engine_drained(Loader* loader) noexcept nogil:
    # 0 when no module under way is waited for any longer before the boot is handed over; else until when, before
    # this is asked again.
    cdef uint32_t i
    cdef Worker* worker
    cdef int64_t end
    cdef int64_t until = 0
    cdef int64_t now = seam_now()
    for i in range(loader.n_workers):
        worker = loader.workers + i
        end = worker.begun + loader.drain
        if not worker.busy or end <= now or engine_live(loader, worker.module) or (
                loader.gpu == GPU_GO and loader.index.modules[worker.module].classes & DRIVER_CLASS_GPU):
            continue
        if now < worker.begun + STUCK_AFTER < end:
            end = worker.begun + STUCK_AFTER
        if until == 0 or end < until:
            until = end
    return until


cdef void engine_leave(Loader* loader) noexcept nogil:
    # Name what is still under way and what it kept from being started, and let the other workers end.
    cdef uint32_t i
    cdef Worker* worker
    cdef Task* task
    cdef Outcome outcome
    cdef const char* name
    for i in range(loader.n_workers):
        worker = loader.workers + i
        task = loader.tasks + worker.module
        if not worker.busy:
            continue
        if engine_live(loader, worker.module):
            outcome.result = 0
            outcome.begun = task.begun
            outcome.ended = seam_now()
            outcome.cpu = -1
            load_settle(loader, loader.plan.steps + task.position, task.by, &outcome, NULL, i + 1, task.queued)
            continue
        name = index_name(&loader.index, worker.module)
        log_why(loader, LOG_ERROR, b"module", name, b"is still in its init; the boot goes on without it")
        if trace_begin(loader, seam_now(), b"left"):
            trace_text(loader, b"name", name)
            trace_number(loader, b"worker", i + 1)
            trace_number(loader, b"dur", seam_now() - worker.begun)
            trace_end(loader)
    engine_drop(loader, URGENT_DISPLAY + 1)
    pool_end(loader)
