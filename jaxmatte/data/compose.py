"""Composition: a foreground laid over a background, as the papers do it.

Every function is pure; what is random is drawn first, into a `Draw`. Values are on the 0..255
scale, as float32 where they are not on file. All work is done in a window of the picture.
"""

import dataclasses

import cv2
import numpy as np
from ml_collections import ConfigDict

from jaxmatte import resampling
from jaxmatte.data.regions import Window, with_margin

LARGEST_MARGIN = 64  # more than half of any blur kernel: what lies around the window and matters


@dataclasses.dataclass(frozen=True)
class Draw:
    """One example's coin flips in RSSN, in the order of its algorithm."""

    denoise: bool = False
    blur: int = 0  # size of the box, 0 for none
    noise: bool = False


def draw(rng: np.random.Generator, options: ConfigDict) -> Draw:
    """Flips the coins of RSSN with the probabilities of the configuration."""
    denoise = bool(rng.random() < options.denoise)
    blur = int(rng.choice(options.blur_kernels)) if rng.random() < options.blur else 0
    return Draw(denoise, blur, bool(rng.random() < options.noise))


def blend(foreground: np.ndarray, background: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Equation 1, alpha F + (1 - alpha) B, cut to uint8 as the released loader does.

    Args:
        foreground: [H,W,3], straight colours.
        background: [H,W,3].
        alpha: [H,W] uint8.
    """
    opacity = (alpha.astype(np.float32) / 255.0)[..., None]
    mixed = opacity * foreground.astype(np.float32) + (1.0 - opacity) * background
    return mixed.astype(np.uint8)


def fit(background: np.ndarray, shape: tuple[int, int], window: Window) -> np.ndarray:
    """The window of a background that has been resized to the foreground's shape.

    The aspect is not kept; the resize is scikit-image's, antialiased when it shrinks.

    Args:
        background: [H,W,3] uint8.
        shape: Height and width of the foreground.
        window: The part of that shape that is wanted.

    Returns:
        [h,w,3] float32.
    """
    if background.shape[:2] == shape:
        return background[window].astype(np.float32)
    rows, used_rows = _part(background.shape[0], shape[0], window[0])
    columns, used_columns = _part(background.shape[1], shape[1], window[1])
    pixels = background[used_rows, used_columns].astype(np.float32)
    height, width, channels = pixels.shape
    pixels = (rows @ pixels.reshape(height, width * channels)).reshape(-1, width, channels)
    return columns @ pixels


def _part(source: int, target: int, wanted: slice) -> tuple[np.ndarray, slice]:
    """The rows of a resize matrix that are wanted, and the source samples that they use."""
    rows = resampling.matrix(source, target, "skimage")[wanted]
    used = np.flatnonzero(rows.any(axis=0))
    part = slice(int(used[0]), int(used[-1]) + 1)
    return rows[:, part], part


def blurred(
    background: np.ndarray, shape: tuple[int, int], window: Window, size: int
) -> np.ndarray:
    """`fit`, then a box blur of the given size (0 for none) as of the whole background."""
    if not size:
        return fit(background, shape, window)
    around, inner = with_margin(window, LARGEST_MARGIN, shape)
    return cv2.blur(fit(background, shape, around), (size, size))[inner]


def add_noise(pixels: np.ndarray, noise: np.ndarray, wraps: bool = False) -> np.ndarray:
    """Adds noise on the 0..255 scale, clipped; `wraps` overflows as the released uint8 cast."""
    noisy = pixels.astype(np.float64) + noise
    if wraps:
        return np.trunc(noisy).astype(np.int64).astype(np.uint8)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def rssn(
    foreground: np.ndarray,
    background: np.ndarray,
    alpha: np.ndarray,
    shape: tuple[int, int],
    window: Window,
    drawn: Draw,
    noise: np.ndarray | None = None,
    wraps: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Resolution, sharpness, semantics, noise (the paper's RSSN), after denoising.

    Args:
        foreground: [h,w,3] uint8, the window of the foreground.
        background: [H,W,3] uint8, whole.
        alpha: [h,w] uint8, the window of the alpha.
        shape: Height and width of the whole foreground.
        window: Where the window lies.
        drawn: The coin flips; `denoise` has been followed by whoever read the pictures.
        noise: [h,w,3], on the 0..255 scale, where `drawn.noise`.
        wraps: Whether noise overflows, as released.

    Returns:
        Composite, foreground and background [h,w,3].
    """
    behind = blurred(background, shape, window, drawn.blur)
    composite, front = blend(foreground, behind, alpha), foreground
    if drawn.noise:
        if noise is None:
            raise ValueError("the coins say noise, but no noise was given")
        composite, front, behind = (
            add_noise(pixels, noise, wraps) for pixels in (composite, front, behind)
        )
    return composite, front, behind
