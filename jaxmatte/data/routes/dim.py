"""Deep Image Matting's examples: a crop around the transition, resized, with a drawn trimap.

Xu, Price, Cohen, Huang, CVPR 2017; the steps are those of the two well-known trainings, mmagic's
and hct's, which differ in the crop's centre and in the trimap.

The picture is blended at the scale of the files, as the data set's own composites are, and then
resized: alpha, foreground and background are resized each by itself.

Departs from mmagic's, without a switch: where nothing is unknown, the crop lies anywhere, not in
the top-left corner; of a picture that is enlarged, only the crop is made, so that levels differ by
a few here and there from those of OpenCV's resize.
"""

import numpy as np
from ml_collections import ConfigDict

from jaxmatte.data import augment, compose, crops, trimaps
from jaxmatte.data.pool import Pool
from jaxmatte.data.rows import Row, Window
from jaxmatte.errors import UserError


def example(
    row: Row, pool: Pool, options: ConfigDict, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """One example: uint8 [size,size,C] of image, alpha, foreground, background and trimap."""
    planes = _cropped(row, pool, options, rng)
    if rng.random() < options.flip:
        planes = {name: augment.mirror(pixels) for name, pixels in planes.items()}
    planes = augment.resize_all(planes, options.size)
    if "trimap" not in planes:
        planes["trimap"] = _trimap(planes["alpha"], options.trimap, rng)
    return {name: p.reshape(options.size, options.size, -1) for name, p in planes.items()}


def behind(
    row: Row, shape: tuple[int, int], window: Window, rule: str, rng: np.random.Generator
) -> np.ndarray:
    """The part of a background that lies behind a window of the foreground: [h,w,3] uint8.

    A background that is too small is enlarged (bicubic, sides rounded up) until it covers the
    foreground. Of one that is larger the top-left part is used, by the data set's own rule, or
    any part. OpenCV's bicubic kernel is a little sharper than that of the data set's script.

    Args:
        row: The background's.
        shape: Height and width of the foreground.
        window: The part of it that is wanted.
        rule: corner or random.
        rng: The example's own random numbers.
    """
    if rule not in ("corner", "random"):
        raise UserError(f"background={rule!r}; there are: corner, random")
    size = crops.enlarged(row.size, shape)
    if rule == "random":
        top, left = (part.start for part in crops.uniform(size, shape, rng))
        rows, columns = window
        window = (
            slice(rows.start + top, rows.stop + top),
            slice(columns.start + left, columns.stop + left),
        )
    return crops.read_resized(row, "background", size, window, "cubic")


def _cropped(
    row: Row, pool: Pool, options: ConfigDict, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """The planes in the crop, before flipping and resizing."""
    alpha, crop = row["alpha"], options.crop
    side = int(rng.choice(crop.sizes))
    shape = crops.covering(alpha.shape, side)
    fits = shape == alpha.shape
    window = crops.around_unknown(alpha, rng, side, crop.centre) if fits else crops.whole(row.size)
    planes = {
        "alpha": alpha[window],
        "foreground": pool.colours(row, window),
        "background": behind(
            pool.background(rng, row), alpha.shape, window, options.background, rng
        ),
    }
    planes["image"] = compose.blend(planes["foreground"], planes["background"], planes["alpha"])
    if not options.trimap.resized:
        planes["trimap"] = _trimap(alpha, options.trimap, rng)[window]
    if fits:
        return planes
    window = crops.around_unknown(augment.resize(alpha, shape), rng, side, crop.centre)
    whole = Row.of(row.index, row.name, **planes)
    return {
        name: crops.read_resized(whole, name, shape, window, augment.interpolation(name))
        for name in planes
    }


def _trimap(alpha: np.ndarray, options: ConfigDict, rng: np.random.Generator) -> np.ndarray:
    name = options.name if options.redraw else "fixed"
    return trimaps.make(name, alpha, rng, options.get(name))
