"""Geometry: which part of the picture is seen, mirrored or not, and at what size."""

import cv2
import numpy as np

from jaxmatte.data.regions import Window


def crop_window(
    trimap: np.ndarray,
    rng: np.random.Generator,
    sizes: tuple[int, ...],
    fallback: int,
    unknown: float,
) -> Window:
    """GFM's crop rule: a square whose top-left corner is, half the time, an unknown pixel.

    The side is drawn from `sizes`; where that is not less than the shorter side of the picture it
    is `fallback`, and the whole shorter side where even that is too large. With probability
    `unknown` the corner is drawn from the unknown pixels that leave room for the square, otherwise
    (and where there is none) from all that do.

    Args:
        trimap: [H,W] uint8, unknown where 128.
        rng: The example's own random numbers.
        sizes: Sides to draw from, in pixels of the picture.
        fallback: The side for pictures that the drawn one does not fit.
        unknown: Probability of a corner on an unknown pixel.
    """
    height, width = trimap.shape
    side = int(rng.choice(sizes))
    if side >= min(height, width):
        side = min(fallback, height, width)
    room = trimap[: height - side + 1, : width - side + 1]
    corners = np.flatnonzero(room == 128) if rng.random() < unknown else np.empty(0, np.int64)
    corner = int(corners[rng.integers(len(corners))] if len(corners) else rng.integers(room.size))
    top, left = divmod(corner, room.shape[1])
    return slice(top, top + side), slice(left, left + side)


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resizes [H,W] or [H,W,C] uint8 to a square of `size`, bilinear as GFM's loader does."""
    if pixels.shape[:2] == (size, size):
        return pixels
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR)


def mirror(pixels: np.ndarray) -> np.ndarray:
    """Turns left and right."""
    return np.ascontiguousarray(pixels[:, ::-1])
