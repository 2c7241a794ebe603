"""Trimaps of an alpha, as the papers draw them: 0 is background, 128 unknown, 255 foreground.

All of them shrink what is opaque and widen what is not empty; what lies between is unknown. They
differ in the kernels and in how those are drawn. Ellipses are OpenCV's: those of an even size are
lopsided, and a dilation does not turn them around. Pixels outside the picture never win.
GFM's trimap, of one fixed ellipse in a window, is in `regions`.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from jaxmatte.errors import UserError


def grow(
    alpha: np.ndarray,
    shrinking: np.ndarray,
    widening: np.ndarray,
    iterations: int = 1,
    opaque: int = 255,
) -> np.ndarray:
    """The trimap that two kernels make.

    Args:
        alpha: [H,W] uint8.
        shrinking: The kernel that erodes what is opaque; it holds its own centre.
        widening: The kernel that dilates what is not empty; it holds its own centre.
        iterations: How often each is applied.
        opaque: The smallest alpha that counts as opaque.

    Returns:
        [H,W] uint8: 0, 128, 255.
    """
    # One kernel pass each on 127 and 128: their sum is the trimap, because each kernel holds its
    # centre, so that what stays opaque was never empty.
    eroded = cv2.erode((alpha >= opaque) * np.uint8(127), shrinking, iterations=iterations)
    dilated = cv2.dilate((alpha > 0) * np.uint8(128), widening, iterations=iterations)
    return cv2.add(eroded, dilated)


def fixed(
    alpha: np.ndarray, rng: np.random.Generator | None = None, size: int = 25, iterations: int = 1
) -> np.ndarray:
    """One ellipse for both sides, nothing drawn; PaddleSeg validates with 25 pixels."""
    kernel = _ellipse(_at_least_one(size, "size"))
    return grow(alpha, kernel, kernel, _at_least_one(iterations, "iterations"))


def independent(
    alpha: np.ndarray, rng: np.random.Generator, sizes: Sequence[int] = (1, 29)
) -> np.ndarray:
    """Two ellipses, each size drawn by itself, once: mmagic's and GCA's.

    mmagic erodes and dilates the alpha itself, GCA erodes the masks of what is opaque and of what
    is empty; both come to the same pixels.
    """
    shrinking, widening = (_ellipse(_drawn(rng, sizes, "sizes")) for _ in range(2))
    return grow(alpha, shrinking, widening)


def repeated(
    alpha: np.ndarray,
    rng: np.random.Generator,
    sizes: Sequence[int] = (2, 4),
    iterations: Sequence[int] = (5, 14),
) -> np.ndarray:
    """One small ellipse, applied many times on both sides: hct's and PaddleSeg's.

    PaddleSeg's thresholds of 254.5 and 0.5 and hct's of 255 and 0 are the same on 8 bits.
    """
    kernel = _ellipse(_drawn(rng, sizes, "sizes"))
    return grow(alpha, kernel, kernel, _drawn(rng, iterations, "iterations"))


def squares(
    alpha: np.ndarray,
    rng: np.random.Generator,
    steps: Sequence[int] = (10, 20),
    opaque: float = 0.9,
) -> np.ndarray:
    """Two squares, each drawn by itself: the recipe that MODNet's author gives.

    A side is a number of `steps` times a 256th of the picture's shorter side, rounded down. Even
    squares lie where SciPy's grey_dilation and grey_erosion have them: the one looks a pixel
    further down and right, the other up and left. What is opaque starts at the share `opaque`.
    """
    unit = max(min(alpha.shape) // 256, 1)
    widening, shrinking = (unit * _drawn(rng, steps, "steps") for _ in range(2))
    return square_grow(alpha, shrinking, widening, opaque)


def square_grow(alpha: np.ndarray, shrinking: int, widening: int, opaque: float) -> np.ndarray:
    """The trimap of two squares; see `squares`."""
    solid = (alpha >= opaque * 255) * np.uint8(127)
    there = (alpha > 0) * np.uint8(128)
    eroded = cv2.erode(solid, np.ones((shrinking, shrinking), np.uint8))
    before = (widening - 1) // 2
    dilated = cv2.dilate(there, np.ones((widening, widening), np.uint8), anchor=(before, before))
    return cv2.add(eroded, dilated)


Maker = Callable[..., np.ndarray]

MAKERS: Mapping[str, Maker] = {
    "mmagic": independent,
    "hct": repeated,
    "paddle": repeated,
    "gca": independent,
    "modnet": squares,
    "fixed": fixed,
}


def make(
    name: str, alpha: np.ndarray, rng: np.random.Generator, options: Mapping[str, Any] | None = None
) -> np.ndarray:
    """The trimap that the maker of a name draws.

    Args:
        name: A key of `MAKERS`.
        alpha: [H,W] uint8.
        rng: The example's own random numbers.
        options: The maker's ranges, its keyword arguments; the published ones where not given.

    Raises:
        UserError: for a name or a range that there is not.
    """
    if name not in MAKERS:
        raise UserError(f"trimap.name={name!r} is not known; there are: {', '.join(MAKERS)}")
    maker, ranges = MAKERS[name], dict(options or {})
    known = list(inspect.signature(maker).parameters)[2:]  # after alpha and rng
    unknown = sorted(set(ranges) - set(known))
    if unknown:
        raise UserError(f"trimap.{name} has no {unknown[0]!r}; there are: {', '.join(known)}")
    return maker(alpha, rng, **ranges)


def _ellipse(size: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


def _drawn(rng: np.random.Generator, ends: Sequence[int], name: str) -> int:
    """A whole number between two ends, both of which can be drawn."""
    low, high = ends
    if high < low:
        raise UserError(f"trimap {name}={tuple(ends)}: the second must not be below the first")
    return int(rng.integers(_at_least_one(low, name), high + 1))


def _at_least_one(value: int, name: str) -> int:
    if value < 1:
        raise UserError(f"trimap {name}: {value} pixels or passes are too few; give 1 or more")
    return value
