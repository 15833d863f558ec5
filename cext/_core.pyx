# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False
# The extension tinykmod._core: the parts of the core that the build side uses, and their Python faces.

from libc_sys cimport *

include "core/format.pxi"     # the index's records, generated from the schema
include "core/text.pxi"       # building and comparing text
include "core/memory.pxi"     # pages, files, directories
include "core/index.pxi"      # the boot index in place
include "core/match.pxi"      # the alias matcher
include "core/statements.pxi"  # what modprobe.d said, and where
include "core/textfiles.pxi"  # modules.dep and modules.alias instead of an index
include "core/resolve.pxi"    # names to modules, modules to load order
include "core/cmdline.pxi"    # the kernel command line
include "core/elf.pxi"        # what a .ko says of itself
include "core/packed.pxi"     # modules that the loader decompresses

include "depmod/buffer.pxi"   # bytes that grow
include "depmod/view.pxi"     # a file's bytes
include "depmod/record.pxi"   # what depmod wants to know of a module
include "depmod/symbols.pxi"  # all symbols by name
include "depmod/resolve.pxi"  # symbols to modules, modules to load order
include "depmod/trie.pxi"     # the .bin indexes
include "depmod/files.pxi"    # depmod's files

include "faces/index.pxi"
include "faces/elf.pxi"
include "faces/matcher.pxi"
include "faces/packed.pxi"
include "faces/depmod.pxi"
