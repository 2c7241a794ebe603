"""Pictures for people: rows of image, matte, truth, error and cut-out, as one PNG."""

from collections.abc import Iterable, Mapping, Sequence

import cv2
import numpy as np

from jaxmatte import foreground

GAP, HEADER = 4, 22  # pixels between tiles, and of a line of text
SQUARE = 10  # side of a square of the checkerboard
_FONT, _SIZE, _INK = cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 40, 40)
_PAPER = 232  # the white of an error ends somewhere
_WRONG = np.array((200, 30, 30), np.uint8)  # a pixel of another class
_MARGIN = 4  # of text, at both sides
_LEAST = 60  # pixels of a column: its title has room
_WIDEST = 1.8  # times its height, of a tile: what is wider is shown less high


def grid(
    images: Sequence[np.ndarray],
    mattes: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    captions: Sequence[str] = (),
    height: int = 192,
    trimaps: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Lays out one row an example: image, matte, truth, error, cut-out and trimap.

    Args:
        images: [H,W,3] uint8 each; sizes may differ. Without any there is no cut-out either.
        mattes: [H,W], bytes or in 0..1 each.
        truths: [H,W], bytes or in 0..1 each.
        captions: A line for each row, below it.
        height: Of a row, in pixels.
        trimaps: [H,W], bytes or in 0..1 each; without any there is no such column.

    Returns:
        [H,W,3] uint8.
    """

    def row(at: int) -> tuple[dict[str, np.ndarray], str]:
        tiles = {"image": images[at]} if images else {}
        tiles |= {"matte": to_grey(mattes[at]), "truth": to_grey(truths[at])}
        tiles["error"] = error(mattes[at], truths[at])
        if images:
            tiles["cut-out"] = cutout(images[at], mattes[at])
        tiles |= {"trimap": to_grey(trimaps[at])} if trimaps else {}
        return tiles, captions[at] if captions else ""

    return table(map(row, range(len(mattes))), height=height)


def classes(
    image: np.ndarray, found: np.ndarray, true: np.ndarray, count: int
) -> dict[str, np.ndarray | None]:
    """Tiles of a segmentation: image, classes over it, truth over it, and what is mistaken.

    Args:
        image: [H,W,3] uint8.
        found: Class numbers [H,W].
        true: The true ones; what is none of the `count` classes is grey.
        count: How many classes there are.
    """
    wrong = (found != true) & (true < count)
    return {
        "image": image,
        "classes": _painted(image, found, count),
        "truth": _painted(image, true, count),
        "mistakes": np.where(wrong[..., None], _WRONG, _WRONG.dtype.type(_PAPER)),
    }


def _painted(image: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """A picture in the colours of its classes, which are spread over the circle of hues."""
    hues = np.arange(count) * 180 // max(count, 1)
    colours = np.stack([hues, np.full(count, 200), np.full(count, 230)], axis=-1).astype(np.uint8)
    palette = np.full((256, 3), 128, np.uint8)
    palette[:count] = cv2.cvtColor(colours[None], cv2.COLOR_HSV2RGB)[0]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    return (0.35 * grey + 0.65 * palette[labels.astype(np.uint8)]).astype(np.uint8)


def table(
    rows: Iterable[tuple[Mapping[str, np.ndarray | None], str]], title: str = "", height: int = 192
) -> np.ndarray:
    """Lays out rows of tiles in columns, each as wide as its widest tile.

    Args:
        rows: Tiles by the column's name, the same names in each row: [H,W,3] or [H,W] uint8 of any
            size, or None. And a caption below them, broken where it is long.
        title: A line above all.
        height: Of a row, in pixels.

    Returns:
        [H,W,3] uint8.
    """
    fitted = [
        ({name: _fit(tile, height) for name, tile in tiles.items()}, caption)
        for tiles, caption in rows
    ]
    wide = {name: max(_LEAST, *(t[name].shape[1] for t, _ in fitted)) for name in fitted[0][0]}
    width = sum(wide.values()) + GAP * len(wide)
    strips = [_text(title, width)] if title else []
    strips.append(np.concatenate([_line(name, w + GAP) for name, w in wide.items()], axis=1))
    for tiles, caption in fitted:
        high = max(tile.shape[0] for tile in tiles.values())
        cells = [_cell(tile, high + GAP, wide[name] + GAP) for name, tile in tiles.items()]
        strips.append(np.concatenate(cells, axis=1))
        if caption:
            strips.append(_text(caption, width))
    return np.concatenate(strips)


def _fit(tile: np.ndarray | None, height: int) -> np.ndarray:
    """The tile at the row's height, or lower where it would be too wide; paper for None."""
    if tile is None:
        return np.full((1, 1, 3), _PAPER, np.uint8)
    tile = tile if tile.ndim == 3 else to_grey(tile)
    scale = min(height / tile.shape[0], _WIDEST * height / tile.shape[1])
    size = (max(round(scale * tile.shape[1]), 1), max(round(scale * tile.shape[0]), 1))
    return cv2.resize(tile, size, interpolation=cv2.INTER_AREA)


def _cell(tile: np.ndarray, height: int, width: int) -> np.ndarray:
    """The tile in the corner of a cell, which it may not fill."""
    below, beside = height - tile.shape[0], width - tile.shape[1]
    return np.pad(tile, ((0, below), (0, beside), (0, 0)), constant_values=_PAPER)


def _text(text: str, width: int) -> np.ndarray:
    """Lines with the text, broken where it does not fit."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if _width(longer) <= width:
            lines[-1] = longer
            continue
        lines += [""] if lines[-1] else []
        while word:  # a name may be wider than all of the picture
            count = max(
                (n for n in range(1, len(word) + 1) if _width(word[:n]) <= width), default=1
            )
            lines[-1], word = word[:count], word[count:]
            lines += [""] if word else []
    return np.concatenate([_line(line, width) for line in lines])


def _width(text: str) -> int:
    return 2 * _MARGIN + cv2.getTextSize(text, _FONT, _SIZE, 1)[0][0]


def _line(text: str, width: int) -> np.ndarray:
    """A line with text."""
    strip = np.full((HEADER, width, 3), _PAPER, np.uint8)
    cv2.putText(strip, text, (_MARGIN, HEADER - 8), _FONT, _SIZE, _INK, 1, cv2.LINE_AA)
    return strip


def to_grey(matte: np.ndarray) -> np.ndarray:
    """[H,W], bytes or in 0..1, to [H,W,3] uint8."""
    return np.repeat(_to_bytes(matte)[..., None], 3, axis=2)


def error(matte: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """What is missing in blue, what is too much in red, on white; [H,W], bytes or in 0..1, each."""
    predicted, true = _to_bytes(matte), _to_bytes(truth)
    larger = np.maximum(predicted, true)
    not_missing, not_excess = 255 - (larger - predicted), 255 - (larger - true)
    return np.stack([not_missing, np.minimum(not_missing, not_excess), not_excess], axis=-1)


def checkerboard(height: int, width: int) -> np.ndarray:
    """[H,W,3] in 0..1."""
    rows, columns = np.arange(height) // SQUARE, np.arange(width) // SQUARE
    light = (rows[:, None] + columns[None]) % 2
    return np.repeat(np.where(light, 0.85, 0.6)[..., None], 3, axis=2).astype(np.float32)


def cutout(image: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """The subject with its estimated foreground colours on a checkerboard, uint8."""
    alpha = matte.astype(np.float32) / (255 if matte.dtype == np.uint8 else 1)
    colours, _ = foreground.estimate(image.astype(np.float32) / 255, alpha)
    opacity = alpha[..., None]
    return _to_bytes(opacity * colours + (1 - opacity) * checkerboard(*matte.shape))


def encode(picture: np.ndarray) -> bytes:
    """RGB uint8 as the bytes of a PNG file."""
    return cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()


def _to_bytes(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint8:
        return values
    return np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)
