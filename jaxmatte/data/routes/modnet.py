"""MODNet's examples: a foreground laid over a background at the training size itself.

Ke, Sun, Li, Yan, Lau, AAAI 2022, as its author describes the data in the project's threads: the
foreground is scaled first, cut where it is larger than the training picture, and blended there. No
blur, no noise: they hurt. What is neither published nor said is chosen here: a foreground lies
anywhere in the picture, a background is any part of its file, as large as it can be, and colours
change in foreground and background, so that the picture still is what equation 1 makes of them.
"""

import cv2
import numpy as np
from ml_collections import ConfigDict

from jaxmatte.data import augment, compose, crops, photometric, trimaps
from jaxmatte.data.pool import Pool
from jaxmatte.data.rows import Row
from jaxmatte.errors import UserError

COMPOSITIONS = ("none", "blend")


def example(
    row: Row, pool: Pool, options: ConfigDict, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """One example: uint8 [size,size,C] of image, alpha, foreground, background and trimap."""
    size = options.size
    composed = composes(options.compose, rng)
    longer = int(rng.integers(options.longer[0], options.longer[1] + 1))
    scale = longer / max(row.size)
    if composed:
        colours = "foreground" if "foreground" in row else "image"
        placed = place(row, ("alpha", colours), scale, size, rng)
        front = pool.colours(placed)
        behind = scenery(pool.background(rng, row), (size, size), rng)
        behind = augment.mirror(behind) if rng.random() < options.flip else behind
    else:
        fields = tuple(f for f in ("image", "alpha", "foreground", "background") if f in row)
        placed = place(row, fields, max(scale, size / min(row.size)), size, rng)
        front, behind = pool.separated(placed)
    planes = {"alpha": placed["alpha"], "foreground": front}
    if not composed:
        planes |= {"image": placed["image"], "background": behind}
    if rng.random() < options.flip:
        planes = {name: augment.mirror(pixels) for name, pixels in planes.items()}
    drawn = photometric.draw_jitter(rng, options.jitter)
    planes |= {n: photometric.jitter(p, drawn) for n, p in planes.items() if n != "alpha"}
    if composed:
        behind = photometric.jitter(behind, photometric.draw_jitter(rng, options.jitter))
        image = compose.blend(planes["foreground"], behind, planes["alpha"])
        planes |= {"image": image, "background": behind}
    kind = options.trimap.name
    planes["trimap"] = trimaps.make(kind, planes["alpha"], rng, options.trimap.get(kind))
    return {name: pixels.reshape(size, size, -1) for name, pixels in planes.items()}


def composes(options: ConfigDict, rng: np.random.Generator) -> bool:
    """Whether this example is composed; the others are as photographed."""
    if options.route not in COMPOSITIONS:
        raise UserError(
            f"data.compose.route={options.route!r}; there are: {', '.join(COMPOSITIONS)}"
        )
    return bool(rng.random() < options.share) and options.route != "none"


def place(
    row: Row, fields: tuple[str, ...], scale: float, size: int, rng: np.random.Generator
) -> Row:
    """Scales planes and lays them somewhere into a square: inside it, or over its edges.

    Where a plane is larger than the square, it covers it; where it is smaller, it lies within.
    Beyond its border there is no alpha, and the colours of the border go on. Shrinking takes means.

    Args:
        row: The row.
        fields: Planes to place.
        scale: Pixels of the square for one of the row.
        size: Side of the square.
        rng: The example's own random numbers.
    """
    source, frame = [], []  # what is read, and where it comes to lie
    for length in row.size:
        scaled = max(round(length * scale), 1)
        room = size - scaled
        start = int(rng.integers(min(room, 0), max(room, 0) + 1))
        first, last = max(start, 0), min(start + scaled, size)
        unit = length / scaled
        begin = min(round((first - start) * unit), length - 1)
        source.append(slice(begin, max(round((last - start) * unit), begin + 1)))
        frame.append((first, last))
    (top, bottom), (left, right) = frame
    planes = {}
    for field in fields:
        pixels = row.read(field, (source[0], source[1]))
        pixels = augment.shrink(pixels, (bottom - top, right - left))
        border = cv2.BORDER_CONSTANT if field == "alpha" else cv2.BORDER_REPLICATE
        planes[field] = cv2.copyMakeBorder(
            pixels, top, size - bottom, left, size - right, border, value=0
        )
    return Row.of(row.index, row.name, **planes)


def scenery(row: Row, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A part of a background, anywhere, as large as the aspect allows: [h,w,3] uint8.

    Args:
        row: The background's.
        shape: Height and width of the result; shrinking takes means.
        rng: The example's own random numbers.
    """
    unit = min(length / wanted for length, wanted in zip(row.size, shape, strict=True))
    size = tuple(
        min(max(round(wanted * unit), 1), length)
        for length, wanted in zip(row.size, shape, strict=True)
    )
    window = crops.uniform(row.size, (size[0], size[1]), rng)
    return augment.shrink(row.read("background", window), shape)
