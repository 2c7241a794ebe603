"""Host memory: what the C library does with what was freed."""

import ctypes
import glob
import os
import platform

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # of mallopt(3)
_LARGEST = 2**31 - 1
_ACCELERATORS = ("/dev/nvidia[0-9]*", "/dev/accel*", "/dev/vfio/[0-9]*", "/dev/kfd")


def keep() -> bool:
    """Keeps freed memory in the process, where steps run on the CPU; before JAX sees its devices.

    Large scratch memory otherwise goes back to the system and is faulted in anew each time: a
    quarter of a small step. Only for processes that compile nothing large themselves: threads then
    share one arena, and what a compiler leaves behind in it makes every later request slow. A
    network's training that had just compiled its step took twice as long a step with this.

    Returns:
        Whether it was done.
    """
    chosen = os.environ.get("JAX_PLATFORMS", "")
    on_cpu = chosen == "cpu" or not (chosen or any(glob.glob(path) for path in _ACCELERATORS))
    if not on_cpu or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    options = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST))
    done = [mallopt(option, value) for option, value in options]  # each, whatever became of others
    return all(done)
