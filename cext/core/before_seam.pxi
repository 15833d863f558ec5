# What the loader is made of, up to the seam to the kernel.

include "core/format.pxi"      # the index's records, generated from the schema
include "core/text.pxi"        # building and comparing text
include "core/memory.pxi"      # pages, files, directories
include "core/index.pxi"       # the boot index in place
include "core/match.pxi"       # the alias matcher
include "core/statements.pxi"  # what modprobe.d said, and where
include "core/textfiles.pxi"   # modules.dep and modules.alias instead of an index
include "core/resolve.pxi"     # names to modules, modules to load order
include "core/cmdline.pxi"     # the kernel command line
include "core/packed.pxi"      # modules that the loader decompresses
include "core/state.pxi"       # what the loader knows
include "core/frozen.pxi"      # what is in the program itself
