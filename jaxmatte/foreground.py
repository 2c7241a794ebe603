"""Foreground and background colours from an image and its alpha: blur fusion, in two passes.

Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021. A matte alone cuts out the
mixed colours I = alpha F + (1 - alpha) B; compositing those elsewhere drags the old background
along every hair. NumPy and OpenCV only: the data pipeline and the predictor both use it.
"""

import cv2
import numpy as np

from jaxmatte.errors import UserError

# Side of the box blur of each pass, in pixels of an image of a megapixel: the first carries
# colours across wide transitions, the second restores detail. They grow with the image's side
# and shrink with it too, but not below the smaller: a narrower box mends nothing.
_BLURS = (90, 6)
_EPSILON = 1e-5


def _box(array: np.ndarray, side: int) -> np.ndarray:
    return cv2.blur(array, (side, side))


def _blur_fusion(
    image: np.ndarray, alpha: np.ndarray, foreground: np.ndarray, background: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """One pass: both layers averaged by their own opacity, then corrected so that they recompose.

    All are float32 `[H, W, 3]`, alpha too (its channels equal: cv2 blurs three as fast as one).
    """
    transparency = 1 - alpha
    opacity = _box(alpha, side)
    smooth_foreground = _box(foreground * alpha, side) / (opacity + _EPSILON)
    smooth_background = _box(background * transparency, side) / (1 - opacity + _EPSILON)
    residue = image - alpha * smooth_foreground - transparency * smooth_background
    # The paper corrects F alone. B gets its share by the same rule, so that both are returned
    # sharp: where alpha is 0 the background is the image.
    foreground = np.clip(smooth_foreground + alpha * residue, 0, 1)
    background = np.clip(smooth_background + transparency * residue, 0, 1)
    return foreground, background


def estimate(image: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Straight foreground and background colours of an image.

    Args:
      image: `[H, W, 3]`, uint8 or float in 0..1.
      alpha: `[H, W]` or `[H, W, 1]`, uint8 or float in 0..1.

    Returns:
      Foreground and background `[H, W, 3]`, of the image's dtype; the input is left as it is.
    """
    matte = alpha[..., 0] if alpha.ndim == 3 and alpha.shape[2] == 1 else alpha
    if image.ndim != 3 or image.shape[2] != 3 or matte.shape != image.shape[:2]:
        raise UserError(
            f"foreground: image {image.shape} and alpha {alpha.shape} do not go together; "
            "give [H, W, 3] and [H, W] of one size"
        )
    pixels = _unit(image, "image")
    opacity = cv2.merge([_unit(matte, "alpha")] * 3)
    foreground = background = pixels
    scale = np.sqrt(matte.size) / 1024
    for side in _BLURS:
        foreground, background = _blur_fusion(
            pixels, opacity, foreground, background, max(min(_BLURS), round(side * scale))
        )
    return _like(foreground, image), _like(background, image)


def _unit(array: np.ndarray, name: str) -> np.ndarray:
    """Float32 in 0..1."""
    if array.dtype == np.uint8:
        return array.astype(np.float32) / 255
    if not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"foreground: the {name} is {array.dtype}; give uint8 or float in 0..1")
    return array.astype(np.float32)


def _like(layer: np.ndarray, image: np.ndarray) -> np.ndarray:
    """A layer of 0..1 in the units of the image it came from."""
    if image.dtype == np.uint8:
        return np.rint(layer * 255).astype(np.uint8)
    return layer.astype(image.dtype)
