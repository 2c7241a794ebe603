"""Trimaps of an alpha, as the papers draw them: 0 is background, 128 unknown, 255 foreground.

All of them shrink what is opaque and widen what is not empty; what lies between is unknown. They
differ in the kernels and in how those are drawn. A kernel sees only so far, so that a window's
trimap is made of the window and what lies around it. Ellipses are OpenCV's: those of an even size
are lopsided, and a dilation does not turn them around. Pixels outside the picture never win.
GFM's trimap, of one fixed ellipse in a window, is in `regions`.
"""

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from jaxmatte.data.regions import with_margin
from jaxmatte.data.rows import Window
from jaxmatte.errors import UserError


@dataclasses.dataclass(frozen=True)
class Kernels:
    """What a trimap is made with, once it is drawn.

    Attributes:
        shrinking: Erodes what is opaque; it holds its own centre.
        widening: Dilates what is not empty; it holds its own centre.
        iterations: How often each is applied.
        opaque: The smallest alpha that counts as opaque.
        centre: Of `widening`, in pixels from its corner; -1 is its middle.
    """

    shrinking: np.ndarray
    widening: np.ndarray
    iterations: int = 1
    opaque: int = 255
    centre: int = -1

    @property
    def reach(self) -> int:
        """How far around a pixel they look at most."""
        return max(max(self.shrinking.shape), max(self.widening.shape)) // 2 * self.iterations

    def trimap(self, alpha: np.ndarray) -> np.ndarray:
        """The trimap [H,W] uint8, 0, 128 or 255, of an alpha [H,W] uint8."""
        # One kernel pass each on 127 and 128: their sum is the trimap, because each kernel holds
        # its centre, so that what stays opaque was never empty.
        solid, there = (alpha >= self.opaque) * np.uint8(127), (alpha > 0) * np.uint8(128)
        eroded = cv2.erode(solid, self.shrinking, iterations=self.iterations)
        anchor = (self.centre, self.centre)
        dilated = cv2.dilate(there, self.widening, anchor=anchor, iterations=self.iterations)
        return cv2.add(eroded, dilated)

    def within(
        self, read: Callable[[Window], np.ndarray], window: Window, shape: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Alpha and trimap [h,w] of a window, as they are in the whole picture.

        Args:
            read: Gives the alpha of any window.
            window: The part of the picture that is wanted.
            shape: Height and width of the picture.
        """
        around, inner = with_margin(window, self.reach, shape)
        alpha = read(around)
        return alpha[inner], self.trimap(alpha)[inner]


def fixed(
    shape: tuple[int, int], rng: np.random.Generator, size: int = 25, iterations: int = 1
) -> Kernels:
    """One ellipse for both sides, nothing drawn; PaddleSeg validates with 25 pixels."""
    kernel = _ellipse(_at_least_one(size, "size"))
    return Kernels(kernel, kernel, _at_least_one(iterations, "iterations"))


def independent(
    shape: tuple[int, int], rng: np.random.Generator, sizes: Sequence[int] = (1, 29)
) -> Kernels:
    """Two ellipses, each size drawn by itself, once: mmagic's and GCA's.

    mmagic erodes and dilates the alpha itself, GCA erodes the masks of what is opaque and of what
    is empty; both come to the same pixels.
    """
    shrinking, widening = (_ellipse(_drawn(rng, sizes, "sizes")) for _ in range(2))
    return Kernels(shrinking, widening)


def repeated(
    shape: tuple[int, int],
    rng: np.random.Generator,
    sizes: Sequence[int] = (2, 4),
    iterations: Sequence[int] = (5, 14),
) -> Kernels:
    """One small ellipse, applied many times on both sides: hct's and PaddleSeg's.

    PaddleSeg's thresholds of 254.5 and 0.5 and hct's of 255 and 0 are the same on 8 bits.
    """
    kernel = _ellipse(_drawn(rng, sizes, "sizes"))
    return Kernels(kernel, kernel, _drawn(rng, iterations, "iterations"))


def squares(
    shape: tuple[int, int],
    rng: np.random.Generator,
    steps: Sequence[int] = (10, 20),
    opaque: float = 0.9,
) -> Kernels:
    """Two squares, each drawn by itself: the recipe that MODNet's author gives.

    A side is a number of `steps` times a 256th of the picture's shorter side, rounded down. What is
    opaque starts at the share `opaque`.
    """
    unit = max(min(shape) // 256, 1)
    widening, shrinking = (unit * _drawn(rng, steps, "steps") for _ in range(2))
    return two_squares(shrinking, widening, opaque)


def two_squares(shrinking: int, widening: int, opaque: float) -> Kernels:
    """Squares of two sides.

    Even ones lie where SciPy's grey_dilation and grey_erosion have them: the one looks a pixel
    further down and right, the other up and left.
    """
    small, large = (np.ones((side, side), np.uint8) for side in (shrinking, widening))
    return Kernels(small, large, opaque=math.ceil(opaque * 255), centre=(widening - 1) // 2)


Maker = Callable[..., Kernels]

MAKERS: Mapping[str, Maker] = {
    "mmagic": independent,
    "hct": repeated,
    "paddle": repeated,
    "gca": independent,
    "modnet": squares,
    "fixed": fixed,
}


def draw(
    name: str,
    shape: tuple[int, int],
    rng: np.random.Generator,
    options: Mapping[str, Any] | None = None,
) -> Kernels:
    """Draws what the maker of a name makes a trimap with.

    Args:
        name: A key of `MAKERS`.
        shape: Height and width of the picture.
        rng: The example's own random numbers.
        options: The maker's ranges, its keyword arguments; the published ones where not given.

    Raises:
        UserError: for a name or a range that there is not.
    """
    if name not in MAKERS:
        raise UserError(f"trimap.name={name!r} is not known; there are: {', '.join(MAKERS)}")
    maker, ranges = MAKERS[name], dict(options or {})
    known = list(inspect.signature(maker).parameters)[2:]  # after shape and rng
    unknown = sorted(set(ranges) - set(known))
    if unknown:
        raise UserError(f"trimap.{name} has no {unknown[0]!r}; there are: {', '.join(known)}")
    return maker(shape, rng, **ranges)


def make(
    name: str, alpha: np.ndarray, rng: np.random.Generator, options: Mapping[str, Any] | None = None
) -> np.ndarray:
    """The trimap [H,W] of an alpha [H,W] uint8 by the maker of a name; see `draw`."""
    return draw(name, alpha.shape[:2], rng, options).trimap(alpha)


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
