# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False
# The static loader: the core, the real system calls, and main(). No interpreter is linked into it.

from libc_sys cimport *

include "core/before_seam.pxi"
include "core/seam_linux.pxi"  # modules into and out of the kernel, and the clock
include "core/after_seam.pxi"
