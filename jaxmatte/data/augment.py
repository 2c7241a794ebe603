"""Geometry of planes: resizing, affine maps, mirroring.

Matrices and positions follow OpenCV: (across, down), pixel centres on whole numbers. `crops` says
which part of a picture is seen.
"""

import dataclasses
import math
from collections.abc import Mapping

import cv2
import numpy as np

from jaxmatte.errors import UserError

INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,  # also where it shrinks: not antialiased
    "cubic": cv2.INTER_CUBIC,  # a = -0.75, not antialiased
    "area": cv2.INTER_AREA,  # the mean of what a pixel covers, where it shrinks
}
BORDERS = {
    "constant": cv2.BORDER_CONSTANT,
    "replicate": cv2.BORDER_REPLICATE,  # aaa|abc
    "reflect": cv2.BORDER_REFLECT_101,  # cb|abc
}
_FRACTION = 14  # bits of a position's fraction: 1/16384 of a pixel


def interpolation(field: str) -> str:
    """How a kind of plane is resized: what holds classes must not be mixed."""
    return "nearest" if field in ("trimap", "label") else "linear"


def resize(
    pixels: np.ndarray, size: int | tuple[int, int], interpolation: str = "linear"
) -> np.ndarray:
    """Resizes [H,W] or [H,W,C] uint8 by OpenCV: half-pixel centres, the edge repeated.

    Args:
        pixels: The plane.
        size: Height and width, or the side of a square.
        interpolation: A name of `INTERPOLATIONS`.
    """
    height, width = (size, size) if isinstance(size, int | np.integer) else size
    if pixels.shape[:2] == (height, width):
        return pixels
    return cv2.resize(pixels, (width, height), interpolation=_known(INTERPOLATIONS, interpolation))


def resize_all(
    planes: Mapping[str, np.ndarray], size: int | tuple[int, int]
) -> dict[str, np.ndarray]:
    """Resizes planes that belong together, each kind by its `interpolation`."""
    return {name: resize(pixels, size, interpolation(name)) for name, pixels in planes.items()}


def shrink(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes [H,W] or [H,W,C] uint8 by means of what a pixel covers, where it shrinks.

    A whole factor comes first, since OpenCV takes it much faster than others: half the time. What
    it leaves over, less than a pixel of the result, is cut off below and to the right.

    Args:
        pixels: The plane.
        size: Height and width.
    """
    factors = tuple(max(a // b, 1) for a, b in zip(pixels.shape, size, strict=False))
    if factors != (1, 1):
        whole = tuple(n // factor for n, factor in zip(pixels.shape, factors, strict=False))
        used = pixels[: whole[0] * factors[0], : whole[1] * factors[1]]
        pixels = resize(used, whole, "area")
    return resize(pixels, size, "area")


def mirror(pixels: np.ndarray) -> np.ndarray:
    """Turns left and right."""
    return cv2.flip(pixels, 1)


@dataclasses.dataclass(frozen=True)
class Affine:
    """What happens to a picture around its centre: flip, scale, turn, shear, shift, in this order.

    Attributes:
        flips: Left and right exchanged; top and bottom exchanged.
        scale: Growth across and down.
        rotation: Degrees, clockwise as seen.
        shear: Degrees that upright lines lean, their foot to the left.
        shift: Across and down, as shares of the width and the height.
    """

    flips: tuple[bool, bool] = (False, False)
    scale: tuple[float, float] = (1.0, 1.0)
    rotation: float = 0.0
    shear: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)

    def matrix(self, shape: tuple[int, int]) -> np.ndarray:
        """Where a pixel of the result comes from: [2,3] on (across, down, 1).

        Args:
            shape: Height and width of the picture, before and after.
        """
        turn, lean = math.radians(self.rotation), math.radians(self.shear)
        across, down = (
            (-1.0 if flip else 1.0) / scale
            for flip, scale in zip(self.flips, self.scale, strict=True)
        )
        back = np.array(
            [
                [across * math.cos(turn), across * math.sin(turn + lean)],
                [-down * math.sin(turn), down * math.cos(turn + lean)],
            ]
        ) / math.cos(lean)
        size = np.array([shape[1], shape[0]], np.float64)
        centre = (size - 1) / 2
        return np.column_stack([back, centre - back @ (centre + size * self.shift)])


def draw_affine(
    rng: np.random.Generator,
    flips: tuple[float, float] = (0.0, 0.0),
    scale: tuple[float, float] = (1.0, 1.0),
    rotation: tuple[float, float] = (0.0, 0.0),
    shear: tuple[float, float] = (0.0, 0.0),
    shift: tuple[float, float] = (0.0, 0.0),
) -> Affine:
    """Draws an `Affine`; the two scales are drawn each by itself, and so are the two shifts.

    Args:
        rng: The example's own random numbers.
        flips: Probability of each flip.
        scale: Range of both scales.
        rotation: Range in degrees.
        shear: Range in degrees.
        shift: The greatest shift either way, across and down, as shares.
    """
    return Affine(
        flips=(bool(rng.random() < flips[0]), bool(rng.random() < flips[1])),
        scale=(rng.uniform(*scale), rng.uniform(*scale)),
        rotation=rng.uniform(*rotation),
        shear=rng.uniform(*shear),
        shift=(rng.uniform(-shift[0], shift[0]), rng.uniform(-shift[1], shift[1])),
    )


def apply(
    pixels: np.ndarray,
    matrix: np.ndarray,
    shape: tuple[int, int],
    interpolation: str = "linear",
    border: str = "constant",
    fill: int = 0,
) -> np.ndarray:
    """A plane seen through an affine map.

    Args:
        pixels: [H,W] or [H,W,3] uint8.
        matrix: From a pixel of the result to the place it shows, as `Affine.matrix` gives it.
        shape: Height and width of the result.
        interpolation: nearest, linear or cubic.
        border: A name of `BORDERS`.
        fill: What lies beyond a constant border.
    """
    if interpolation == "nearest":
        return pick(pixels, positions(matrix, *map(np.arange, shape)), border, fill)
    if interpolation not in ("linear", "cubic"):
        raise UserError(f"an affine map reads nearest, linear or cubic, not {interpolation!r}")
    return cv2.warpAffine(
        pixels,
        matrix,
        (shape[1], shape[0]),
        flags=INTERPOLATIONS[interpolation] | cv2.WARP_INVERSE_MAP,
        borderMode=_known(BORDERS, border),
        borderValue=(fill,) * 4,
    )


def positions(matrix: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The pixels nearest to where rows and columns of a result come from.

    A pixel's position does not depend on which others are asked for with it: a window of a warped
    picture is made alone, to the bit. (OpenCV's own rounding depends on the window.)

    Args:
        matrix: [2,3], as `Affine.matrix` gives it.
        rows: Rows of the result, [h].
        columns: Columns of the result, [w].

    Returns:
        [h,w,2] int16, (across, down); outside the picture where the place is.
    """
    axes = []
    for across, down, offset in matrix:
        by_row = np.rint((down * rows + (offset + 0.5)) * (1 << _FRACTION)).astype(np.int64)
        by_column = np.rint(across * columns * (1 << _FRACTION)).astype(np.int64)
        ends = np.add.outer(by_row[[0, -1]], by_column[[0, -1]]) >> _FRACTION
        if np.abs(ends).max() < 1 << 15:  # all fit: half the memory, twice as fast
            sums = np.add.outer(by_row.astype(np.int32), by_column.astype(np.int32))
            sums >>= _FRACTION
        else:
            sums = np.add.outer(by_row, by_column) >> _FRACTION
            np.clip(sums, -1, np.iinfo(np.int16).max, out=sums)
        axes.append(sums.astype(np.int16))
    return cv2.merge(axes)


def pick(
    pixels: np.ndarray, places: np.ndarray, border: str = "constant", fill: int = 0
) -> np.ndarray:
    """The pixels [H,W] or [H,W,C] at places [h,w,2] int16 (across, down), as `positions` gives."""
    return cv2.remap(
        pixels,
        places,
        np.empty((0, 0), np.uint16),  # no fractions
        cv2.INTER_NEAREST,
        borderMode=_known(BORDERS, border),
        borderValue=(fill,) * 4,
    )


def nearest(source: int, target: int) -> np.ndarray:
    """Which of `source` pixels `resize` by nearest shows at each of `target` pixels: [target]."""
    numbers = np.arange(source, dtype=np.float32)[:, None]
    return cv2.resize(numbers, (1, target), interpolation=cv2.INTER_NEAREST)[:, 0].astype(np.int64)


def _known(names: Mapping[str, int], name: str) -> int:
    if name not in names:
        raise UserError(f"{name!r} is not one of: {', '.join(names)}")
    return names[name]
