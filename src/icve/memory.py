"""Memory that a process frees and soon needs again."""

import ctypes

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h
KEPT = 512 << 20  # bytes: three clips of 61 frames 480 x 832, as decoded, take less than half
STEP = 64 << 20  # bytes: what is asked for at once


def keep_freed_memory() -> None:
    """Keep up to `KEPT` bytes that are freed; does nothing where the C library is not glibc.

    glibc gives large blocks back to the system as soon as they are freed. The next decoded frame then asks for its
    memory anew, and the system clears it page by page.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, KEPT)
        mallopt(M_TOP_PAD, STEP)
