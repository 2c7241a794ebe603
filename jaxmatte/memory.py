"""Host memory: what the C library does with what was freed."""

import ctypes
import glob
import os
import pathlib
import platform
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8  # of mallopt(3)
_LARGEST = 2**31 - 1
_HEAP = 2**26  # bytes; threads' arenas grow by heaps of at most so many
_ACCELERATORS = ("/dev/nvidia[0-9]*", "/dev/accel*", "/dev/vfio/[0-9]*", "/dev/kfd")
_TUNABLES = "GLIBC_TUNABLES"  # environment variable
_LARGE_PAGES = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


def in_large_pages() -> None:
    """Starts this process anew, with memory in pages of 2 MiB, where steps run on the CPU.

    To be called before anything else happens. What `keep` cannot keep, a step's scratch memory of
    more than a heap, is then faulted in by hundreds of pages instead of by tens of thousands: a
    sixth of a step's time in MODNet's studio. The C library reads the wish when a process starts.
    """
    given = os.environ.get(_TUNABLES, "")
    if "glibc.malloc.hugetlb" in given or not (large_pages_offered() and _on_cpu_with_glibc()):
        return
    wishes = [wish for wish in (given, "glibc.malloc.hugetlb=1") if wish]
    os.environ[_TUNABLES] = ":".join(wishes)
    os.execv(sys.executable, sys.orig_argv)


def large_pages_offered() -> bool:
    """Whether the kernel gives pages of 2 MiB to those who ask."""
    return _LARGE_PAGES.is_file() and "[never]" not in _LARGE_PAGES.read_text()


def keep(compiles: bool = False) -> bool:
    """Keeps freed memory in the process, where steps run on the CPU; before JAX sees its devices.

    A step's scratch memory (hundreds of MB) otherwise goes back to the system and is faulted in
    anew at every step: a quarter of the time of a small one. Threads also share one arena, so that
    one takes what another has freed; that costs an input pipeline for accelerators more than it
    gains; so only for the CPU.

    Args:
        compiles: Whether the process compiles networks itself. Then each thread keeps its own
            arena: what a compiler leaves behind in a shared one makes every later request slow (a
            training that had just compiled its step took twice as long a step). Such arenas give
            back a heap that is free whole, unless a heap's bytes are to stay free at their end;
            what is larger than a heap, they map anew each time.

    Returns:
        Whether it was done.
    """
    if not _on_cpu_with_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    options = [(_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST)]
    options.append((_TOP_PAD, _HEAP) if compiles else (_ARENA_MAX, 1))
    done = [mallopt(option, value) for option, value in options]  # each, whatever became of others
    return all(done)


def _on_cpu_with_glibc() -> bool:
    chosen = os.environ.get("JAX_PLATFORMS", "")
    on_cpu = chosen == "cpu" or not (chosen or any(glob.glob(path) for path in _ACCELERATORS))
    return on_cpu and platform.libc_ver()[0] == "glibc"
