"""GCA-Matting's examples: two foregrounds merged, an affine map, a crop, a drawn trimap, jitter.

Li and Lu, AAAI 2020, in the order of their code. Everything that moves pixels of the foreground
moves whole ones (nearest), so that a pixel of the result is one pixel of a file, and only those
pixels are read: the steps pass on where each pixel comes from, not pictures. Only the alpha is
mapped whole, because the crop is chosen from its trimap.

Foreground and picture are computed in floating point and rounded once, at the end, to 8 bits; the
released code hands floats to the network. Other departures: the affine map turns around the centre
of the picture, not around a point a pixel off it; where the picture is enlarged or squeezed, the
background is resized once instead of two or three times.
"""

import dataclasses

import cv2
import numpy as np
from ml_collections import ConfigDict

from jaxmatte.data import augment, crops, trimaps
from jaxmatte.data.pool import Pool
from jaxmatte.data.rows import Row
from jaxmatte.errors import UserError


def example(
    row: Row, pool: Pool, options: ConfigDict, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """One example: uint8 [size,size,C] of image, alpha, foreground, background and trimap."""
    front = merge(row, pool, rng, options.merge)
    frame = front.both.shape
    if rng.random() < options.squeeze.probability:
        frame = (options.squeeze.size, options.squeeze.size)
    matrix = draw_map(rng, options.affine, frame).matrix(frame)
    alpha = augment.apply(augment.resize(front.both, frame, "nearest"), matrix, frame, "nearest")
    kind = options.trimap.name
    trimap = trimaps.make(kind, alpha, rng, options.trimap.get(kind))
    shape, window = crops.gca(trimap, rng, options.size)
    rows, columns = (
        augment.nearest(before, after)[part]
        for before, after, part in zip(frame, shape, window, strict=True)
    )
    alpha, trimap = (plane[rows][:, columns] for plane in (alpha, trimap))

    places = augment.positions(matrix, rows, columns)
    colours = front.colours(pool, _onto(places, frame, front.both.shape))
    background = crops.read_resized(pool.background(rng, row), "background", shape, window, "cubic")
    colours = jitter(colours, alpha, draw_jitter(rng, options.jitter))
    planes = {
        "image": composite(colours, background, alpha),
        "alpha": alpha,
        "foreground": np.rint(colours).astype(np.uint8),
        "background": background,
        "trimap": trimap,
    }
    return {name: p.reshape(options.size, options.size, -1) for name, p in planes.items()}


@dataclasses.dataclass(frozen=True)
class Front:
    """A foreground, or one laid over another; colours are read only where they are asked for.

    Attributes:
        row: The foreground.
        alpha: Its own alpha: [H,W] uint8.
        both: The alpha of all there is: [H,W] uint8.
        second: What lies under it, stretched to its size; None for a foreground alone.
    """

    row: Row
    alpha: np.ndarray
    both: np.ndarray
    second: Row | None = None

    def colours(self, pool: Pool, places: np.ndarray) -> np.ndarray:
        """The colours at places [h,w,2] (across, down) of the foreground: [h,w,3] uint8.

        Two foregrounds are mixed as F1 a1 + F2 (1 - a1), cut to 8 bits.
        """
        first = _colours_at(self.row, pool, places)
        if self.second is None:
            return first
        under = _colours_at(self.second, pool, _onto(places, self.row.size, self.second.size))
        return mix(first, under, augment.pick(self.alpha, places))


def merge(row: Row, pool: Pool, rng: np.random.Generator, probability: float) -> Front:
    """Lays the foreground over another one, sometimes; not where nothing would shine through."""
    alpha = row["alpha"]
    if rng.random() >= probability:
        return Front(row, alpha, alpha)
    second = pool.foreground(rng, row)
    both = union(alpha, augment.resize(second["alpha"], alpha.shape, "nearest"))
    if (both == 255).all():
        return Front(row, alpha, alpha)
    return Front(row, alpha, both, second)


def union(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """What two alphas [H,W] uint8 cover together: 1 - (1 - a1) (1 - a2), rounded to 8 bits."""
    through = cv2.multiply(cv2.bitwise_not(first), cv2.bitwise_not(second), scale=1 / 255)
    return cv2.bitwise_not(through)


def mix(first: np.ndarray, second: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The colours [h,w,3] uint8 of one foreground over another, by the first one's alpha."""
    opacity = (alpha / np.float32(255))[..., None]
    return (first * opacity + second * (1 - opacity)).astype(np.uint8)


def draw_map(
    rng: np.random.Generator, options: ConfigDict, frame: tuple[int, int]
) -> augment.Affine:
    """The affine map of an example; small pictures are not turned."""
    drawn = augment.draw_affine(rng, options.flips, options.scale, options.rotation, options.shear)
    if max(frame) < options.rotated_from:
        return dataclasses.replace(drawn, rotation=0.0)
    return drawn


@dataclasses.dataclass(frozen=True)
class Jitter:
    """A shift of all colours: hue in degrees, saturation and value as shares of their reach."""

    hue: int = 0
    saturation: float = 0.0
    value: float = 0.0


def draw_jitter(rng: np.random.Generator, options: ConfigDict) -> Jitter:
    """Draws the shifts from the ranges of the configuration."""
    low, high = options.hue
    if high < low:
        raise UserError(f"jitter.hue={(low, high)}: the second must not be below the first")
    return Jitter(
        int(rng.integers(low, high + 1)),
        rng.uniform(-options.saturation, options.saturation),
        rng.uniform(-options.value, options.value),
    )


def jitter(colours: np.ndarray, alpha: np.ndarray, drawn: Jitter) -> np.ndarray:
    """Shifts hue, saturation and value of a foreground.

    Saturation and value have a reach of 1.1 minus their mean where alpha is not 0, and are
    reflected at 0 and at 1. A foreground that is nowhere to be seen stays as it is.

    Args:
        colours: [h,w,3] uint8, straight.
        alpha: [h,w] uint8.
        drawn: The shifts.

    Returns:
        [h,w,3] float32, 0..255.
    """
    if not alpha.any():
        return colours.astype(np.float32)
    channels = list(cv2.split(cv2.cvtColor(colours * np.float32(1 / 255), cv2.COLOR_RGB2HSV)))
    channels[0] = np.remainder(channels[0] + np.float32(drawn.hue), np.float32(360))
    for number, share in ((1, drawn.saturation), (2, drawn.value)):
        mean = cv2.mean(channels[number], mask=alpha)[0]  # where the mask is not 0
        moved = np.abs(channels[number] + np.float32(share * (1.1 - mean)))
        channels[number] = np.minimum(moved, 2 - moved)
    return cv2.cvtColor(cv2.merge(channels), cv2.COLOR_HSV2RGB) * np.float32(255)


def composite(foreground: np.ndarray, background: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Equation 1 in floating point, rounded once: [h,w,3] uint8.

    Args:
        foreground: [h,w,3] float32, 0..255, straight.
        background: [h,w,3] uint8.
        alpha: [h,w] uint8.
    """
    opacity = (alpha / np.float32(255))[..., None]
    mixed = background + opacity * (np.clip(foreground, 0, 255) - background)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _colours_at(row: Row, pool: Pool, places: np.ndarray) -> np.ndarray:
    """The foreground's colours at places [h,w,2] (across, down), black outside: [h,w,3] uint8."""
    columns, rows = (
        _span(axis, length) for axis, length in zip(cv2.split(places), row.size[::-1], strict=True)
    )
    corner = np.array([columns.start, rows.start], np.int16)
    return augment.pick(pool.colours(row, (rows, columns)), places - corner)


def _span(numbers: np.ndarray, length: int) -> slice:
    """What numbers reach over of an axis; at least one of its pixels."""
    first, last = (min(max(int(end), 0), length - 1) for end in (numbers.min(), numbers.max()))
    return slice(first, last + 1)


def _onto(places: np.ndarray, source: tuple[int, int], target: tuple[int, int]) -> np.ndarray:
    """Places in a picture resized by nearest, as places in that picture before.

    Args:
        places: [h,w,2] int16 (across, down), in the resized picture; what lies outside stays so.
        source: Height and width of the resized picture.
        target: Height and width of the picture before.
    """
    if source == target:
        return places
    axes = []
    for numbers, after, before in zip(cv2.split(places), source[::-1], target[::-1], strict=True):
        table = np.pad(augment.nearest(before, after), 1, constant_values=-1).astype(np.int16)
        axes.append(table[np.clip(numbers, -1, after) + 1])
    return cv2.merge(axes)
