"""Trimaps and bands on the host, by OpenCV, within a window of the picture.

`jaxmatte.labels` gives the same on the device, bit for bit; the tests hold the two together.
"""

import cv2
import numpy as np

Window = tuple[slice, slice]


def trimap(alpha: np.ndarray, size: int) -> np.ndarray:
    """GFM's trimap: uint8 [H,W] alpha to 0, 128 (unknown), 255, with one elliptical kernel."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    dilated = cv2.dilate((alpha != 0).astype(np.uint8), kernel)
    eroded = cv2.erode((alpha == 255).astype(np.uint8), kernel)
    return np.where(eroded == 1, 255, np.where(dilated == 1, 128, 0)).astype(np.uint8)


def dilation(alpha: np.ndarray, size: int, window: Window) -> np.ndarray:
    """The dilated foreground, 0 or 255, within the window: BT's glance target."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    around, inner = with_margin(window, size, alpha.shape[:2])
    return 255 * cv2.dilate((alpha[around] != 0).astype(np.uint8), kernel)[inner]


def erosion(alpha: np.ndarray, size: int, window: Window) -> np.ndarray:
    """The eroded foreground, 0 or 255, within the window: FT's glance target."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    around, inner = with_margin(window, size, alpha.shape[:2])
    return 255 * cv2.erode((alpha[around] == 255).astype(np.uint8), kernel)[inner]


def with_margin(window: Window, margin: int, shape: tuple[int, int]) -> tuple[Window, Window]:
    """Widens a window by a margin as far as the picture goes.

    Returns the wider window in the picture, and the first window within it. What a kernel gives
    there is what it gives on the whole picture, since at a true border nothing is cut off.
    """
    around, inner = [], []
    for part, length in zip(window, shape, strict=True):
        start, stop = max(part.start - margin, 0), min(part.stop + margin, length)
        around.append(slice(start, stop))
        inner.append(slice(part.start - start, part.stop - start))
    return (around[0], around[1]), (inner[0], inner[1])
