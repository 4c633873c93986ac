"""A process told to keep freed memory does not fetch it anew."""

import platform
import subprocess
import sys

import pytest

ALLOCATE = """
import resource, sys
from icve.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
begin = faults()
for _ in range(20):
    b"x" * (40 << 20)
print(faults() - begin)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back at once")
def test_fewer_page_faults():
    kept, given_back = (
        int(subprocess.run([sys.executable, "-c", ALLOCATE, how], capture_output=True, check=True, text=True).stdout)
        for how in ("keep", "give back")
    )
    assert kept < given_back / 10
