"""What commands share: how they end, what a terminal shows, how many threads there may be."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn, TextIO

from jaxmatte.errors import UserError


def leave(main: Callable[[], int]) -> NoReturn:
    """Runs a command and leaves with its exit code."""
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


def exit_code(command: Callable[[], int], stopped: str = "stopped") -> int:
    """Runs a command; a person's mistake becomes one line and 2, Ctrl-C one line and 130.

    Args:
        command: Gives its own exit code.
        stopped: What is said after Ctrl-C.
    """
    try:
        return command()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130


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


def printable(line: str) -> str:
    """One line, whatever names of files hold."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
