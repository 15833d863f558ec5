# modules.dep and modules.alias as text, where the boot index cannot be used: the same Index is filled from them, so
# that nothing else has to know. Slow: each modalias is compared with each line. Of softdeps only those that name a
# module are known; options and blacklists are not in these files.

cdef const char* textfiles_open(BootIndex* ix, int modules_fd) noexcept nogil:
    # NULL, or why the files in the modules' directory cannot be used either.
    cdef size_t size, i
    cdef uint32_t n_modules = 0
    cdef uint32_t n_words = 0
    cdef size_t size_soft = 0
    cdef char* text = read_whole(modules_fd, b"modules.dep", &size)
    cdef char* soft = read_whole(modules_fd, b"modules.softdep", &size_soft)
    memset(ix, 0, sizeof(BootIndex))
    if text == NULL:
        return b"there is no modules.dep"
    for i in range(size):
        n_modules += text[i] == c':'
        n_words += text[i] == c' '
    for i in range(size_soft):
        n_words += soft[i] == c' '
    ix.modules = <const Module*>take_pages(n_modules * sizeof(Module))
    ix.links = <const uint32_t*>take_pages(n_words * sizeof(uint32_t))
    # A name is never longer than its path, so both fit into twice the file's size.
    ix.strings = <const char*>take_pages(2 * size + 1)
    if ix.modules == NULL or ix.links == NULL or ix.strings == NULL:
        return b"out of memory"
    textfiles_modules(ix, text, n_modules)
    textfiles_links(ix, text)
    if soft != NULL:
        textfiles_softdeps(ix, soft)
    ix.alias_text = read_whole(modules_fd, b"modules.alias", &ix.alias_size)
    if ix.alias_text == NULL:
        return b"there is no modules.alias"
    for i in range(ix.alias_size):
        if ix.alias_text[i] == c' ' or ix.alias_text[i] == c'\n':
            (<char*>ix.alias_text)[i] = 0
    return NULL


cdef size_t word_length(const char* text) noexcept nogil:
    cdef size_t n = 0
    while text[n] and text[n] != c' ' and text[n] != c'\n' and text[n] != c':':
        n += 1
    return n


cdef const char* next_line(const char* text) noexcept nogil:
    while text[0] and text[0] != c'\n':
        text += 1
    return text + 1 if text[0] else text


cdef void textfiles_modules(BootIndex* ix, const char* text, uint32_t n_most) noexcept nogil:
    # A record a line: its path as it stands, its name out of the path's last part.
    cdef Module* record
    cdef char* strings = <char*>ix.strings
    cdef uint32_t used = 1
    cdef size_t n, i, name, end
    while text[0]:
        n = word_length(text)
        if n and text[n] == c':' and ix.count[<int>SECTION_MODULES] < n_most:
            record = <Module*>ix.modules + ix.count[<int>SECTION_MODULES]
            ix.count[<int>SECTION_MODULES] += 1
            record.path = used
            memcpy(strings + used, text, n)
            used += <uint32_t>n + 1
            name = 0
            for i in range(n):
                if text[i] == c'/':
                    name = i + 1
            end = name
            while end < n and text[end] != c'.':
                end += 1
            record.name = used
            for i in range(name, end):
                strings[used] = normal(text[i])
                used += 1
            used += 1
            if n < 3 or memcmp(text + n - 3, b".ko", 3) != 0:
                record.flags = MODULE_FLAG_COMPRESSED
        text = next_line(text)
    ix.count[<int>SECTION_STRINGS] = used


cdef void textfiles_links(BootIndex* ix, const char* text) noexcept nogil:
    # Each line's dependencies, turned round: modules.dep names what is to be loaded first last.
    cdef uint32_t* links = <uint32_t*>ix.links
    cdef Module* record = <Module*>ix.modules
    cdef uint32_t used = 0
    cdef uint32_t other, i
    cdef size_t n
    while text[0]:
        n = word_length(text)
        if n and text[n] == c':':
            record.deps = used
            text += n + 1
            while text[0] == c' ':
                text += 1
                n = word_length(text)
                other = textfiles_by_path(ix, text, n)
                if not is_none(other):
                    links[used] = other
                    used += 1
                text += n
            record.n_deps = <uint16_t>(used - record.deps)
            for i in range(record.n_deps / 2):
                other = links[record.deps + i]
                links[record.deps + i] = links[used - 1 - i]
                links[used - 1 - i] = other
            record += 1
        text = next_line(text)
    ix.count[<int>SECTION_LINKS] = used


cdef void textfiles_softdeps(BootIndex* ix, const char* text) noexcept nogil:
    # `softdep NAME pre: A B post: C` lines: one a module, `pre:` before `post:`, as our images have them.
    cdef uint32_t* links = <uint32_t*>ix.links
    cdef uint32_t used = ix.count[<int>SECTION_LINKS]
    cdef uint32_t module, other
    cdef Module* record
    cdef const char* line = text
    cdef const char* word
    cdef size_t n
    cdef bint post
    while line[0]:
        word = starts(line, b"softdep ")
        line = next_line(line)
        if word == NULL:
            continue
        n = word_length(word)
        module = textfiles_by_name(ix, word, n)
        if is_none(module):
            continue
        record = <Module*>ix.modules + module
        record.soft = used
        record.n_pre = record.n_post = 0
        post = False
        word += n
        while word[0] == c' ':
            word += 1
            n = word_length(word)
            if word[n] == c':':
                post = word[0] == c'p' and word[1] == c'o'
                word += n + 1
                continue
            other = textfiles_by_name(ix, word, n)
            # The lists lie one behind the other, so what comes too late for the first is left out.
            if not is_none(other) and (post or record.n_post == 0):
                links[used] = other
                used += 1
                record.n_post += post
                record.n_pre += not post
            word += n
    ix.count[<int>SECTION_LINKS] = used


cdef uint32_t textfiles_by_name(const BootIndex* ix, const char* name, size_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(ix.count[<int>SECTION_MODULES]):
        if same_name(name, n, index_name(ix, i)):
            return i
    return <uint32_t>-1


cdef uint32_t textfiles_by_path(const BootIndex* ix, const char* path, size_t n) noexcept nogil:
    cdef uint32_t i
    cdef const char* known
    for i in range(ix.count[<int>SECTION_MODULES]):
        known = ix.strings + ix.modules[i].path
        if strncmp(known, path, n) == 0 and known[n] == 0:
            return i
    return <uint32_t>-1


cdef void textfiles_hit(Search* search, uint32_t module) noexcept nogil:
    cdef uint32_t i
    search.matched = True
    for i in range(search.n_hits):
        if search.hits[i].module == module:
            return
    if search.n_hits < MATCH_MOST:
        search.hits[search.n_hits].module = module
        search.hits[search.n_hits].value = 0
        search.n_hits += 1


cdef bint textfiles_match(Search* search, const char* modalias) noexcept nogil:
    # Lines are three texts with a NUL behind each: `alias`, pattern, module.
    cdef const char* at = search.ix.alias_text
    cdef const char* end = at + search.ix.alias_size
    cdef const char* pattern
    cdef uint32_t module
    search.builtin = False
    if not search_text(search, modalias):
        return False
    while at < end:
        if strcmp(at, b"alias") != 0:
            at += strlen(at) + 1
            continue
        if end - at < 6:
            break
        pattern = at + 6
        at = pattern + strlen(pattern) + 1
        if at >= end:
            break
        if glob(pattern, search.text):
            module = textfiles_by_name(search.ix, at, strlen(at))
            if not is_none(module):
                textfiles_hit(search, module)
        at += strlen(at) + 1
    return search.matched
