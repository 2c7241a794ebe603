"""Resizing and pooling as matrices: one [out, in] matrix an axis, one convention a name.

A picture is resized by multiplying its rows and its columns by such a matrix, so that NumPy on
the host and XLA on the device follow the same numbers. NumPy only: `data/` uses this too.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from jaxmatte.errors import UserError


def _between(
    coordinates: np.ndarray, size: int, border: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The samples on both sides of `coordinates` [out], and the share of the second one."""
    left = np.floor(coordinates).astype(int)
    fraction = coordinates - left
    return _inside(left, size, border), _inside(left + 1, size, border), fraction


def _interpolation(coordinates: np.ndarray, size: int, border: str) -> np.ndarray:
    """Linear interpolation of `size` samples at `coordinates` [out] -> [out, size]."""
    left, right, fraction = _between(coordinates, size, border)
    matrix = np.zeros((len(coordinates), size))
    rows = np.arange(len(coordinates))
    np.add.at(matrix, (rows, left), 1.0 - fraction)
    np.add.at(matrix, (rows, right), fraction)
    return matrix


def _inside(index: np.ndarray, size: int, border: str) -> np.ndarray:
    """Folds indices beyond the border: "clamp" repeats the edge, "mirror" turns back at it."""
    if border == "clamp" or size == 1:
        return np.clip(index, 0, size - 1)
    period = 2 * (size - 1)
    index = np.abs(index) % period
    return np.where(index < size, index, period - index)


def _half_pixel(source: int, target: int) -> np.ndarray:
    """Centres of the `target` pixels on the grid of the `source` pixels -> [target]."""
    return (np.arange(target) + 0.5) * (source / target) - 0.5


def _aligned(source: int, target: int) -> np.ndarray:
    """The first and last samples of both grids coincide -> [target]."""
    return np.arange(target) * ((source - 1) / (target - 1) if target > 1 else 0.0)


def _bilinear(source: int, target: int) -> np.ndarray:
    """Half-pixel centres, clamped edge: torch align_corners=False, cv2 INTER_LINEAR on floats."""
    return _interpolation(_half_pixel(source, target), source, "clamp")


def _align_corners(source: int, target: int) -> np.ndarray:
    """Corners upon corners, clamped edge: torch align_corners=True."""
    return _interpolation(_aligned(source, target), source, "clamp")


def _nearest(source: int, target: int) -> np.ndarray:
    """The sample at floor(i * source / target): torch and cv2 "nearest"."""
    return np.eye(source)[np.arange(target) * source // target]


def gaussian_taps(sigma: float) -> np.ndarray:
    """A Gaussian kernel, cut at four sigma, with sum 1: an odd number of taps."""
    radius = int(4.0 * sigma + 0.5)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return taps / taps.sum()


def _gaussian(size: int, sigma: float) -> np.ndarray:
    """Gaussian smoothing, mirrored border -> [size, size]."""
    taps = gaussian_taps(sigma)
    offsets = np.arange(len(taps)) - len(taps) // 2
    columns = _inside(np.arange(size)[:, None] + offsets, size, "mirror")
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size)[:, None], columns), taps)
    return matrix


def _skimage(source: int, target: int) -> np.ndarray:
    """skimage.transform.resize by its defaults: smoothed where it shrinks, mirrored border."""
    matrix = _interpolation(_half_pixel(source, target), source, "mirror")
    if target < source:
        matrix = matrix @ _gaussian(source, (source / target - 1.0) / 2.0)
    return matrix


def _adaptive_average(source: int, target: int) -> np.ndarray:
    """Mean of samples floor(i*source/target) .. ceil((i+1)*source/target)-1: torch's windows."""
    matrix = np.zeros((target, source))
    for i in range(target):
        first, last = i * source // target, -((-(i + 1) * source) // target)
        matrix[i, first:last] = 1.0 / (last - first)
    return matrix


_METHODS: dict[str, Callable[[int, int], np.ndarray]] = {
    "bilinear": _bilinear,
    "align_corners": _align_corners,
    "nearest": _nearest,
    "skimage": _skimage,
    "adaptive_average": _adaptive_average,
}


# Methods that look at two samples each, and where: large ones need no matrix.
_COORDINATES = {"bilinear": _half_pixel, "align_corners": _aligned}


def neighbours(
    source: int, target: int, method: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The two samples of `source` that each of `target` lies between, and the second one's share.

    None for the methods that look at other numbers of samples.
    """
    if method not in _COORDINATES:
        return None
    return _between(_COORDINATES[method](source, target), source, "clamp")


@lru_cache(maxsize=32)  # of at most some ten megabytes each
def _matrix64(source: int, target: int, method: str) -> np.ndarray:
    if method not in _METHODS:
        raise UserError(f"resize method {method!r} is not one of {', '.join(_METHODS)}")
    if source < 1 or target < 1:
        raise UserError(f"cannot resize {source} samples to {target}: both must be at least 1")
    matrix = _METHODS[method](source, target)
    matrix.flags.writeable = False
    return matrix


def matrix(source: int, target: int, method: str = "bilinear") -> np.ndarray:
    """The resize of `source` samples to `target` -> [target, source] float32.

    Args:
      source: number of samples in.
      target: number of samples out.
      method: "bilinear" (half-pixel centres, clamped edge), "align_corners", "nearest",
        "skimage" (its default: antialiased when shrinking, mirrored border), "adaptive_average".
    """
    return _matrix64(source, target, method).astype(np.float32)


def resize(array: np.ndarray, shape: tuple[int, int], method: str = "bilinear") -> np.ndarray:
    """Resizes [H, W] or [..., H, W, C] to `shape` = (height, width), never rounding.

    The result is float32 where the array is float32 or less, float64 otherwise (integers too).
    """
    dtype: Any = np.float32 if array.dtype in (np.float16, np.float32) else np.float64
    height_axis = 0 if array.ndim == 2 else array.ndim - 3
    rows = _matrix64(array.shape[height_axis], int(shape[0]), method).astype(dtype)
    columns = _matrix64(array.shape[height_axis + 1], int(shape[1]), method).astype(dtype)
    values = array.astype(dtype)
    if array.ndim == 2:
        return rows @ values @ columns.T
    # [..., H, W, C]: the rows act on H with (W, C) joined, the columns act on W row by row.
    *lead, height, width, channels = values.shape
    values = rows @ values.reshape(*lead, height, width * channels)
    return columns @ values.reshape(*lead, len(rows), width, channels)
