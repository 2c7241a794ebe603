"""Trimaps and bands on the host, by OpenCV, within a window of the picture; labels as runs.

`jaxmatte.labels` gives the same on the device, bit for bit; the tests hold the two together.
"""

from collections.abc import Callable

import cv2
import numpy as np

from jaxmatte.data.rows import Window


def trimap(alpha: np.ndarray, size: int, window: Window | None = None) -> np.ndarray:
    """GFM's trimap: uint8 [H,W] alpha to 0, 128 (unknown), 255, with one elliptical kernel."""
    around, inner = _reach(window, size, alpha.shape)
    dilated, eroded = _dilated(alpha[around], size), _eroded(alpha[around], size)
    return np.where(eroded == 1, 255, np.where(dilated == 1, 128, 0)).astype(np.uint8)[inner]


def dilation(alpha: np.ndarray, size: int, window: Window | None = None) -> np.ndarray:
    """The dilated foreground, 0 or 255, within the window: BT's glance target."""
    around, inner = _reach(window, size, alpha.shape)
    return 255 * _dilated(alpha[around], size)[inner]


def erosion(alpha: np.ndarray, size: int, window: Window | None = None) -> np.ndarray:
    """The eroded foreground, 0 or 255, within the window: FT's glance target."""
    around, inner = _reach(window, size, alpha.shape)
    return 255 * _eroded(alpha[around], size)[inner]


# What a prepared store keeps as runs, by the name of the field before the kernel's size.
LABELS: dict[str, Callable[..., np.ndarray]] = {
    "trimap": trimap,
    "dilation": dilation,
    "erosion": erosion,
}


def _dilated(alpha: np.ndarray, size: int) -> np.ndarray:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return cv2.dilate((alpha != 0).astype(np.uint8), kernel)


def _eroded(alpha: np.ndarray, size: int) -> np.ndarray:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return cv2.erode((alpha == 255).astype(np.uint8), kernel)


def _reach(window: Window | None, size: int, shape: tuple[int, ...]) -> tuple[Window, Window]:
    """What a kernel needs to see around a window, and the window within that."""
    whole = (slice(0, shape[0]), slice(0, shape[1]))
    return with_margin(window or whole, size, (shape[0], shape[1]))


def with_margin(window: Window, margin: int, shape: tuple[int, int]) -> tuple[Window, Window]:
    """Widens a window by a margin as far as the picture goes.

    Returns the wider window in the picture, and the first window within it. What a kernel gives
    there is what it gives on the whole picture, since at a true border nothing is cut off.
    """
    around, inner = [], []
    for part, length in zip(window, shape, strict=True):
        start, stop = max(part.start - margin, 0), min(part.stop + margin, length)
        around.append(slice(start, stop))
        inner.append(slice(part.start - start, part.stop - start))
    return (around[0], around[1]), (inner[0], inner[1])


class Runs:
    """Labels [H,W] as runs along their rows: small on file, quick to search and to cut from.

    Attributes:
        size: Height and width.
        first: Number of each row's first run, and the number of all: [H + 1].
        starts: Column where each run starts: [N].
        labels: Value of each run: [N] uint8.
    """

    def __init__(
        self, size: tuple[int, int], first: np.ndarray, starts: np.ndarray, labels: np.ndarray
    ):
        self.size, self.first, self.starts, self.labels = size, first, starts, labels

    @classmethod
    def of(cls, labels: np.ndarray) -> "Runs":
        """The runs of labels [H,W] uint8."""
        height, width = labels.shape
        begins = np.ones((height, width), bool)
        np.not_equal(labels[:, 1:], labels[:, :-1], out=begins[:, 1:])
        places = np.flatnonzero(begins)
        first = np.searchsorted(places, np.arange(height + 1) * width)
        return cls((height, width), first, places % width, labels.ravel()[places])

    def read(self, window: Window | None = None) -> np.ndarray:
        """The labels of a window, or all: [h,w]."""
        rows, columns = window or (slice(0, self.size[0]), slice(0, self.size[1]))
        labels, begins, ends = self._clipped(rows, columns)
        width = columns.stop - columns.start
        return np.repeat(labels, ends - begins).reshape(-1, width)

    def pick(
        self, label: int, height: int, width: int, rng: np.random.Generator
    ) -> tuple[int, int] | None:
        """A pixel with a label, drawn from those in the first rows and columns; None if none is."""
        labels, begins, ends = self._clipped(slice(0, height), slice(0, width))
        mine = np.flatnonzero(labels == label)
        begins = begins[mine].astype(np.int64)
        before = np.cumsum(ends[mine] - begins)
        if not len(before) or not before[-1]:
            return None
        number = int(rng.integers(before[-1]))
        run = int(np.searchsorted(before, number, side="right"))
        row = int(np.searchsorted(self.first, mine[run], side="right")) - 1
        # The run's pixels are numbered up to `before`, where its end is.
        return row, int(ends[mine[run]]) - int(before[run] - number)

    def _clipped(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The runs of some rows: label, and begin and end within the columns, which may be one."""
        bounds = self.first[rows.start : rows.stop + 1].astype(np.int64)
        part = slice(int(bounds[0]), int(bounds[-1]))
        begins = np.minimum(np.maximum(self.starts[part], columns.start), columns.stop)
        ends = np.empty_like(begins)
        ends[:-1] = begins[1:]
        ends[bounds[1:] - bounds[0] - 1] = columns.stop  # a row's last run ends with the row
        return self.labels[part], begins, ends
