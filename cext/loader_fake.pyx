# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False
# The loader as tests run it without root: the core over a seam that only tells what it was asked. See loader.pyx.

from libc_sys cimport *

include "core/before_seam.pxi"
include "core/seam_fake.pxi"  # stands in for modules into and out of the kernel, and the clock
include "core/after_seam.pxi"
