"""Light and lens: colour jitter, blur, sharpening, noise, JPEG, shadow.

Every function is pure and takes and gives RGB uint8 [H,W,3], planes uint8 [H,W] where it says so.
What is random is drawn first, from the example's own generator, with the ranges of the
configuration; applying what was drawn is deterministic.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from ml_collections import ConfigDict
from scipy import special

from jaxmatte.data import augment
from jaxmatte.errors import UserError

STEPS = ("brightness", "contrast", "saturation", "hue")
HUES = 256  # steps of hue in a full turn: it wraps as a byte does
PIVOT = 74.0  # the grey that BiSeNet's contrast turns around

_LEVELS = np.arange(256, dtype=np.float64)


@dataclasses.dataclass(frozen=True)
class Jitter:
    """Changes of colour, in the order in which they are made.

    Attributes:
        style: Whose definitions hold: "pil", "kornia" or "bisenet"; see `jitter`.
        steps: Pairs of a name out of `STEPS` and its amount.
    """

    style: str
    steps: tuple[tuple[str, float], ...] = ()


def draw_order(rng: np.random.Generator, options: ConfigDict) -> tuple[str, ...]:
    """The order of a jitter's steps: shuffled where `options.shuffled`, else that of `STEPS`."""
    return tuple(str(name) for name in rng.permutation(STEPS)) if options.shuffled else STEPS


def draw_jitter(
    rng: np.random.Generator, options: ConfigDict, order: Sequence[str] | None = None
) -> Jitter:
    """Draws a jitter.

    Args:
        rng: The example's own random numbers.
        options: `style`; `brightness`, `contrast`, `saturation` and `hue`, each a range (low, high)
            or empty for none; `each`, the probability of each step; `shuffled`.
        order: Of the steps, where several pictures share one; None draws it.
    """
    steps = []
    for name in draw_order(rng, options) if order is None else order:
        if options[name] and rng.random() < options.each:
            steps.append((name, float(rng.uniform(*options[name]))))
    return Jitter(options.style, tuple(steps))


def jitter(pixels: np.ndarray, drawn: Jitter) -> np.ndarray:
    """Changes colours step by step, each cut to bytes, within a level of its original.

    | style | brightness | contrast | saturation | hue |
    | --- | --- | --- | --- | --- |
    | pil | times the factor | around the mean grey | away from the own grey | turned |
    | kornia | the amount, of 0..1, added | times the factor | HSV's times the factor | turned |
    | bisenet | times the factor | around 74 | away from the channels' mean | - |

    "pil" is what torchvision and Paddle do with PIL's pictures; "kornia" what BackgroundMattingV2
    does to the plate. Hue is in steps of 1/256 of a turn, rounded to whole ones; what goes through
    HSV is held in bytes there, as in PIL, which moves full colours by up to 6 levels.
    """
    if drawn.style not in _STYLES:
        raise UserError(f"jitter style={drawn.style!r}; there are: {', '.join(_STYLES)}")
    changes = _STYLES[drawn.style]
    for name, amount in drawn.steps:
        if name not in changes:
            raise UserError(f"jitter style={drawn.style!r} has no {name}; make its range empty")
        pixels = changes[name](pixels, amount)
    return pixels


def _table(values: np.ndarray) -> np.ndarray:
    """A table of bytes, cut off as all three originals cut."""
    return np.clip(values, 0, 255).astype(np.uint8)


def _brightness(pixels: np.ndarray, factor: float) -> np.ndarray:
    return cv2.LUT(pixels, _table(_LEVELS * factor))


def _contrast(pixels: np.ndarray, factor: float) -> np.ndarray:
    mean = int(cv2.mean(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))[0] + 0.5)
    return cv2.LUT(pixels, _table(mean + (_LEVELS - mean) * factor))


def _saturation(pixels: np.ndarray, factor: float) -> np.ndarray:
    grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(pixels, factor, grey, 1 - factor, 0)


def _through_hsv(pixels: np.ndarray, steps: float = 0, saturation: float = 1) -> np.ndarray:
    hues = (np.arange(HUES) + round(steps)) % HUES  # a byte wraps, which is the turn
    tables = np.stack(
        [
            np.rint(hues * (255 / 256)).astype(np.uint8),  # OpenCV takes 256 to a turn, gives 255
            _table(_LEVELS * saturation + 0.5),
            _table(_LEVELS),
        ],
        axis=-1,
    )
    hsv = cv2.LUT(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV_FULL), tables[None])
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def _hue(pixels: np.ndarray, steps: float) -> np.ndarray:
    return _through_hsv(pixels, steps)


def _added_brightness(pixels: np.ndarray, amount: float) -> np.ndarray:
    return cv2.LUT(pixels, _table(_LEVELS + 255 * amount + 0.5))


def _scaled_contrast(pixels: np.ndarray, factor: float) -> np.ndarray:
    return cv2.LUT(pixels, _table(_LEVELS * factor + 0.5))


def _scaled_saturation(pixels: np.ndarray, factor: float) -> np.ndarray:
    return _through_hsv(pixels, saturation=factor)


def _pivoted_contrast(pixels: np.ndarray, factor: float) -> np.ndarray:
    return cv2.LUT(pixels, _table(PIVOT + (_LEVELS - PIVOT) * factor))


def _mixed_saturation(pixels: np.ndarray, factor: float) -> np.ndarray:
    return cv2.transform(pixels, factor * np.eye(3) + (1 - factor) / 3)


_Change = Callable[[np.ndarray, float], np.ndarray]
_STYLES: dict[str, dict[str, _Change]] = {
    "pil": {
        "brightness": _brightness,
        "contrast": _contrast,
        "saturation": _saturation,
        "hue": _hue,
    },
    "kornia": {
        "brightness": _added_brightness,
        "contrast": _scaled_contrast,
        "saturation": _scaled_saturation,
        "hue": _hue,
    },
    "bisenet": {
        "brightness": _brightness,
        "contrast": _pivoted_contrast,
        "saturation": _mixed_saturation,
    },
}


def box_blur(pixels: np.ndarray, radius: float) -> np.ndarray:
    """PIL's box blur: the mean over 2 radius + 1 pixels a side, edges repeated; planes too.

    Of a radius that is not whole, the outermost pixels count in part.
    """
    if radius <= 0:
        return pixels
    whole = int(radius)
    if whole == radius:
        side = 2 * whole + 1
        return cv2.blur(pixels, (side, side), borderType=cv2.BORDER_REPLICATE)
    kernel = np.ones(2 * whole + 3)
    kernel[[0, -1]] = radius - whole
    kernel /= 2 * radius + 1
    return cv2.sepFilter2D(pixels, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)


def gaussian_blur(pixels: np.ndarray, side: int) -> np.ndarray:
    """OpenCV's Gaussian of an odd side and the sigma that it gives that side; planes too."""
    return cv2.GaussianBlur(pixels, (side, side), 0)


def sharpen(pixels: np.ndarray) -> np.ndarray:
    """PIL's SHARPEN: (32 x the pixel - 2 x each of its eight neighbours) / 16; planes too.

    As there, the outermost pixels stay as they are.
    """
    kernel = np.full((3, 3), -2.0)
    kernel[1, 1] = 32
    sharp = cv2.filter2D(pixels, cv2.CV_16S, kernel)
    result = np.clip(np.right_shift(sharp + 8, 4), 0, 255).astype(np.uint8)
    result[[0, -1]] = pixels[[0, -1]]
    result[:, [0, -1]] = pixels[:, [0, -1]]
    return result


@functools.cache
def _quantiles() -> np.ndarray:
    """A standard normal in 65,536 equally likely values, out to 4.3 sigma."""
    return special.ndtri((np.arange(1 << 16) + 0.5) / (1 << 16))


def rounded_noise(
    shape: tuple[int, ...], sigma: float, rng: np.random.Generator, mean: float = 0.0
) -> np.ndarray:
    """Gaussian noise in whole levels, rounded to the nearest: int16, for `compose.add_noise`.

    RSSN's noise, `compose.draw_noise`, is rounded down instead, as its pictures are: a weak one
    would darken half of the pixels. Values are drawn by inverting the distribution, as there.

    Args:
        shape: Of the noise.
        sigma: Its deviation on the 0..255 scale.
        rng: The example's own random numbers.
        mean: Its mean on the 0..255 scale.
    """
    levels = np.rint(mean + sigma * _quantiles()).astype(np.int16)
    return cv2.LUT(rng.integers(0, len(levels), shape, dtype=np.uint16), levels)


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Compresses by JPEG (4:2:0) at a quality of 0 to 100 and reads it back."""
    flags = [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
    written, content = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), flags)
    result = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB) if written else None
    if result is None:
        raise ValueError(f"OpenCV cannot compress {pixels.shape} {pixels.dtype} as JPEG")
    return result


def cast_shadow(
    pixels: np.ndarray, alpha: np.ndarray, matrix: np.ndarray, strength: float, side: int
) -> np.ndarray:
    """Darkens what is behind a subject: the moved, softened alpha x strength is subtracted.

    As BackgroundMattingV2 does it: the alpha is moved by whole pixels, nothing lies beyond its
    border, and a box of an even side looks one pixel further down and right.

    Args:
        pixels: [H,W,3] uint8, what the shadow falls on.
        alpha: [H,W] uint8, the subject's.
        matrix: Where a pixel of the shadow comes from, as `augment.Affine.matrix` gives it.
        strength: The share of white that a full shadow takes away.
        side: Of the box, odd or even.
    """
    moved = augment.apply(alpha, matrix, alpha.shape, "nearest").astype(np.float32)
    before = (side - 1) // 2
    soft = cv2.blur(moved, (side, side), anchor=(before, before))
    dark = np.rint(soft * np.float32(strength)).astype(np.uint8)
    return cv2.subtract(pixels, cv2.cvtColor(dark, cv2.COLOR_GRAY2RGB))
