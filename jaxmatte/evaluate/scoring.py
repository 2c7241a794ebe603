"""One picture after another: read, looked at, measured; what the threads do."""

import dataclasses
import pathlib
import threading
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from jaxmatte.data import sources
from jaxmatte.errors import BrokenData
from jaxmatte.evaluate.columns import Column, clip
from jaxmatte.evaluate.matching import Matches
from jaxmatte.metrics import colours, pair, video
from jaxmatte.metrics.measure import METRICS
from jaxmatte.metrics.protocols import Protocol

DTSSD = "dtssd"  # only where a protocol averages over clips
FOREGROUND = {
    "foreground_sad": colours.foreground_sad,
    "foreground_mse": colours.foreground_mse,
    "foreground_mad": colours.foreground_mad,
}

# Every kind of note, in the order in which a person reads them, and what it means.
NOTES = {
    "empty regions": "no pixel is measured, which counts as 0",
    "unusual trimaps": "values other than 0, 128 and 255 belong to no region",
    "coloured mattes": "their channels differ; only one is read",
    "frames without dtSSD": "the one before is missing, unreadable or of another size",
    "missing images": "the gallery does without",
}

_UNUSUAL = np.isin(np.arange(256), (0, 128, 255), invert=True).astype(np.uint8)
_READ = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION

Planes = dict[str, np.ndarray]  # by the folder's role


@dataclasses.dataclass
class Scored:
    """What became of a picture.

    Attributes:
        row: Its name and a number a column; None where something was wrong with it.
        problems: Each a kind and a line.
        notes: Each a kind and a line.
    """

    row: dict[str, Any] | None = None
    problems: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    notes: list[tuple[str, str]] = dataclasses.field(default_factory=list)


class Scorer:
    """Measures pictures by their numbers, in any thread."""

    def __init__(self, matches: Matches, columns: Sequence[Column]):
        """Keeps what to read and what to measure.

        Args:
            matches: Which files belong together.
            columns: What is measured.
        """
        self._matches = matches
        self._roles = [role for role in matches.folders.given if role != "images"]
        self._by_protocol: dict[Protocol, list[Column]] = {}
        for column in columns:
            self._by_protocol.setdefault(column.protocol, []).append(column)
        self.follows_clips = any(column.metric == DTSSD for column in columns)
        self.stop = threading.Event()

    def score(self, start: int, stop: int) -> list[Scored]:
        """Measures pictures that follow each other, until `self.stop` is set."""
        before = None
        if self.follows_clips and not self._begins(start):
            before = self._read(start - 1, Scored())
        found = []
        for index in range(start, stop):
            if self.stop.is_set():
                break
            scored = Scored()
            planes = self._read(index, scored)
            if planes is not None:
                scored.row = self._measure(index, planes, before, scored)
            before = planes
            found.append(scored)
        return found

    def _begins(self, index: int) -> bool:
        """Whether it is the first frame of a clip."""
        names = self._matches.names
        return not index or clip(names[index]) != clip(names[index - 1])

    def _read(self, index: int, scored: Scored) -> Planes | None:
        """The planes of a picture; None where one is missing, unreadable or of another size."""
        if not self._matches.whole[index]:
            return None
        planes: Planes = {}
        paths = {role: self._matches.path(role, index) for role in self._roles}
        for role, path in paths.items():
            assert path is not None  # or it would not be whole
            try:
                planes[role], coloured = _READERS.get(role, _read_grey)(path)
            except BrokenData as error:
                scored.problems.append(("unreadable files", str(error)))
                continue
            if coloured:
                scored.notes.append(("coloured mattes", str(path)))
            if role == "trimaps" and (odd := _unusual(planes[role])):
                scored.notes.append(("unusual trimaps", f"{path}: {odd}"))
        if scored.problems:
            return None
        truth = planes["truth"]
        for role, plane in planes.items():
            if plane.shape[:2] != truth.shape:
                sizes = f"{paths[role]} is {_size(plane)}, {paths['truth']} {_size(truth)}"
                scored.problems.append(("wrong sizes", sizes))
        return None if scored.problems else planes

    def _measure(
        self, index: int, planes: Planes, before: Planes | None, scored: Scored
    ) -> dict[str, Any]:
        """The row of a picture."""
        name = self._matches.names[index]
        row: dict[str, Any] = {"name": name}
        truth, trimap = planes["truth"], planes.get("trimaps")
        first = self._begins(index)
        if before is not None and before["truth"].shape != truth.shape:
            before = None
        if self.follows_clips and before is None and not first:
            scored.notes.append(("frames without dtSSD", name))
        for protocol, columns in self._by_protocol.items():
            ready = pair.prepare(planes["predictions"], truth, trimap, protocol)
            if not ready.pixels:
                scored.notes.append(("empty regions", f"{name} [{protocol.name}]"))
            for column in columns:
                if column.metric == DTSSD:
                    row[column.name] = 0.0 if first else _change(before, planes, protocol)
                elif column.metric in FOREGROUND:
                    both = planes["foregrounds"], planes["true_foregrounds"]
                    value = FOREGROUND[column.metric](*both, truth, trimap, protocol)
                    row[column.name] = value
                else:
                    row[column.name] = METRICS[column.metric](ready)
        return row


def _change(before: Planes | None, planes: Planes, protocol: Protocol) -> float | None:
    """The dtSSD between a frame and the one before it."""
    if before is None:
        return None
    return video.dtssd(
        before["predictions"],
        planes["predictions"],
        before["truth"],
        planes["truth"],
        planes.get("trimaps"),
        protocol,
    )


def _read_grey(path: pathlib.Path) -> tuple[np.ndarray, bool]:
    """A matte [H,W] uint8, and whether it was coloured."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BrokenData(f"cannot read {path}: {error.strerror}") from None
    pixels = sources.decode(content, _READ, str(path))
    coloured = False
    if pixels.ndim == 3:
        first, *others = cv2.split(pixels[..., :3])
        coloured = not all(np.array_equal(first, other) for other in others)
    return sources.to_grey(pixels, str(path)), coloured


def _read_colour(path: pathlib.Path) -> tuple[np.ndarray, bool]:
    """Colours [H,W,3] uint8, which may well differ."""
    return sources.read_colour(path), False


_READERS = {"foregrounds": _read_colour, "true_foregrounds": _read_colour}


def _unusual(trimap: np.ndarray) -> str:
    """The values of a trimap that are none of a trimap's."""
    if not cv2.countNonZero(cv2.LUT(trimap, _UNUSUAL)):
        return ""
    there = np.flatnonzero(np.bincount(trimap.ravel(), minlength=256) * _UNUSUAL).tolist()
    return ", ".join(map(str, there[:8])) + f" and {len(there) - 8} more" * (len(there) > 8)


def _size(plane: np.ndarray) -> str:
    return f"{plane.shape[1]}x{plane.shape[0]}"
