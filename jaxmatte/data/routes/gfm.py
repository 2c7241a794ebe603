"""GFM's examples: RSSN, COMP-COCO or as photographed; labels, a crop, a mirror, a square.

A crop of 640 pixels or more is shrunk to the training size. Shrinking bilinearly by an odd factor
takes single pixels, so that those alone are composed; by an even one, all of the crop is.
"""

import cv2
import numpy as np
from ml_collections import ConfigDict

from jaxmatte.data import augment, compose
from jaxmatte.data.pool import Pool
from jaxmatte.data.regions import Runs
from jaxmatte.data.rows import Plane, Row, Window

_CLEAN = np.full(256, 128, np.uint8)  # what resizing leaves between the classes is unknown
_CLEAN[[0, 255]] = 0, 255


def example(
    row: Row, pool: Pool, options: ConfigDict, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """One example: uint8 [size,size,C] image, foreground, background, alpha and labels."""
    labels, size = options.labels, options.size
    trimap = pool.labels(row, "trimap", labels.trimap)
    window = crop(trimap, rng, options.crop.sizes, options.crop.fallback, options.crop.unknown)
    step = _step(window, size)
    alpha = compose.sampled(row.read("alpha", window), step)
    parts = _layers(row, pool, options, rng, window, step, alpha)
    parts["alpha"] = alpha
    parts["trimap"] = compose.sampled(trimap.read(window), step)
    if labels.bands:
        for kind in ("dilation", "erosion"):
            parts[kind] = compose.sampled(pool.label(row, kind, labels.band, window), step)
    flipped = rng.random() < options.flip
    made = {}
    for name, pixels in parts.items():
        pixels = augment.resize(pixels, size)
        pixels = augment.mirror(pixels) if flipped else pixels
        made[name] = pixels.reshape(size, size, -1)
    if labels.resized == "clean":
        made["trimap"] = cv2.LUT(made["trimap"], _CLEAN).reshape(size, size, 1)
    return made


def crop(
    trimap: Runs,
    rng: np.random.Generator,
    sizes: tuple[int, ...],
    fallback: int,
    unknown: float,
) -> Window:
    """GFM's rule: a square whose top-left corner is, half the time, an unknown pixel.

    The side is drawn from `sizes`; where that is not less than the shorter side of the picture it
    is `fallback`, and the whole shorter side where even that is too large. With probability
    `unknown` the corner is drawn from the unknown pixels that leave room for the square, otherwise
    (and where there is none) from all that do.

    Args:
        trimap: Of the whole picture; unknown where 128.
        rng: The example's own random numbers.
        sizes: Sides to draw from, in pixels of the picture.
        fallback: The side for pictures that the drawn one does not fit.
        unknown: Probability of a corner on an unknown pixel.
    """
    height, width = trimap.size
    side = int(rng.choice(sizes))
    if side >= min(height, width):
        side = min(fallback, height, width)
    room = (height - side + 1, width - side + 1)
    corner = trimap.pick(128, *room, rng) if rng.random() < unknown else None
    if corner is None:
        corner = divmod(int(rng.integers(room[0] * room[1])), room[1])
    top, left = corner
    return slice(top, top + side), slice(left, left + side)


def _step(window: Window, size: int) -> int:
    """How many pixels of the crop one of the result stands for, where that is an odd number."""
    side = window[0].stop - window[0].start
    factor, rest = divmod(side, size)
    return factor if rest == 0 and factor % 2 else 1


def _layers(
    row: Row,
    pool: Pool,
    options: ConfigDict,
    rng: np.random.Generator,
    window: Window,
    step: int,
    alpha: np.ndarray,
) -> dict[str, np.ndarray]:
    """Image, foreground and background within the window, where the alpha is known."""
    settings = options.compose
    if settings.route == "none" or rng.random() >= settings.share:
        front, behind = pool.separated(row, window)
        layers = {"image": row.read("image", window), "foreground": front, "background": behind}
        return {name: compose.sampled(pixels, step) for name, pixels in layers.items()}
    drawn = compose.draw(rng, settings) if settings.route == "rssn" else compose.Draw()
    other = pool.background(rng, row)
    front = compose.sampled(_foreground(row, pool, window, drawn), step)
    plane = _plane(other, pool, drawn)
    behind = compose.behind(plane, other.size, row.size, window, step, drawn.blur)
    noise = compose.draw_noise(front.shape, settings.noise_sigma, rng) if drawn.noise else None
    image, front, behind = compose.rssn(front, behind, alpha, noise, settings.noise_wraps)
    return {"image": image, "foreground": front, "background": compose.to_bytes(behind)}


def _foreground(row: Row, pool: Pool, window: Window, drawn: compose.Draw) -> np.ndarray:
    plane = pool.denoised(row, "foreground") if drawn.denoise else None
    return plane.read(window) if plane is not None else pool.colours(row, window)


def _plane(background: Row, pool: Pool, drawn: compose.Draw) -> Plane:
    plane = pool.denoised(background, "background") if drawn.denoise else None
    return plane if plane is not None else background.plane("background")
