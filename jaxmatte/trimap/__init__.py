"""Trimaps of masks and coarse alphas: `python -m jaxmatte.trimap`, and `make` in Python.

What a person drew or a network found is wrong at its border, by a pixel or by a head of hair. So
around the border lies a band that is unknown: as wide everywhere (`fixed`), as wide as is drawn for
each picture (`random`), or as wide as the border is detailed there (`adaptive`). The makers that
papers train with are in `jaxmatte.data.trimaps`; they trust every byte of an alpha. NumPy and
OpenCV only.
"""

import dataclasses
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from jaxmatte.data import trimaps
from jaxmatte.errors import UserError

__all__ = ["CERTAIN", "METHODS", "adaptive", "fixed", "make", "random", "to_alpha"]

CERTAIN = 0.95  # compression and networks seldom give 0 and 1
_WIDTHS = 12  # of a band that are told apart
_SQUARE = np.ones((3, 3), np.uint8)


def make(
    mask: np.ndarray,
    method: str = "adaptive",
    *,
    seed: int | Sequence[int] = 0,
    certain: float = CERTAIN,
    **options: Any,
) -> np.ndarray:
    """The trimap of a mask or a coarse alpha: 0 is background, 128 unknown, 255 foreground.

    What is neither background nor subject is unknown by every method. A mask that is all one of
    them has no border: its trimap is all 0 or all 255.

    Args:
        mask: `[H, W]` or `[H, W, 1]`: bool, 0 and 1, bytes, 16 bits, or floats in 0..1.
        method: adaptive, fixed or random; see the functions of these names.
        seed: Of what is drawn; the same one gives the same trimap.
        certain: The share from which on a pixel is subject; it is background up to 1 - certain.
        options: The method's keyword arguments.

    Returns:
        `[H, W]` uint8; the mask is not changed.

    Raises:
        UserError: for a mask, a method or an option that makes no sense.
    """
    if method not in METHODS:
        raise UserError(f"trimap: no method {method!r}; there are: {', '.join(METHODS)}")
    known = list(inspect.signature(METHODS[method]).parameters)[2:]  # after alpha and rng
    for name in options:
        if name not in known:
            raise UserError(f"trimap: {method} has no {name!r}; it has: {', '.join(known)}")
    if not 0.5 < certain <= 1:
        raise UserError(f"trimap: certain={certain:g} should be a share above 0.5 and up to 1")
    alpha, slack = to_alpha(mask), round(255 * (1 - certain))
    alpha = np.where(alpha <= slack, 0, np.where(alpha >= 255 - slack, 255, alpha))
    return METHODS[method](alpha.astype(np.uint8), np.random.default_rng(seed), **options)


def to_alpha(mask: np.ndarray) -> np.ndarray:
    """A mask as bytes `[H, W]`; where whole numbers go no further than 1, 1 is the subject."""
    plane = mask[..., 0] if mask.ndim == 3 and mask.shape[2] == 1 else mask
    if plane.ndim != 2 or not plane.size:
        raise UserError(f"trimap: a mask is [H, W], this is {mask.shape}")
    least, greatest = plane.min(), plane.max()
    if np.issubdtype(plane.dtype, np.floating):
        if not (least > -1e-3 and greatest < 1 + 1e-3):  # written so that NaN fails too
            raise UserError(f"trimap: floats lie in 0..1, these in {least:g}..{greatest:g}")
        return np.rint(255 * np.clip(plane, 0, 1)).astype(np.uint8)
    if plane.dtype != bool and not np.issubdtype(plane.dtype, np.integer):
        raise UserError(f"trimap: a mask holds numbers, not {plane.dtype}")
    if least < 0 or greatest > 65535:
        raise UserError(f"trimap: whole numbers go from 0 to 65535, not {least} to {greatest}")
    if greatest <= 1:
        return plane.astype(np.uint8) * np.uint8(255)
    if plane.dtype == np.uint16 or greatest > 255:  # to the nearest
        return ((plane.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return plane.astype(np.uint8)


def fixed(
    alpha: np.ndarray, rng: np.random.Generator, size: int = 25, iterations: int = 1
) -> np.ndarray:
    """A band of one width: an ellipse of `size` pixels, on both sides, so many times."""
    return trimaps.fixed(alpha.shape, rng, size, iterations).trimap(alpha)


def random(
    alpha: np.ndarray,
    rng: np.random.Generator,
    sizes: Sequence[int] = (5, 29),
    iterations: int = 1,
) -> np.ndarray:
    """Two ellipses, each of a size drawn by itself: the border is not in the middle of the band.

    Args:
        alpha: `[H, W]` uint8.
        rng: What is drawn from.
        sizes: The least and the greatest, in pixels; both can be drawn.
        iterations: How often each is applied.
    """
    _at_least_one(iterations, "iterations")
    kernels = trimaps.independent(alpha.shape, rng, sizes)
    return dataclasses.replace(kernels, iterations=iterations).trimap(alpha)


def adaptive(
    alpha: np.ndarray, rng: np.random.Generator, narrow: float = 0.02, wide: float = 0.08
) -> np.ndarray:
    """A band that is wide where the border is soft or ragged, and narrow along a hard edge.

    With s the side of a square of the subject's area (the root of the sum of alpha), what is
    neither background nor subject and what lies within narrow s of an edge is detail. Its share of
    the neighbourhood of a pixel p (a Gaussian of deviation wide s / 2) is u(p), which is
    u0 = erf(sqrt(2) narrow / wide) where one straight hard edge passes. Unknown is what lies no
    further than

        r(p) = s (narrow + (wide - narrow) min(1, 2 max(0, u(p) - u0) / (1 - u0)))

    from a border pixel p, and no less than 1 pixel. So the band is widest where half of what a hard
    edge would leave is detail too, as where a transition is wide, or between strands and leaves;
    and a picture at twice the size has the same trimap at twice the size.

    Args:
        alpha: `[H, W]` uint8.
        rng: Nothing is drawn.
        narrow: Reach to either side of a hard edge, as a share of s.
        wide: The greatest reach.
    """
    if not 0 < narrow < wide <= 1:
        raise UserError(f"trimap: narrow={narrow:g} and wide={wide:g} are shares, the first less")
    touched = [cv2.dilate(m.astype(np.uint8), _SQUARE) for m in (alpha > 0, alpha < 255)]
    border = cv2.bitwise_and(*touched)
    known = np.where(alpha >= 128, np.uint8(255), np.uint8(0))
    if not border.any():
        return known
    side = math.sqrt(float(alpha.sum(dtype=np.float64)) / 255)
    least, most = max(narrow * side, 1.0), max(wide * side, 1.0)
    edge = math.erf(math.sqrt(2) * narrow / wide)
    excess = (_share(_within(border, least), most / 2) - edge) / (1 - edge)
    reach = least + (most - least) * np.clip(2 * excess, 0, 1)
    unknown = (alpha > 0) & (alpha < 255)
    for width in np.geomspace(least, most, _WIDTHS):
        unknown |= _within(border & (reach >= width * (1 - 1e-6)).astype(np.uint8), width)
    return np.where(unknown, np.uint8(128), known)


def _within(border: np.ndarray, reach: float) -> np.ndarray:
    """What lies no further from an edge: bool [H,W]; its own pixels reach 1 to either side."""
    away = cv2.distanceTransform(1 - border, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    near: np.ndarray = away <= reach - 1
    return near


def _share(there: np.ndarray, sigma: float) -> np.ndarray:
    """The share of what is there around each pixel: float32 [H,W], by three boxes as a Gaussian."""
    side = 2 * round(sigma) + 1  # three have the variance (side^2 - 1) / 4
    share: np.ndarray = there.astype(np.float32)
    for _ in range(3):
        share = cv2.blur(share, (side, side), borderType=cv2.BORDER_REFLECT)
    return share


METHODS: dict[str, Callable[..., np.ndarray]] = {
    "adaptive": adaptive,
    "fixed": fixed,
    "random": random,
}


def _at_least_one(value: int, name: str) -> None:
    if value < 1:
        raise UserError(f"trimap: {name}={value}: at least 1 is needed")
