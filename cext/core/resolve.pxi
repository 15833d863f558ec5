# From a name or a modalias to modules, and from a module to the order in which to load it with its needs.
# Twin: tinykmod/index/reader.py (lookup, plan).

cdef enum:
    WHY_MODALIAS = 1
    WHY_REQUEST = 2
    WHY_DEPENDENCY = 3
    WHY_SOFTDEP = 4
    WHY_ROOT = 5
    WHY_PLAN = 6


cdef struct Step:
    uint32_t module
    uint32_t parent  # the module that needs it; NONE for the one that was asked for
    uint32_t why


cdef struct Plan:
    # `steps` has two entries a module of the index, since one that was dropped may be asked for again.
    Step* steps
    uint32_t n_steps
    uint8_t* visited


cdef const char* why_word(uint32_t why) noexcept nogil:
    if why == WHY_MODALIAS:
        return b"modalias"
    if why == WHY_REQUEST:
        return b"request"
    if why == WHY_DEPENDENCY:
        return b"dependency"
    if why == WHY_SOFTDEP:
        return b"softdep"
    if why == WHY_PLAN:
        return b"plan"
    return b"root"


cdef const char* hit_name(const Search* search, const Hit* hit) noexcept nogil:
    if not search.builtin:
        return index_name(search.ix, hit.module)
    if hit.module >= search.ix.count[<int>SECTION_BUILTINS]:
        return b""
    return index_string(search.ix, search.ix.builtins[hit.module])


cdef bint has_dot(const char* name) noexcept nogil:
    return memchr(name, c'.', strlen(name)) != NULL


cdef bint match_modalias(Search* search, const char* modalias) noexcept nogil:
    # The modules whose aliases match. The first kind of alias with a match wins, as in kmod.
    if search.ix.alias_text != NULL:
        return textfiles_match(search, modalias)
    return (search_run(search, ROOT_CONFIG, modalias) or search_run(search, ROOT_ALIAS, modalias)
            or search_run(search, ROOT_BUILTIN, modalias))


cdef bint one_hit(Search* search, uint32_t module, bint builtin) noexcept nogil:
    if is_none(module):
        return False
    search.n_hits = 1
    search.hits[0].module = module
    search.hits[0].value = <uint32_t>-1
    search.builtin = builtin
    return True


cdef bint lookup(Search* search, const char* name) noexcept nogil:
    # What NAME leads to, in kmod's order: the configuration's aliases, modules, aliases, builtin, their aliases.
    # A name with a dot is never a module's: `dummy.ko` finds nothing (kmod).
    cdef bint plain = not has_dot(name)
    if search.ix.alias_text != NULL:
        return ((plain and one_hit(search, textfiles_by_name(search.ix, name, strlen(name)), False))
                or textfiles_match(search, name))
    return (search_run(search, ROOT_CONFIG, name)
            or (plain and one_hit(search, index_find(search.ix, name), False))
            or search_run(search, ROOT_ALIAS, name)
            or (plain and one_hit(search, index_find_builtin(search.ix, name), True))
            or search_run(search, ROOT_BUILTIN, name))


cdef void plan_add(Plan* plan, const BootIndex* ix, uint32_t module, uint32_t parent, uint32_t why) noexcept nogil:
    # Append what MODULE needs and MODULE itself, each once over the plan's life. For each dependency and then the
    # module: its `pre` softdeps with all they need, it, its `post` softdeps (kmod's order). A module that is
    # forbidden has its place, since what needs it must know of it, but nothing is loaded on its behalf.
    cdef const uint32_t* deps
    cdef uint32_t i, n
    if module >= ix.count[<int>SECTION_MODULES] or plan.visited[module]:
        return
    n = ix.modules[module].n_deps
    deps = index_links(ix, ix.modules[module].deps, n)
    if deps != NULL and not index_forbidden(ix, module):
        for i in range(n):
            plan_visit(plan, ix, deps[i], module, WHY_DEPENDENCY)
    plan_visit(plan, ix, module, parent, why)


cdef void plan_visit(Plan* plan, const BootIndex* ix, uint32_t module, uint32_t parent, uint32_t why) noexcept nogil:
    cdef const Module* record = ix.modules + module
    cdef const uint32_t* soft
    cdef uint32_t i, n_soft
    if module >= ix.count[<int>SECTION_MODULES] or plan.visited[module]:
        return
    plan.visited[module] = 1
    n_soft = <uint32_t>record.n_pre + record.n_post
    soft = index_links(ix, record.soft, n_soft)
    if index_forbidden(ix, module):
        soft = NULL
    if soft != NULL:
        for i in range(record.n_pre):
            plan_add(plan, ix, soft[i], module, WHY_SOFTDEP)
    plan.steps[plan.n_steps].module = module
    plan.steps[plan.n_steps].parent = parent
    plan.steps[plan.n_steps].why = why
    plan.n_steps += 1
    if soft != NULL:
        for i in range(record.n_pre, n_soft):
            plan_add(plan, ix, soft[i], module, WHY_SOFTDEP)
