"""Pictures alone: no alpha, nothing composed, colours as photographed.

For training without labels, such as MODNet's self-supervised adaptation to the pictures of one
camera or one video (Ke, Sun, Li, Yan, Lau, AAAI 2022, section 5).
"""

import numpy as np
from ml_collections import ConfigDict

from jaxmatte.data import augment, crops
from jaxmatte.data.pool import Pool
from jaxmatte.data.rows import Row
from jaxmatte.errors import UserError


def example(
    row: Row, pool: Pool, options: ConfigDict, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """One example: `image` uint8 [size,size,3], a square anywhere in the picture, resized."""
    low, high = options.scale
    if not 0 < low <= high <= 1:
        raise UserError(
            f"data.scale={tuple(options.scale)}: give a range of shares of the picture's shorter "
            "side, above 0 and up to 1"
        )
    size = options.size
    side = max(round(rng.uniform(low, high) * min(row.size)), 1)
    window = crops.uniform(row.size, (side, side), rng)
    pixels = row.read("image", window)
    image = augment.shrink(pixels, (size, size)) if side > size else augment.resize(pixels, size)
    if rng.random() < options.flip:
        image = augment.mirror(image)
    # A copy where nothing was done to it: what a source keeps in memory is not the batch's.
    return {"image": image.copy() if image is pixels else image}
