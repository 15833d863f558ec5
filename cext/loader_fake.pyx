# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False
# The loader as tests run it without root: the core over a seam that only tells what it was asked. See loader.pyx.

from libc_sys cimport *

include "core/format.pxi"      # the index's records, generated from the schema
include "core/text.pxi"        # building and comparing text
include "core/memory.pxi"      # pages, files, directories
include "core/index.pxi"       # the boot index in place
include "core/match.pxi"       # the alias matcher
include "core/textfiles.pxi"   # modules.dep and modules.alias instead of an index
include "core/resolve.pxi"     # names to modules, modules to load order
include "core/cmdline.pxi"     # the kernel command line
include "core/state.pxi"       # what the loader knows
include "core/seam_fake.pxi"   # stands in for what changes the kernel
include "core/log.pxi"         # kmsg
include "core/trace.pxi"       # the boot trace
include "core/load.pxi"        # one module, the queue
include "core/device.pxi"      # uevents and sysfs
include "core/root.pxi"        # root= and block devices
include "core/mountroot.pxi"   # the root's filesystem
include "core/report.pxi"      # no root: why
include "core/handover.pxi"    # switch_root
include "core/boot.pxi"        # PID 1
include "core/tools.pxi"       # modprobe and the others


cdef public int main(int argc, char** argv) noexcept nogil:
    return loader_main(argc, argv)
