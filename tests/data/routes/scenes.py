"""What the tests of the routes share."""

import numpy as np

from configs import common
from jaxmatte.data import routes, trimaps
from jaxmatte.data.pool import Pool
from tests.data import folders
from tests.data.routes import pools


def settings(options, **changes):
    """The group `data` with a route's options, as a configuration has it."""
    data = common.base().data
    data.update(options)
    data.update_from_flattened_dict(changes)
    return data


def make(options, seed=0, row=None, behind=None):
    """One example, by the route that the options name and with the real pool."""
    row = row or pools.thing()
    pool = Pool([row], [behind or pools.behind(80, 150)], options)
    return routes.find(options.route)(row, pool, options, np.random.default_rng(seed))


def photograph(height=90, width=120, soft=20.0):
    """A row that has no foreground on file."""
    alpha = folders.matte(height, width, soft)
    return pools.still(alpha=alpha, image=folders.picture(7, height, width))


def of(alpha):
    """A row of a given alpha."""
    return pools.still(alpha=alpha, foreground=folders.picture(8, *alpha.shape))


def fixed_trimap(alpha, size):
    """The trimap of one ellipse."""
    return trimaps.make("fixed", alpha, np.random.default_rng(0), {"size": size})


def assert_blended(example):
    """Equation 1 once, by plain NumPy: the foreground is not multiplied by alpha twice."""
    opacity = example["alpha"] / 255.0
    mixed = opacity * example["foreground"] + (1 - opacity) * example["background"]
    difference = np.abs(np.floor(mixed + 1e-4) - example["image"])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01  # float32, where a value is a whole number
