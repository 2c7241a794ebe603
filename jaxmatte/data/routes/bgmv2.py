"""Background Matting V2's examples: a picture, and a plate of its background taken apart from it.

Lin, Ryabtsev, Sengupta, Curless, Seitz, Kemelmacher-Shlizerman, CVPR 2021, in the order of the
released code: foreground and background are moved, softened and coloured each by itself; the
subject's shadow falls on the background, which then shows in the picture, while the plate shows it
without; both get noise, and the plate other colours and a slight shift.

Departs from the released code, without a switch:

- There, one size is drawn for a batch, in which all pictures are scaled to cover it and cut in the
  middle. A batch has one size here, so that each example draws its own scale (`sides`) and is cut
  to `size` in the middle: the subject has as many pixels as there. A background is never scaled
  below `size`: the frame it would leave was not seen there either.
- Moving and scaling are one map, read once. The blur's radius follows the scale; sharpening comes
  after it.
- Beyond its picture the foreground goes on with the colours of the border, where alpha is 0.
- Shadow and noise are drawn for each example, not for the examples of a batch that have one.
- Picture and plate are rounded to 8 bits after each step; there they stay floats.
"""

import dataclasses
import math

import numpy as np
from ml_collections import ConfigDict

from jaxmatte.data import augment, compose, photometric, trimaps
from jaxmatte.data.pool import Pool
from jaxmatte.data.rows import Row, Window
from jaxmatte.errors import UserError


def example(
    row: Row, pool: Pool, options: ConfigDict, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """One example: uint8 [size,size,C] of image, plate, alpha, foreground, background, trimap."""
    size = options.size
    side = int(max(rng.integers(options.sides[0], options.sides[1] + 1, 2)))
    fields = ("alpha", "foreground" if "foreground" in row else "image")
    planes = seen(row, fields, draw_affine(rng, options.front), side, size, "replicate")
    planes = soften(planes, rng, options.front, side / options.canvas)
    front, alpha = pool.colours(Row.of(row.index, row.name, **planes)), planes["alpha"]
    front = photometric.jitter(front, photometric.draw_jitter(rng, options.front.jitter))

    other, settings = pool.background(rng, row), options.back
    affine, side = draw_affine(rng, settings), max(side, size)
    planes = seen(other, ("background",), affine, side, size, settings.outside)
    planes = soften(planes, rng, settings, side / options.canvas)
    jitter = photometric.draw_jitter(rng, settings.jitter)
    plate = photometric.jitter(planes["background"], jitter)

    behind = shadowed(plate, alpha, rng, options.shadow)
    image = compose.blend(front, behind, alpha)
    if rng.random() < options.noise.probability:
        image, plate = (noisy(pixels, rng, options.noise) for pixels in (image, plate))
    made = {
        "image": image,
        "plate": other_look(plate, rng, options.plate),
        "alpha": alpha,
        "foreground": front,
        "background": behind,
        "trimap": trimaps.make(
            options.trimap.name, alpha, rng, options.trimap.get(options.trimap.name)
        ),
    }
    return {name: pixels.reshape(size, size, -1) for name, pixels in made.items()}


def draw_affine(rng: np.random.Generator, options: ConfigDict) -> augment.Affine:
    """Draws a map with one scale for both axes: `scale`, `rotation`, `shear`, `shift`, `flip`."""
    flips = (options.get("flip", 0.0), 0.0)
    shift = (options.shift, options.shift)
    drawn = augment.draw_affine(
        rng, flips, rotation=options.rotation, shear=options.shear, shift=shift
    )
    scale = float(rng.uniform(*options.scale))
    return dataclasses.replace(drawn, scale=(scale, scale))


def matrix_of(affine: augment.Affine, source: tuple[int, int], side: int, size: int) -> np.ndarray:
    """Where a pixel of the result comes from: [2,3] on (across, down, 1).

    The middle of the picture lies in the middle of the result. At scale 1 its shorter side is
    `side` pixels of the result long.

    Args:
        affine: What was drawn; its shift is in shares of the scaled picture.
        source: Height and width of the picture.
        side: See above.
        size: Side of the result.
    """
    unit = min(source) / side
    back = unit * affine.matrix((1, 1))[:, :2]  # around the middle, so of any shape
    middle = (np.array([source[1], source[0]]) - 1) / 2
    shift = np.array([source[1], source[0]]) / unit * affine.shift
    return np.column_stack([back, middle - back @ ((size - 1) / 2 + shift)])


def seen(
    row: Row,
    fields: tuple[str, ...],
    affine: augment.Affine,
    side: int,
    size: int,
    outside: str,
) -> dict[str, np.ndarray]:
    """What a map shows of some planes, bilinear; only the part that is seen is read.

    Args:
        row: The row.
        fields: Its planes; beyond the border of `alpha` there is nothing.
        affine: The map, see `matrix_of`.
        side: The shorter side at scale 1.
        size: Side of the result.
        outside: What goes on beyond the border of the others: a name of `augment.BORDERS`.
    """
    matrix = matrix_of(affine, row.size, side, size)
    window = _needed(matrix, row.size, size)
    if outside == "reflect":  # from further inside than what is seen, perhaps
        window = (slice(0, row.size[0]), slice(0, row.size[1]))
    matrix[:, 2] -= (window[1].start, window[0].start)
    return {
        field: augment.apply(
            row.read(field, window),
            matrix,
            (size, size),
            "linear",
            "constant" if field == "alpha" else outside,
        )
        for field in fields
    }


def _needed(matrix: np.ndarray, source: tuple[int, int], size: int) -> Window:
    """The pixels that a square result reads, with one to spare; at least one."""
    corners = np.array([[0, 0, 1], [size - 1, 0, 1], [0, size - 1, 1], [size - 1, size - 1, 1]])
    places = corners @ matrix.T
    parts = []
    for numbers, length in ((places[:, 1], source[0]), (places[:, 0], source[1])):
        start = min(max(math.floor(numbers.min()) - 1, 0), length - 1)
        stop = max(min(math.ceil(numbers.max()) + 2, length), start + 1)
        parts.append(slice(start, stop))
    return parts[0], parts[1]


def soften(
    planes: dict[str, np.ndarray], rng: np.random.Generator, options: ConfigDict, zoom: float
) -> dict[str, np.ndarray]:
    """Blurs and sharpens planes alike, alpha too, each with its probability.

    Args:
        planes: Planes that belong together.
        rng: The example's own random numbers.
        options: `blur`, `radius` and `sharpen`.
        zoom: What a pixel of the radius is here.
    """
    blurs = rng.random() < options.blur
    radius = zoom * int(rng.integers(options.radius + 1))
    if blurs:
        planes = {name: photometric.box_blur(p, radius) for name, p in planes.items()}
    if rng.random() < options.sharpen:
        planes = {name: photometric.sharpen(p) for name, p in planes.items()}
    return planes


def shadowed(
    pixels: np.ndarray, alpha: np.ndarray, rng: np.random.Generator, options: ConfigDict
) -> np.ndarray:
    """Lets the subject's shadow fall on what is behind it, with its probability."""
    if rng.random() >= options.probability:
        return pixels
    strength = float(rng.uniform(*options.strength))
    matrix = draw_affine(rng, options).matrix(alpha.shape)
    side = int(rng.integers(options.blur[0], options.blur[1] + 1))
    return photometric.cast_shadow(pixels, alpha, matrix, strength, side)


def noisy(pixels: np.ndarray, rng: np.random.Generator, options: ConfigDict) -> np.ndarray:
    """Adds noise of a drawn strength: `options.most` bounds its deviation, or its variance."""
    if options.measure not in ("deviation", "variance"):
        raise UserError(f"noise.measure={options.measure!r}; there are: deviation, variance")
    drawn = options.most * rng.random()
    sigma = 255 * (drawn if options.measure == "deviation" else math.sqrt(drawn))
    return compose.add_noise(pixels, photometric.rounded_noise(pixels.shape, sigma, rng))


def other_look(plate: np.ndarray, rng: np.random.Generator, options: ConfigDict) -> np.ndarray:
    """Changes the plate's colours and shifts it a little, as if taken a moment apart."""
    colours = rng.random() < options.jitter.probability
    moves = colours if options.together else rng.random() < options.affine.probability
    if colours:
        plate = photometric.jitter(plate, photometric.draw_jitter(rng, options.jitter))
    if moves:
        shape = plate.shape[:2]
        plate = augment.apply(
            plate, draw_affine(rng, options.affine).matrix(shape), shape, "nearest"
        )
    return plate
