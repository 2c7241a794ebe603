import argparse
import os
import subprocess
import sys

import pytest

from jaxmatte import terminal

LEAVE = "from jaxmatte import terminal; terminal.leave(lambda: print('a line') or 3)"


def test_a_command_leaves_with_its_code_and_bears_a_reader_that_left():
    done = subprocess.run([sys.executable, "-c", LEAVE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "a line\n")
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", LEAVE], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_writes_past_python_is_not_heard(capfd):
    with terminal.quiet_decoders() as screen:
        os.write(2, b"libpng error\n")
        print("progress", file=screen)
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "progress\nafterwards\n"


def test_the_terminal_comes_back_after_an_error(capfd):
    with pytest.raises(KeyboardInterrupt), terminal.quiet_decoders():
        raise KeyboardInterrupt
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "afterwards\n"


def test_counts_are_whole_numbers_above_0():
    assert terminal.count("12") == 12
    for text in ("0", "-1", "1.5", "many", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="whole number above 0"):
            terminal.count(text)


def test_there_is_a_core():
    assert 1 <= terminal.cores() <= os.cpu_count()
