"""BiSeNet V2's examples: a picture and its class map, scaled, cropped, mirrored, recoloured.

Yu, Gao, Wang, Yu, Shen, Sang, IJCV 2021, by the recipe of the re-implementation whose checkpoints
are in use (CoinCheung's). A row with a class map on file (`label`) is plain segmentation. Of a row
with an alpha the classes are made: 0 background and 1 foreground (alpha above one half), or 0
background, 1 unknown and 2 foreground by a trimap, made at the scale of the example.

A class map never holds anything but its classes and 255, which is not looked at: any other value is
refused by name, because a loss would take it without a word.
"""

import math

import cv2
import numpy as np
from ml_collections import ConfigDict

from jaxmatte.data import augment, compose, crops, photometric, trimaps
from jaxmatte.data.pool import Pool
from jaxmatte.data.routes.modnet import composes, scenery
from jaxmatte.data.rows import Row, Window
from jaxmatte.errors import UserError

IGNORED = 255


def example(
    row: Row, pool: Pool, options: ConfigDict, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """One example: uint8 [h,w,C] of image and label; of alpha and trimap, where there is an alpha.

    They are squares of `options.size`, or of `options.shape` where that is given.
    """
    size = tuple(options.shape) or (options.size, options.size)
    scale = rng.uniform(*options.scale)
    shape = (math.ceil(row.size[0] * scale), math.ceil(row.size[1] * scale))
    window, edges = crop(shape, size, rng)
    planes: dict[str, np.ndarray] = {}
    if "alpha" in row:
        planes = _matte(row, shape, window, options.trimap, rng)
    image = _picture(row, pool, options.compose, shape, window, planes.get("alpha"), rng)
    planes["label"] = _label(row, planes, shape, window, options)
    for name, pixels in planes.items():
        planes[name] = _framed(pixels, edges, IGNORED if name == "label" else 0)
    planes["image"] = _framed(image, edges, 0)
    if rng.random() < options.flip:
        planes = {name: augment.mirror(pixels) for name, pixels in planes.items()}
    drawn = photometric.draw_jitter(rng, options.jitter)
    planes["image"] = photometric.jitter(planes["image"], drawn)
    return {name: pixels.reshape(*size, -1) for name, pixels in planes.items()}


Edges = tuple[tuple[int, int], tuple[int, int]]


def crop(
    shape: tuple[int, int], size: tuple[int, int], rng: np.random.Generator
) -> tuple[Window, Edges]:
    """Draws a crop of a picture that is padded, where it is too small, by gap // 2 + 1 all around.

    Args:
        shape: Height and width of the scaled picture.
        size: Height and width of the crop.
        rng: The example's own random numbers.

    Returns:
        The part of the picture in it, and what is missing before and after, by axis.
    """
    window, edges = [], []
    for length, wanted in zip(shape, size, strict=True):
        padding = (wanted - length) // 2 + 1 if length < wanted else 0
        start = int(rng.random() * (length + 2 * padding - wanted)) - padding
        first, last = max(start, 0), min(start + wanted, length)
        window.append(slice(first, last))
        edges.append((first - start, start + wanted - last))
    return (window[0], window[1]), (edges[0], edges[1])


def _matte(
    row: Row, shape: tuple[int, int], window: Window, options: ConfigDict, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Alpha and trimap of the crop, as they are in all of the scaled picture."""
    kernels = trimaps.draw(options.name, shape, rng, options.get(options.name))
    alpha, trimap = kernels.within(
        lambda part: crops.read_resized(row, "alpha", shape, part, "linear"), window, shape
    )
    return {"alpha": alpha, "trimap": trimap}


def _picture(
    row: Row,
    pool: Pool,
    options: ConfigDict,
    shape: tuple[int, int],
    window: Window,
    alpha: np.ndarray | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """The crop's picture, composed or as photographed."""
    if not composes(options, rng) or alpha is None:
        return crops.read_resized(row, "image", shape, window, "linear")
    field = "foreground" if "foreground" in row else "image"
    colours = crops.read_resized(row, field, shape, window, "linear")
    # Colours are estimated at this scale: it costs a tenth of what it costs at the file's.
    front = pool.colours(Row.of(row.index, row.name, **{"alpha": alpha, field: colours}))
    return compose.blend(front, scenery(pool.background(rng, row), alpha.shape, rng), alpha)


def _label(
    row: Row,
    planes: dict[str, np.ndarray],
    shape: tuple[int, int],
    window: Window,
    options: ConfigDict,
) -> np.ndarray:
    """The crop's class map: [h,w] uint8, from file or from the matte."""
    if "label" in row:
        return checked(
            crops.read_resized(row, "label", shape, window, "nearest"), row.name, options
        )
    if "alpha" not in row:
        raise UserError(f"{row.name} has neither a label nor an alpha; route bisenetv2 needs one")
    return _of_matte(planes["alpha"], planes["trimap"], options.classes)


def _of_matte(alpha: np.ndarray, trimap: np.ndarray, classes: int) -> np.ndarray:
    if classes == 2:
        return (alpha > 127).astype(np.uint8)
    if classes == 3:
        return (trimap // 127).astype(np.uint8)  # 0, 128, 255
    raise UserError(f"data.classes={classes}: an alpha makes 2 or 3; for more, a row needs a label")


def class_map(row: Row, options: ConfigDict) -> np.ndarray:
    """The classes of a whole row [H,W] uint8, from file or from its alpha, to compare with."""
    if "label" in row:
        return checked(row["label"], row.name, options)
    alpha, kind = row["alpha"], options.trimap.name
    rng = np.random.default_rng(row.index)  # a maker that draws draws the same each time
    kernels = trimaps.draw(kind, alpha.shape, rng, options.trimap.get(kind))
    return _of_matte(alpha, kernels.trimap(alpha), options.classes)


def checked(label: np.ndarray, name: str, options: ConfigDict) -> np.ndarray:
    """A class map from file, renumbered by `options.renumber`, or what is wrong with it."""
    table = np.arange(256, dtype=np.uint8)
    for value, number in options.renumber:
        table[value] = number
    label = cv2.LUT(label, table)
    allowed = np.arange(256) < options.classes
    allowed[IGNORED] = True
    if not allowed[label].all():
        value = int(label[~allowed[label]][0])
        raise UserError(
            f"the label of {name} holds {value}; data.classes={options.classes} allows 0 to "
            f"{options.classes - 1} and {IGNORED} (not looked at): set data.renumber"
        )
    return label


def _framed(pixels: np.ndarray, edges: Edges, fill: int) -> np.ndarray:
    (top, bottom), (left, right) = edges
    if not (top or bottom or left or right):
        return pixels
    return cv2.copyMakeBorder(
        pixels, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(fill,) * 4
    )
