"""Pictures for people: rows of image, matte, truth, error and cut-out, as one PNG."""

from collections.abc import Sequence

import cv2
import numpy as np

from jaxmatte import foreground

COLUMNS = ("image", "matte", "truth", "error", "cut-out")
GAP, HEADER = 4, 22
SQUARE = 10  # side of a square of the checkerboard


def grid(
    images: Sequence[np.ndarray],
    mattes: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    captions: Sequence[str] = (),
    height: int = 192,
) -> np.ndarray:
    """Lays out one row an example.

    Args:
        images: [H,W,3] uint8 each; sizes may differ.
        mattes: [H,W] in 0..1 each.
        truths: [H,W] in 0..1 each.
        captions: A line for each row, below it.
        height: Of a row, in pixels.

    Returns:
        [H,W,3] uint8.
    """
    rows = []
    for number, (image, matte, truth) in enumerate(zip(images, mattes, truths, strict=True)):
        tiles = [image, to_grey(matte), to_grey(truth), error(matte, truth), cutout(image, matte)]
        width = max(round(height * image.shape[1] / image.shape[0]), 1)
        tiles = [cv2.resize(t, (width, height), interpolation=cv2.INTER_AREA) for t in tiles]
        row = np.concatenate(
            [np.pad(t, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for t in tiles], axis=1
        )
        caption = captions[number] if captions else ""
        rows.append(np.concatenate([row, _text([caption], row.shape[1])]) if caption else row)
    width = max(row.shape[1] for row in rows)
    padded = [
        np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0)), constant_values=255) for r in rows
    ]
    return np.concatenate([_text(COLUMNS, rows[0].shape[1], width), *padded])


def _text(words: Sequence[str], span: int, width: int | None = None) -> np.ndarray:
    """A white strip with words spread evenly over `span` pixels."""
    strip = np.full((HEADER, width or span, 3), 255, np.uint8)
    for number, word in enumerate(words):
        at = (span * number // len(words) + 4, HEADER - 7)
        cv2.putText(strip, word, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 40, 40), 1, cv2.LINE_AA)
    return strip


def to_grey(matte: np.ndarray) -> np.ndarray:
    """[H,W] in 0..1 to [H,W,3] uint8."""
    return np.repeat(_to_bytes(matte)[..., None], 3, axis=2)


def error(matte: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """What is missing in blue, what is too much in red, on white."""
    difference = np.clip(matte.astype(np.float32) - truth, -1, 1)
    excess, lack = np.maximum(difference, 0), np.maximum(-difference, 0)
    return _to_bytes(np.stack([1 - lack, 1 - excess - lack, 1 - excess], axis=-1))


def checkerboard(height: int, width: int) -> np.ndarray:
    """[H,W,3] in 0..1."""
    rows, columns = np.arange(height) // SQUARE, np.arange(width) // SQUARE
    light = (rows[:, None] + columns[None]) % 2
    return np.repeat(np.where(light, 0.85, 0.6)[..., None], 3, axis=2).astype(np.float32)


def cutout(image: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """The subject with its estimated foreground colours on a checkerboard, uint8."""
    alpha = matte.astype(np.float32)
    colours, _ = foreground.estimate(image.astype(np.float32) / 255, alpha)
    opacity = alpha[..., None]
    return _to_bytes(opacity * colours + (1 - opacity) * checkerboard(*matte.shape))


def encode(picture: np.ndarray) -> bytes:
    """RGB uint8 as the bytes of a PNG file."""
    return cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()


def _to_bytes(values: np.ndarray) -> np.ndarray:
    return np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)
