"""What every route promises, whatever the row and the background; see `jaxmatte.data.routes`."""

import numpy as np
import pytest

from configs import routes
from tests.data import folders
from tests.data.routes import pools, scenes

SIZE = 32
LAYERS = {"image": 3, "alpha": 1, "foreground": 3, "background": 3, "trimap": 1}
MATTE = {"image": 3, "alpha": 1, "trimap": 1, "label": 1}
DIM = {"size": SIZE, "crop.sizes": (32, 48, 64)}
GCA = {"size": SIZE, "squeeze.size": 40, "affine.rotated_from": 64}
BGMV2 = {"size": SIZE, "sides": (24, 44), "canvas": 40}
MODNET = {"size": SIZE, "longer": (24, 48)}
PPMATTING = {"size": SIZE, "pad": 32, "crop": (32, 40, 50)}

# Options, what is made small, what examples have, and the least alpha of what a trimap calls
# opaque (None: it is resized or blurred apart from the alpha).
VARIANTS = {
    "dim": (routes.dim(), DIM, LAYERS, 255),
    "dim, hct": (routes.dim(), DIM | {"crop.centre": "any", "trimap.name": "hct"}, LAYERS, 255),
    "dim, trimap first": (routes.dim(), DIM | {"trimap.resized": False}, LAYERS, None),
    "dim, background": (routes.dim(), DIM | {"background": "random"}, LAYERS, 255),
    "gca": (routes.gca(), GCA, LAYERS, 255),
    "bgmv2": (routes.bgmv2(), BGMV2, LAYERS | {"plate": 3}, 255),
    "bgmv2, refine": (
        routes.bgmv2("refine"),
        BGMV2 | {"back.outside": "reflect", "plate.together": True},
        LAYERS | {"plate": 3},
        255,
    ),
    "modnet": (routes.modnet(), MODNET, LAYERS, 230),
    "modnet, some": (routes.modnet(), MODNET | {"compose.share": 0.5}, LAYERS, 230),
    "ppmatting": (routes.ppmatting(), PPMATTING, LAYERS, None),
    "ppmatting, rssn": (routes.ppmatting(), PPMATTING | {"compose.route": "rssn"}, LAYERS, None),
    "ppmatting, photographed": (
        routes.ppmatting(512),
        PPMATTING
        | {"limit": SIZE, "crop": (SIZE,)}
        | {"compose.share": 0.5, "compose.photographed": "separate"},
        LAYERS,
        None,
    ),
    "bisenetv2": (routes.bisenetv2(), {"size": SIZE}, MATTE, 255),
    "bisenetv2, some": (
        routes.bisenetv2(),
        {"size": SIZE, "classes": 3, "compose.share": 0.5},
        MATTE,
        255,
    ),
}


def row(alpha, *fields):
    """A row of an alpha, with pictures of its size."""
    pictures = {name: folders.picture(len(name), *alpha.shape) for name in fields}
    return pools.still(alpha=alpha, **pictures)


# A row without an image is a cut-out; one with a background is a scene of the studio.
ROWS = {
    "photograph": lambda: row(folders.matte(90, 120), "image"),
    "pair": lambda: row(folders.matte(64, 64), "image", "foreground"),
    "studio": lambda: row(folders.matte(50, 60), "image", "foreground", "background"),
    "cut-out": lambda: row(folders.matte(70, 40), "foreground"),
    "noise": lambda: row(folders.picture(1, 80, 70)[..., 0].copy(), "image"),
    "nothing": lambda: row(np.zeros((50, 60), np.uint8), "image"),
    "everything": lambda: row(np.full((50, 60), 255, np.uint8), "image"),
    "mask": lambda: row((folders.matte(50, 60) > 127) * np.uint8(255), "image"),
    "as large as the result": lambda: row(folders.matte(32, 33), "image"),
    "small": lambda: row(folders.matte(20, 30), "image"),
    "narrow": lambda: row(folders.matte(70, 9), "image"),
    "long": lambda: row(folders.matte(31, 700), "image"),
    "thread": lambda: row(folders.matte(1, 50), "image"),
    "pixel": lambda: row(np.full((1, 1), 100, np.uint8), "image"),
}
BACKGROUNDS = ((1, 1), (9, 1), (33, 64), (300, 700))


def shows_photographs(variant):
    return VARIANTS[variant][1].get("compose.share", 1) < 1


CASES = [
    (variant, kind)
    for variant in VARIANTS
    for kind in ROWS
    if not (kind == "cut-out" and shows_photographs(variant))  # it is no photograph
]


@pytest.mark.parametrize(("variant", "kind"), CASES)
def test_bytes_of_one_size_and_trimaps_that_are_true(variant, kind):
    options, changes, fields, opaque = VARIANTS[variant]
    options, subject = scenes.settings(options, **changes), ROWS[kind]()
    for seed, size in enumerate(BACKGROUNDS * 2):
        example = scenes.make(options, seed, subject, pools.behind(*size))
        shapes = {name: plane.shape for name, plane in example.items()}
        assert shapes == {name: (SIZE, SIZE, channels) for name, channels in fields.items()}
        assert {plane.dtype for plane in example.values()} == {np.dtype(np.uint8)}
        alpha, trimap = example["alpha"], example["trimap"]
        assert set(np.unique(trimap)) <= {0, 128, 255}
        if opaque:
            assert (alpha[trimap == 255] >= opaque).all()
            assert not alpha[trimap == 0].any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_random_numbers_give_the_same_example_and_others_another(variant):
    options, changes, _, _ = VARIANTS[variant]
    options = scenes.settings(options, **changes)
    for kind in ("photograph", "studio"):
        first, again, *others = (
            pools.frozen(scenes.make(options, seed, ROWS[kind]())) for seed in (3, 3, 4, 5, 6)
        )
        assert first == again
        assert all(first != other for other in others)
