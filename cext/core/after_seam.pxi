# What the loader is made of, over the seam to the kernel.

include "core/log.pxi"         # kmsg
include "core/trace.pxi"       # the boot trace
include "core/words.pxi"       # the kernel's on a module that it refused
include "core/load.pxi"        # one module, the queue
include "core/pool.pxi"        # processes that load
include "core/engine.pxi"      # the order with several of them
include "core/device.pxi"      # uevents and sysfs
include "core/superblock.pxi"  # filesystems, by their superblocks
include "core/partition.pxi"   # GPT and MBR
include "core/root.pxi"        # root= and block devices
include "core/mountroot.pxi"   # the root's filesystem
include "core/requested.pxi"   # modules that the user names, rd.break=
include "core/report.pxi"      # no root: why
include "core/handover.pxi"    # switch_root
include "core/crash.pxi"       # when PID 1 itself fails
include "core/settle.pxi"      # when all that came was seen
include "core/boot.pxi"        # PID 1
include "core/helper.pxi"      # coldplug
include "core/elf.pxi"         # what a .ko says of itself
include "core/remove.pxi"      # modprobe -r
include "core/modinfo.pxi"     # modinfo
include "core/blkid.pxi"       # blkid
include "core/snapshot.pxi"    # snapshot
include "core/tools.pxi"       # modprobe and the others


cdef public int main(int argc, char** argv) noexcept nogil:
    return loader_main(argc, argv)
