"""Composition: a foreground laid over a background, as the papers do it.

Every function is pure; what is random is drawn first, into a `Draw`. Values are on the 0..255
scale, as float32 where they are not on file. All work is done in a window of the picture, and on
every `step`-th pixel of it where the result is sampled anyway.
"""

import dataclasses
import math
from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np
from ml_collections import ConfigDict
from scipy import special

from jaxmatte import resampling
from jaxmatte.data.regions import with_margin
from jaxmatte.data.rows import Plane, Window

_NOISE_LEVELS = 1 << 16
_STRIP = 64
_FINE = 256
_OPACITY = np.arange(256, dtype=np.float32) / np.float32(255)


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
    """Equation 1, alpha F + (1 - alpha) B, cut to uint8 as the released loaders do.

    Args:
        foreground: [H,W,3], straight colours.
        background: [H,W,3].
        alpha: [H,W] uint8.
    """
    mixed = np.empty(foreground.shape, np.uint8)
    for strip in _strips(len(mixed)):
        # Three equal channels: NumPy's broadcasting over colours is much slower.
        opacity = cv2.merge([cv2.LUT(alpha[strip], _OPACITY)] * 3)
        parts = foreground[strip].astype(np.float32)
        parts *= opacity
        np.subtract(np.float32(1), opacity, out=opacity)
        opacity *= background[strip]
        parts += opacity
        mixed[strip] = parts
    return mixed


def _strips(height: int) -> Iterator[slice]:
    """Rows that are worked on at a time: few enough to stay in the processor's cache."""
    for top in range(0, height, _STRIP):
        yield slice(top, min(top + _STRIP, height))


def fit(
    background: Plane,
    size: tuple[int, int],
    shape: tuple[int, int],
    window: Window,
    step: int = 1,
    dtype: type[np.generic] = np.float32,
) -> np.ndarray:
    """A window of a background that is resized to the foreground's shape.

    The aspect is not kept; the resize is scikit-image's: bilinear with a mirrored border, after a
    Gaussian blur where it shrinks. Only what the window needs of the background is read.

    Args:
        background: [H,W,3] uint8, somewhere.
        size: Its height and width.
        shape: Height and width of the foreground.
        window: The part of that shape that is wanted.
        step: Of that part, only every so-manieth pixel, from half a step on.
        dtype: float32 for levels, uint16 for 256ths of a level.

    Returns:
        [h,w,3].
    """
    vertical = _Axis.of(size[0], shape[0], window[0], step)
    horizontal = _Axis.of(size[1], shape[1], window[1], step)
    pixels = background.read((vertical.source, horizontal.source))
    if len(vertical.smoothing) > 1 or len(horizontal.smoothing) > 1:
        pixels = cv2.sepFilter2D(
            pixels,
            cv2.CV_32F,
            horizontal.smoothing,
            vertical.smoothing,
            borderType=cv2.BORDER_REFLECT_101,
        )
    fitted = np.empty((vertical.count, horizontal.count, 3), dtype)
    for strip in _strips(vertical.count):
        rows, start = vertical.part(strip)
        matrix = np.array([[horizontal.scale, 0, horizontal.offset], [0, vertical.scale, start]])
        # OpenCV warps pictures of four channels twice as fast as those of three.
        four = cv2.cvtColor(pixels[rows], cv2.COLOR_RGB2RGBA)
        warped = cv2.warpAffine(
            _as(dtype, four),
            matrix,
            (horizontal.count, strip.stop - strip.start),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB, dst=fitted[strip])
    return fitted


def _as(dtype: type[np.generic], pixels: np.ndarray) -> np.ndarray:
    """Levels as float32, or in 256ths as uint16."""
    if dtype == np.float32:
        return pixels.astype(np.float32, copy=False)
    if pixels.dtype == np.uint8:
        return np.multiply(pixels, _FINE, dtype=np.uint16)
    return np.rint(pixels * np.float32(_FINE)).astype(np.uint16)


@dataclasses.dataclass(frozen=True)
class _Axis:
    """One axis of `fit`: sample i of the result lies at `scale * i + offset` of the source part."""

    source: slice
    scale: float
    offset: float
    count: int
    smoothing: np.ndarray

    @classmethod
    def of(cls, source: int, target: int, wanted: slice, step: int) -> "_Axis":
        ratio = source / target
        smoothing = _smoothing(ratio)
        count = (wanted.stop - wanted.start) // step
        scale = ratio * step
        first = (wanted.start + step // 2 + 0.5) * ratio - 0.5
        last = first + (count - 1) * scale
        reach = len(smoothing) // 2 + 1  # one more sample to interpolate with
        start = int(np.clip(np.floor(first) - reach, 0, source - 1))
        stop = int(np.clip(np.floor(last) + reach + 2, start + 1, source))
        return cls(slice(start, stop), scale, first - start, count, smoothing)

    def part(self, wanted: slice) -> tuple[slice, float]:
        """The samples of the source part that some of the result need, and the first's offset.

        Where they end before the part does, one more sample on each side stands in for the border.
        """
        first = self.scale * wanted.start + self.offset
        last = self.scale * (wanted.stop - 1) + self.offset
        length = self.source.stop - self.source.start
        start = min(max(math.floor(first) - 1, 0), length - 1)
        stop = max(min(math.floor(last) + 3, length), start + 1)
        return slice(start, stop), first - start


@lru_cache(maxsize=256)
def _smoothing(ratio: float) -> np.ndarray:
    """The taps that smooth before shrinking by a ratio; a single one where they change nothing."""
    if ratio <= 1:
        return np.ones(1)
    taps = resampling.gaussian_taps((ratio - 1) / 2)
    # A kernel this narrow changes nothing that float32 could hold.
    return taps if taps[len(taps) // 2] < 1 - 1e-6 else np.ones(1)


def behind(
    background: Plane,
    size: tuple[int, int],
    shape: tuple[int, int],
    window: Window,
    step: int = 1,
    blur: int = 0,
) -> np.ndarray:
    """`fit`, then a box blur of the given size (0 for none) as of the whole background.

    Returns:
        [h,w,3] float32.
    """
    if not blur:
        return fit(background, size, shape, window, step)
    around, inner = with_margin(window, blur // 2 + 1, shape)
    # OpenCV adds up whole numbers a third faster than floats, and 256ths of a level are enough:
    # the mean of hundreds of them is off by less than a thousandth.
    fine = fit(background, size, shape, around, dtype=np.uint16)
    blurred = sampled(cv2.boxFilter(fine, cv2.CV_32F, (blur, blur))[inner], step)
    blurred *= np.float32(1 / _FINE)
    return blurred


def sampled(pixels: np.ndarray, step: int) -> np.ndarray:
    """Every `step`-th pixel from half a step on: what shrinking bilinearly by an odd step gives."""
    if step == 1:
        return pixels
    # NumPy copies such slices four times as slowly as OpenCV's nearest neighbour takes them.
    rest = pixels[step // 2 :, step // 2 :]
    return cv2.resize(rest, None, fx=1 / step, fy=1 / step, interpolation=cv2.INTER_NEAREST)


def draw_noise(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise in whole levels, rounded down: int16.

    The picture is cut to whole levels after noise is added, so that noise rounded down gives the
    same picture. Values are drawn by inverting the Gaussian's distribution at 65,536 places, which
    is ten times as fast as NumPy's generator and goes out to 4.3 sigma.
    """
    count = int(np.prod(shape))
    words = rng.integers(0, 1 << 64, -(-count // 4), dtype=np.uint64)  # four places each
    return cv2.LUT(words.view(np.uint16)[:count].reshape(shape), _levels(sigma))


@lru_cache(maxsize=16)
def _levels(sigma: float) -> np.ndarray:
    places = (np.arange(_NOISE_LEVELS) + 0.5) / _NOISE_LEVELS
    return np.floor(sigma * special.ndtri(places)).astype(np.int16)


def add_noise(pixels: np.ndarray, noise: np.ndarray, wraps: bool = False) -> np.ndarray:
    """Adds noise on the 0..255 scale and cuts to uint8.

    Args:
        pixels: [H,W,3], uint8 or float.
        noise: [H,W,3], whole levels as int16, or float.
        wraps: Whether values beyond 0..255 overflow, as the released code lets them; else clipped.
    """
    if wraps:
        return np.trunc(pixels.astype(np.float64) + noise).astype(np.int64).astype(np.uint8)
    if pixels.dtype == np.uint8 and noise.dtype == np.int16:
        return cv2.add(pixels, noise, dtype=cv2.CV_8U)
    return np.clip(pixels.astype(np.float64) + noise, 0, 255).astype(np.uint8)


def to_bytes(pixels: np.ndarray) -> np.ndarray:
    """Rounds 0..255 to uint8."""
    return pixels if pixels.dtype == np.uint8 else cv2.convertScaleAbs(pixels)


def rssn(
    foreground: np.ndarray,
    background: np.ndarray,
    alpha: np.ndarray,
    noise: np.ndarray | None = None,
    wraps: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The paper's RSSN once resolution and sharpness are done: blending, then noise.

    Args:
        foreground: [h,w,3] uint8.
        background: [h,w,3] float32, from `behind`.
        alpha: [h,w] uint8.
        noise: [h,w,3] on the 0..255 scale, the same field for all three; None for none.
        wraps: Whether noise overflows, as released.

    Returns:
        Composite, foreground and background [h,w,3].
    """
    composite = blend(foreground, background, alpha)
    if noise is None:
        return composite, foreground, background
    if noise.dtype == np.int16:
        background = to_bytes(background)  # noise was rounded for whole levels
    parts = (composite, foreground, background)
    composite, front, back = (add_noise(pixels, noise, wraps) for pixels in parts)
    return composite, front, back
