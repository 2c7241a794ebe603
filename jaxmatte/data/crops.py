"""Which part of a picture is seen: crops by the papers' rules, padding, parts of resized pictures.

A crop is a window: two slices of rows and columns.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np

from jaxmatte.data import augment
from jaxmatte.data.rows import Row, Window
from jaxmatte.errors import UserError

FEWEST = 10  # unknown pixels below which GCA's crop lies anywhere
_REACH = 2  # pixels that a cubic kernel looks to either side
_STEPS = 32  # of a pixel: OpenCV's remap reads between pixels at these places only


def at(top: int, left: int, size: tuple[int, int]) -> Window:
    """The window of a size with a given corner."""
    return slice(top, top + size[0]), slice(left, left + size[1])


def whole(shape: tuple[int, int]) -> Window:
    """The window of everything."""
    return at(0, 0, shape)


def uniform(shape: tuple[int, int], size: tuple[int, int], rng: np.random.Generator) -> Window:
    """A window anywhere in a picture that is at least as large."""
    _fits(shape, size)
    top, left = (int(rng.integers(a - b + 1)) for a, b in zip(shape, size, strict=True))
    return at(top, left, size)


def covering(shape: tuple[int, int], side: int) -> tuple[int, int]:
    """DIM's size of a picture that a square is cut from: grown, aspect kept, until it holds it."""
    scale = side / min(shape)
    if scale <= 1:
        return shape
    return max(int(shape[0] * scale), side), max(int(shape[1] * scale), side)


def enlarged(size: tuple[int, int], shape: tuple[int, int]) -> tuple[int, int]:
    """The size of a background that covers a foreground: its own, or enlarged and rounded up."""
    scale = max(shape[0] / size[0], shape[1] / size[1])
    if scale <= 1:
        return size
    # A side that fits exactly must not be rounded past it by the division above.
    height, width = (math.ceil(round(length * scale, 6)) for length in size)
    return height, width


def around_unknown(alpha: np.ndarray, rng: np.random.Generator, side: int, centre: str) -> Window:
    """DIM's crop: a square around a pixel that is neither opaque nor empty.

    Where there is no such pixel it lies anywhere (mmagic's in the top-left corner).

    Args:
        alpha: [H,W] uint8, at least `side` on each side.
        rng: The example's own random numbers.
        side: Of the square.
        centre: fitting: one at least half a side away from every border, else as for any. any: any
            one, the square then pushed back into the picture.
    """
    if centre not in ("fitting", "any"):
        raise UserError(f"crop.centre={centre!r}; there are: fitting, any")
    shape, size, half = alpha.shape, (side, side), side // 2
    _fits(shape, size)
    if centre == "fitting":
        # mmagic's rule: with an even side it leaves out the last place that would fit.
        corner = _random_unknown(alpha[half : shape[0] - half, half : shape[1] - half], rng)
        if corner is not None:
            return at(*corner, size)
    pixel = _random_unknown(alpha, rng)
    if pixel is None:
        return uniform(shape, size, rng)
    top, left = (min(max(p - half, 0), n - side) for p, n in zip(pixel, shape, strict=True))
    return at(top, left, size)


def _random_unknown(alpha: np.ndarray, rng: np.random.Generator) -> tuple[int, int] | None:
    """A pixel with 0 < alpha < 255, drawn evenly; None where there is none."""
    if not alpha.size:
        return None
    unknown = cv2.inRange(alpha, 1, 254)  # 255 where it is
    counts = np.cumsum(cv2.reduce(unknown, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0] // 255)
    if not counts[-1]:
        return None
    number = int(rng.integers(counts[-1]))
    row = int(np.searchsorted(counts, number, side="right"))
    return row, int(np.flatnonzero(unknown[row])[number - counts[row]])  # counted from behind


def gca(
    read: Callable[[Window], np.ndarray],
    shape: tuple[int, int],
    rng: np.random.Generator,
    side: int,
) -> tuple[tuple[int, int], Window]:
    """GCA's crop: a square around an unknown pixel of the trimap's every fourth row and column.

    Only pixels whose square fits are looked at; with fewer than `FEWEST` of them the square lies
    anywhere. A picture that is too small is enlarged, its shorter side to 1.1 times the square's;
    one without any unknown pixel is squeezed into the square.

    Args:
        read: Gives the trimap in any window: uint8, unknown where 128.
        shape: Height and width of the picture.
        rng: The example's own random numbers.
        side: Of the square.

    Returns:
        The size to which the picture is resized first, and the window in that.
    """
    resized, half = shape, side // 2
    if min(shape) <= side:
        scale = 1.1 * side / min(shape)
        resized = (max(int(shape[0] * scale), side + 1), max(int(shape[1] * scale), side + 1))
    rows, columns = (
        augment.nearest(before, after)[::4][half // 4 : (after - half) // 4]
        for before, after in zip(shape, resized, strict=True)
    )  # centres of squares that fit
    centres = taken(read, rows, columns) if len(rows) and len(columns) else np.empty((0, 0))
    unknown = np.flatnonzero(centres == 128)
    if len(unknown) >= FEWEST:
        row, column = divmod(int(unknown[rng.integers(len(unknown))]), len(columns))
        return resized, at(4 * row, 4 * column, (side, side))
    if not (read(whole(shape)) == 128).any():
        return (side, side), whole((side, side))
    return resized, uniform(resized, (side, side), rng)


def taken(
    read: Callable[[Window], np.ndarray], rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Some rows and columns of a plane, of which only the part that they span is read.

    Args:
        read: Gives the pixels of any window.
        rows: Their numbers [h], as `augment.nearest` gives them: rising in even steps.
        columns: Likewise [w].
    """
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    pixels = read(window)
    if pixels.shape[:2] == (len(rows), len(columns)):
        return pixels  # every one of them, once
    return pixels[rows - rows[0]][:, columns - columns[0]]


def pad(
    pixels: np.ndarray, size: tuple[int, int], border: str = "constant", fill: int = 0
) -> np.ndarray:
    """Pads [H,W] or [H,W,C] below and to the right, up to a size; larger sides stay.

    Args:
        pixels: The plane.
        size: Height and width to reach.
        border: A name of `augment.BORDERS`; reflect needs a plane larger than what is added.
        fill: What a constant border holds, in every channel.
    """
    below, right = (max(a - b, 0) for a, b in zip(size, pixels.shape[:2], strict=True))
    if not below and not right:
        return pixels
    if border not in augment.BORDERS:
        raise UserError(f"{border!r} is not one of: {', '.join(augment.BORDERS)}")
    mode = augment.BORDERS[border]
    return cv2.copyMakeBorder(pixels, 0, below, 0, right, mode, value=(fill,) * 4)


def read_resized(
    row: Row, field: str, shape: tuple[int, int], window: Window, interpolation: str = "cubic"
) -> np.ndarray:
    """A window of a plane that has been resized, made of only those pixels that matter.

    The window is, to the bit, that of the whole; half-pixel centres, the edge repeated, not
    antialiased. Places are rounded to a 32nd of a pixel, as OpenCV's remap does, so that
    `cv2.resize` differs by a grey level here and there, and by a few in sheer noise.

    Args:
        row: The row to read from.
        field: The plane.
        shape: Height and width of the resized picture.
        window: The part of it that is wanted.
        interpolation: cubic, linear or nearest.
    """
    if row.size == tuple(shape):
        return row.read(field, window)
    if interpolation == "nearest":
        rows, columns = (
            augment.nearest(before, after)[part]
            for before, after, part in zip(row.size, shape, window, strict=True)
        )
        return taken(lambda part: row.read(field, part), rows, columns)
    if interpolation not in ("cubic", "linear"):
        raise UserError(
            f"parts of a resized plane are cubic, linear or nearest, not {interpolation!r}"
        )
    used, places = zip(*map(_places, row.size, shape, window), strict=True)
    height, width = len(places[0]), len(places[1])
    return cv2.remap(
        row.read(field, used),
        np.tile(places[1], (height, 1)),
        np.repeat(places[0], width).reshape(height, width),
        augment.INTERPOLATIONS[interpolation],
        borderMode=cv2.BORDER_REPLICATE,
    )


def _places(source: int, target: int, wanted: slice) -> tuple[slice, np.ndarray]:
    """The pixels that a part of a resized axis needs, and its places among them: [n] float32."""
    numbers = np.arange(wanted.start, wanted.stop)
    places = np.rint(((numbers + 0.5) * (source / target) - 0.5) * _STEPS) / _STEPS
    start = max(math.floor(places[0]) - _REACH, 0)
    stop = min(math.floor(places[-1]) + _REACH + 2, source)
    return slice(start, stop), (places - start).astype(np.float32)


def _fits(shape: tuple[int, int], size: tuple[int, int]) -> None:
    if shape[0] < size[0] or shape[1] < size[1]:
        raise UserError(
            f"a crop of {size[1]}x{size[0]} does not fit a picture of {shape[1]}x{shape[0]}; "
            "enlarge or pad it first"
        )
