"""Folders of predicted and true mattes, made by the tests."""

import numpy as np

from jaxmatte.evaluate.matching import Folders
from tests.data.folders import matte, picture, write

HEIGHT, WIDTH = 24, 32


def truth(seed, height=HEIGHT, width=WIDTH):
    """A disc with a soft edge, elsewhere for each seed."""
    return np.roll(matte(height, width), seed, axis=1)


def prediction(seed, height=HEIGHT, width=WIDTH):
    """Noise around the true matte, the more the larger the seed."""
    noise = np.random.default_rng(seed).normal(0, 4 * (seed + 1), (height, width))
    return np.clip(truth(seed, height, width) + noise, 0, 255).astype(np.uint8)


def trimap(seed, height=HEIGHT, width=WIDTH):
    soft = truth(seed, height, width)
    return np.select([soft == 0, soft == 255], [0, 255], 128).astype(np.uint8)


def pairs(root, names=("a", "b", "c"), more=()):
    """Folders with a picture a name; `more` are further ones that are wanted."""
    makers = {
        "predictions": prediction,
        "truth": truth,
        "trimaps": trimap,
        "images": picture,
        "foregrounds": lambda seed, *size: picture(seed + 7, *size),
        "true_foregrounds": picture,
    }
    wanted = ("predictions", "truth", *more)
    for role in wanted:
        for seed, name in enumerate(names):
            write(root / role / f"{name}.png", makers[role](seed, HEIGHT, WIDTH))
    return Folders(**{role: root / role for role in wanted})
