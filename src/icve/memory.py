"""Memory that a process frees and soon needs again."""

import ctypes

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h


def keep_freed_memory(limit: int = 512 << 20) -> None:
    """Keep up to `limit` bytes that are freed, at most 2 GiB; does nothing where the C library is not glibc.

    glibc gives large blocks back to the system as soon as they are freed. The next decoded frame then asks for its
    memory anew, and the system clears it page by page.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, min(limit, 2**31 - 1))
        mallopt(M_TOP_PAD, 64 << 20)
