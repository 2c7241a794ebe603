"""GCA-Matting's examples: two foregrounds merged, an affine map, a crop, a drawn trimap, jitter.

Li and Lu, AAAI 2020, in the order of their code. Everything that moves pixels of the foreground
moves whole ones (nearest), so that a pixel of the result is one pixel of a file, and only those
pixels are read: the steps pass on where each pixel comes from, not pictures. Of the mapped alpha
and its trimap, too, only those parts are made that the crop is chosen from or shows.

Departs from the released code, without a switch:

- Foreground and picture are computed in floating point and rounded once, at the end, to 8 bits;
  there the network is handed floats. The alpha of two foregrounds is rounded to 8 bits as well.
- A foreground is merged with any other, never with itself.
- The affine map turns around the centre of the picture, not around a point a pixel off it.
- The crop is chosen from every fourth row and column, also where four does not divide the sides:
  there the quarter-size trimap is off by up to three pixels.
- Where the picture is enlarged or squeezed, the background is resized once, not up to three times.

mmagic's pipeline has `squeeze.probability=0`; it also enlarges small pictures no further than it
must, and cuts those without any unknown pixel instead of squeezing them.
"""

import dataclasses

import cv2
import numpy as np
from ml_collections import ConfigDict

from jaxmatte.data import augment, compose, crops, trimaps
from jaxmatte.data.pool import Pool
from jaxmatte.data.rows import Row, Window
from jaxmatte.errors import UserError

STRIP = 64  # rows of floats that are worked on at a time: few enough for the processor's cache


def example(
    row: Row, pool: Pool, options: ConfigDict, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """One example: uint8 [size,size,C] of image, alpha, foreground, background and trimap."""
    front = merge(row, pool, rng, options.merge)
    frame = front.both.shape
    if rng.random() < options.squeeze.probability:
        frame = (options.squeeze.size, options.squeeze.size)
    matrix = draw_map(rng, options.affine, frame).matrix(frame)
    kind = options.trimap.name
    kernels = trimaps.draw(kind, frame, rng, options.trimap.get(kind))
    whole = augment.resize(front.both, frame, "nearest")

    def trimap(part: Window) -> np.ndarray:
        return kernels.within(lambda around: _mapped(whole, matrix, around), part, frame)[1]

    shape, window = crops.gca(trimap, frame, rng, options.size)
    rows, columns = (
        augment.nearest(before, after)[part]
        for before, after, part in zip(frame, shape, window, strict=True)
    )
    places = augment.positions(matrix, rows, columns)
    alpha = augment.pick(whole, places)
    colours = front.colours(pool, _onto(places, frame, front.both.shape))
    background = crops.read_resized(pool.background(rng, row), "background", shape, window, "cubic")
    colours = jitter(colours, alpha, draw_jitter(rng, options.jitter))
    planes = {
        "image": composite(colours, background, alpha),
        "alpha": alpha,
        "foreground": compose.to_bytes(colours),
        "background": background,
        "trimap": crops.taken(trimap, rows, columns),
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
        return compose.blend(first, under, augment.pick(self.alpha, places))


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
    # Bytes are enough for the means: what rounding does to single pixels cancels out.
    means = cv2.mean(cv2.cvtColor(colours, cv2.COLOR_RGB2HSV_FULL), mask=alpha)  # mask: not 0
    shares = (drawn.saturation, drawn.value)
    shifts = [share * (1.1 - mean / 255) for share, mean in zip(shares, means[1:3], strict=True)]
    moved = np.empty(colours.shape, np.float32)
    for top in range(0, len(colours), STRIP):
        strip = slice(top, top + STRIP)
        hsv = cv2.cvtColor(colours[strip] * np.float32(1 / 255), cv2.COLOR_RGB2HSV)
        hue, *others = cv2.split(hsv)
        hue += drawn.hue % 360  # up to two turns, which OpenCV knows
        for plane, shift in zip(others, shifts, strict=True):
            np.abs(np.add(plane, shift, out=plane), out=plane)
            np.minimum(plane, 2 - plane, out=plane)
        rgb = cv2.cvtColor(cv2.merge([hue, *others]), cv2.COLOR_HSV2RGB)
        np.multiply(rgb, np.float32(255), out=moved[strip])
    return moved


def composite(foreground: np.ndarray, background: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Equation 1 in floating point, rounded once: [h,w,3] uint8.

    Args:
        foreground: [h,w,3] float32, 0..255, straight.
        background: [h,w,3] uint8.
        alpha: [h,w] uint8.
    """
    mixed = np.empty(background.shape, np.uint8)
    for top in range(0, len(mixed), STRIP):
        strip = slice(top, top + STRIP)
        parts = np.clip(foreground[strip], 0, 255)
        parts -= background[strip]
        parts *= cv2.merge([alpha[strip] * np.float32(1 / 255)] * 3)
        mixed[strip] = cv2.add(parts, background[strip], dtype=cv2.CV_8U)  # rounded
    return mixed


def _colours_at(row: Row, pool: Pool, places: np.ndarray) -> np.ndarray:
    """The foreground's colours at places [h,w,2] (across, down), black outside: [h,w,3] uint8."""
    corners = places[[0, 0, -1, -1], [0, -1, 0, -1]]  # of a map, so that all else lies between
    columns, rows = (
        _span(numbers, length) for numbers, length in zip(corners.T, row.size[::-1], strict=True)
    )
    # Pairs in a row: NumPy is slow where the last axis is short.
    corner = np.tile(np.array([columns.start, rows.start], np.int16), places.shape[1])
    shifted = (places.reshape(len(places), -1) - corner).reshape(places.shape)
    return augment.pick(pool.colours(row, (rows, columns)), shifted)


def _span(numbers: np.ndarray, length: int) -> slice:
    """What numbers reach over of an axis; at least one of its pixels."""
    first, last = (min(max(int(end), 0), length - 1) for end in (numbers.min(), numbers.max()))
    return slice(first, last + 1)


def _mapped(alpha: np.ndarray, matrix: np.ndarray, window: Window) -> np.ndarray:
    """The window of a mapped alpha."""
    rows, columns = (np.arange(part.start, part.stop) for part in window)
    return augment.pick(alpha, augment.positions(matrix, rows, columns))


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
        table = np.concatenate([[-1], augment.nearest(before, after), [before]]).astype(np.int16)
        axes.append(np.take(table, numbers.astype(np.intp) + 1, mode="clip"))
    return cv2.merge(axes)
