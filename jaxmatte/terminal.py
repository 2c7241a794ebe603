"""What commands that read pictures share: a quiet terminal, and how many threads there may be."""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TextIO


def count(text: str) -> int:
    """A whole number above 0, for argparse."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def quiet_decoders() -> Iterator[TextIO]:
    """Gives the terminal, which is shut to libraries that complain there past Python.

    libpng, libjpeg and OpenCV do so for each bad file; the report has them all, with their names.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere, os.fdopen(os.dup(2), "w") as terminal:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield terminal
        finally:
            os.dup2(kept, 2)
            os.close(kept)
