"""The rows that the tests of the routes draw from."""

import numpy as np

from jaxmatte.data.rows import Row
from tests.data import folders


class Pool:
    """Lends the same background and the same second foreground to everybody."""

    def __init__(self, background=None, second=None):
        self.rows = {"background": background, "foreground": second}

    def background(self, rng, row):
        return self.rows["background"]

    def foreground(self, rng, row):
        return self.rows["foreground"]

    def colours(self, row, window=None):
        return row.read("foreground", window)


def still(**arrays):
    """A row whose arrays nobody may write to."""
    for array in arrays.values():
        array.flags.writeable = False
    return Row.of(0, "still", **arrays)


def behind(height, width, seed=50):
    return still(background=folders.picture(seed, height, width))


def coded(alpha):
    """A foreground whose first colour is its alpha, the others the place in the picture."""
    rows, columns = np.indices(alpha.shape)
    colours = np.stack([alpha, rows % 256, columns % 256], axis=-1).astype(np.uint8)
    return still(alpha=alpha, foreground=colours)


def thing(height=90, width=120, soft=20.0):
    return coded(folders.matte(height, width, soft))


def frozen(planes):
    """The bytes of everything, to compare examples by."""
    return {name: (pixels.shape, pixels.tobytes()) for name, pixels in planes.items()}
