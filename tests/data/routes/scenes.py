"""What the tests of BGMv2, MODNet, PP-Matting and BiSeNet V2 share."""

import numpy as np

from configs import common
from jaxmatte.data import routes
from jaxmatte.data.pool import Pool
from tests.data import folders
from tests.data.routes import pools

FIELDS = {"image": 3, "alpha": 1, "foreground": 3, "background": 3, "trimap": 1}


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


ROWS = {
    "foreground on file": pools.thing,
    "photograph": photograph,
    "small": lambda: pools.thing(20, 30),
    "narrow": lambda: pools.thing(70, 9),
    "one pixel": lambda: pools.thing(1, 1),
    "nothing": lambda: of(np.zeros((50, 60), np.uint8)),
    "everything": lambda: of(np.full((50, 60), 255, np.uint8)),
}


def assert_contract(options, row, shape, fields=FIELDS):
    """Bytes of one size whatever the row; the same for the same random numbers, else others."""
    examples = [make(options, seed, row) for seed in (3, 3, 4, 5, 6)]
    for example in examples:
        assert {name: plane.shape for name, plane in example.items()} == {
            name: (*shape, channels) for name, channels in fields.items()
        }
        assert {plane.dtype for plane in example.values()} == {np.dtype(np.uint8)}
        assert set(np.unique(example["trimap"])) <= {0, 128, 255}
    first, again, *others = map(pools.frozen, examples)
    assert first == again
    assert all(first != other for other in others)


def assert_blended(example):
    """Equation 1 once, by plain NumPy: the foreground is not multiplied by alpha twice."""
    opacity = example["alpha"] / 255.0
    mixed = opacity * example["foreground"] + (1 - opacity) * example["background"]
    difference = np.abs(np.floor(mixed + 1e-4) - example["image"])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01  # float32, where a value is a whole number
