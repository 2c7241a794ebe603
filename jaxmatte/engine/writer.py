"""What a run leaves for people: JSON lines, event files, pictures, and words on the terminal."""

import json
import math
import os
import pathlib
import sys
import time
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxmatte.engine import pictures

METRICS, PICTURES, EVENTS = "metrics.jsonl", "pictures", "tensorboard"


def write_atomically(path: pathlib.Path, content: bytes | str) -> None:
    """Writes a file that is either all there or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(partial, path)
    except BaseException:  # also Ctrl-C: nothing is left lying about
        partial.unlink(missing_ok=True)
        raise


class Writer:
    """Writes for the main process; the others' writers do nothing."""

    def __init__(
        self, workdir: pathlib.Path, *, active: bool, step: int = 0, tensorboard: bool = True
    ):
        """Opens the files; lines of steps after `step` are from a run that was cut off, and go.

        Args:
            workdir: The working directory.
            active: Whether this process writes.
            step: The step that the run goes on from.
            tensorboard: Whether to write event files.
        """
        self._active = active
        self._folder = workdir
        self._events: Any = None
        if not active:
            return
        path = workdir / METRICS
        if path.exists():
            write_atomically(path, "".join(_lines_until(path, step)))
        self._lines = path.open("a", buffering=1)
        if tensorboard:
            from tensorboardX import SummaryWriter  # slow to import, and not always wanted

            self._events = SummaryWriter(str(workdir / EVENTS), purge_step=step + 1)

    def scalars(self, step: int, values: dict[str, float], prefix: str = "train") -> None:
        """Writes a line, and a curve a value."""
        if not self._active:
            return
        named = {f"{prefix}/{name}": float(value) for name, value in values.items()}
        # JSON has no word for what is no number, such as the IoU of a class that occurs nowhere.
        line = {name: value if math.isfinite(value) else None for name, value in named.items()}
        self._lines.write(json.dumps({"step": step, **line}) + "\n")
        if self._events is not None:
            for name, value in named.items():
                self._events.add_scalar(name, value, step)

    def picture(self, step: int, picture: np.ndarray, name: str) -> pathlib.Path:
        """Writes an RGB uint8 picture as PNG; returns its path."""
        path = self._folder / PICTURES / f"{name}_{step:07d}.png"
        if self._active:
            write_atomically(path, pictures.encode(picture))
            if self._events is not None:
                self._events.add_image(name, picture, step, dataformats="HWC")
        return path

    def say(self, text: str) -> None:
        """Prints a line without breaking the progress bar."""
        if self._active:
            tqdm.write(text)

    def close(self) -> None:
        """Flushes everything."""
        if self._active:
            self._lines.close()
            if self._events is not None:
                self._events.close()


def _lines_until(path: pathlib.Path, step: int) -> list[str]:
    kept = []
    for line in path.read_text().splitlines(keepends=True):
        try:
            values = json.loads(line)
            trained = any(name.startswith("train/") for name in values)
            # The evaluation of just this step is made again.
            if values["step"] < step or (values["step"] == step and trained):
                kept.append(line)
        except (ValueError, KeyError):
            continue  # the last line of a run that was killed while it wrote
    return kept


class Progress:
    """A bar with step, pictures a second, loss and time left; plain lines without a screen."""

    def __init__(self, total: int, first: int, batch: int, *, active: bool, every: int):
        """Starts at step `first` of `total`, where a step shows `batch` pictures."""
        self._total, self._batch, self._every = total, batch, every
        self._screen = sys.stderr.isatty()
        self._lines = active and not self._screen
        self._speed = 0.0  # steps a second, smoothed
        self._last = time.monotonic()
        self._bar = tqdm(
            total=total,
            initial=first,
            disable=not (active and self._screen),
            dynamic_ncols=True,
            bar_format="{l_bar}{bar}| step {n_fmt}/{total_fmt}{postfix}",
        )

    def update(self, step: int, loss: float) -> None:
        """One step more."""
        now = time.monotonic()
        speed = 1.0 / max(now - self._last, 1e-9)
        self._last = now
        # The first step holds the compilation: it says nothing of the speed to come.
        self._speed = 0.9 * self._speed + 0.1 * speed if self._speed else speed
        left = tqdm.format_interval((self._total - step) / self._speed)
        text = f"{self._speed * self._batch:.1f} images/s, loss {loss:.4f}, {left} left"
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(1)
        if self._lines and (step % self._every == 0 or step == self._total):
            print(f"step {step}/{self._total}, {text}", flush=True)

    def pause(self) -> None:
        """Takes what follows (an evaluation, a save) out of the speed."""
        self._last = time.monotonic()

    def close(self) -> None:
        """Leaves the bar where it is."""
        self._bar.close()
