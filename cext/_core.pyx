# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False
# The extension tinykmod._core: the parts of the core that the build side uses, and their Python faces.

from libc_sys cimport *

include "core/format.pxi"     # the index's records, generated from the schema
include "core/text.pxi"       # building and comparing text
include "core/memory.pxi"     # pages, files, directories
include "core/index.pxi"      # the boot index in place
include "core/match.pxi"      # the alias matcher
include "core/textfiles.pxi"  # modules.dep and modules.alias instead of an index
include "core/resolve.pxi"    # names to modules, modules to load order
include "core/cmdline.pxi"    # the kernel command line
include "core/elf.pxi"        # what a .ko says of itself

include "faces/index.pxi"
include "faces/elf.pxi"
