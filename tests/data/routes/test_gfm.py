"""GFM's examples, against the plain way: everything at full size, then cropped and shrunk."""

import cv2
import numpy as np
import pytest

from configs import gfm
from jaxmatte import resampling
from jaxmatte.data import codec, regions
from jaxmatte.data.pool import Pool
from jaxmatte.data.regions import Runs
from jaxmatte.data.routes import gfm as route
from jaxmatte.data.rows import Row
from tests.data import folders

HEIGHT, WIDTH = 200, 230


def corner_of(trimap, seed=0, sizes=(40,), fallback=20, unknown=1.0):
    window = route.crop(Runs.of(trimap), np.random.default_rng(seed), sizes, fallback, unknown)
    return window[0].start, window[1].start, window[0].stop - window[0].start


def test_half_the_corners_are_unknown_pixels():
    trimap = np.zeros((100, 120), np.uint8)
    trimap[50, 60] = 128
    hits = [corner_of(trimap, seed, unknown=0.5)[:2] == (50, 60) for seed in range(400)]
    assert 0.42 < np.mean(hits) < 0.58


def test_squares_lie_inside_and_have_the_sides_asked_for():
    trimap = regions.trimap(folders.matte(100, 120), 9)
    sides = set()
    for seed in range(200):
        top, left, side = corner_of(trimap, seed, (30, 50, 70), 20, 0.5)
        sides.add(side)
        assert 0 <= top <= 100 - side
        assert 0 <= left <= 120 - side
    assert sides == {30, 50, 70}


@pytest.mark.parametrize(("shape", "side"), [((40, 90), 20), ((90, 40), 20), ((15, 90), 15)])
def test_what_does_not_fit_falls_back(shape, side):
    assert corner_of(np.zeros(shape, np.uint8), sizes=(40, 50))[2] == side


def test_no_unknown_pixel_means_anywhere():
    drawn = {corner_of(np.zeros((60, 60), np.uint8), seed)[:2] for seed in range(50)}
    assert len(drawn) > 40


class Memory:
    """A source of rows in memory."""

    has_trimaps, fingerprint = False, "memory"

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


def arrays(index):
    return {
        "image": folders.picture(index, HEIGHT, WIDTH),
        "foreground": folders.picture(40 + index, HEIGHT, WIDTH),
        "alpha": folders.matte(HEIGHT, WIDTH, soft=30.0),
    }


def backgrounds(height=150, width=310):
    return Memory([Row.of(i, f"b{i}", background=folders.picture(9, height, width)) for i in (0,)])


def settings(**changes):
    config = gfm.get_config("track=rssn,rosta=RIM").data
    config.size, config.flip = 30, 0.0
    config.labels.trimap, config.labels.band = 9, 14
    config.compose.update({"denoise": 0.0, "blur": 0.0, "noise": 0.0})
    config.crop.sizes = (90,)
    config.update(changes)
    return config


def made(config, row, behind=None, seed=0):
    pool = Pool(Memory([row]), behind or backgrounds(), config)
    return route.example(row, pool, config, np.random.default_rng(seed))


def plainly(config, window, blur=0):
    """What the released loader does, in its order."""
    parts = arrays(0)
    behind = resampling.resize(folders.picture(9, 150, 310), (HEIGHT, WIDTH), "skimage")
    behind = cv2.blur(behind.astype(np.float32), (blur, blur)) if blur else behind
    alpha = parts["alpha"]
    opacity = alpha[..., None] / 255
    layers = {
        "image": (opacity * parts["foreground"] + (1 - opacity) * behind).astype(np.uint8),
        "foreground": parts["foreground"],
        "background": np.rint(behind).astype(np.uint8),
        "alpha": alpha,
        "dilation": regions.dilation(alpha, 14),
        "erosion": regions.erosion(alpha, 14),
    }
    return {name: cv2.resize(pixels[window], (30, 30)) for name, pixels in layers.items()}


@pytest.mark.parametrize("side", [30, 60, 90, 150, 77])  # by 1, 2, 3, 5, and no whole number
@pytest.mark.parametrize("blur", [0, 20])
def test_an_example_is_what_composing_everything_first_gives(side, blur):
    config = settings(crop={"sizes": (side,), "fallback": 30, "unknown": 0.5})
    config.compose.blur, config.compose.blur_kernels = float(blur > 0), (blur,)
    rng = np.random.default_rng(0)
    trimap = Runs.of(regions.trimap(arrays(0)["alpha"], 9))
    window = route.crop(trimap, rng, (side,), 30, 0.5)
    found = made(config, Row.of(0, "f", **arrays(0)))
    for name, expected in plainly(config, window, blur).items():
        difference = np.abs(found[name].reshape(expected.shape).astype(int) - expected)
        assert difference.max() <= 1, name
        assert (difference > 0).mean() < 0.02, name


def test_a_prepared_row_gives_the_same_example_to_the_bit():
    config = settings(crop={"sizes": (60, 90), "fallback": 30, "unknown": 0.5}, flip=0.5)
    config.compose.update({"blur": 0.5, "blur_kernels": (20, 30), "noise": 0.5})
    parts = arrays(0)
    parts["trimap_9"] = regions.trimap(parts["alpha"], 9)
    parts["dilation_14"] = regions.dilation(parts["alpha"], 14)
    parts["erosion_14"] = regions.erosion(parts["alpha"], 14)
    planes = {name: codec.plane(codec.encode(name, p, "png")) for name, p in parts.items()}
    prepared = Row(0, "f", (HEIGHT, WIDTH), planes)
    for seed in range(12):
        plain = made(config, Row.of(0, "f", **arrays(0)), seed=seed)
        stored = made(config, prepared, seed=seed)
        for name, pixels in plain.items():
            np.testing.assert_array_equal(stored[name], pixels, err_msg=name)


def test_denoised_planes_of_a_store_are_taken_together():
    config = settings()
    config.compose.denoise = 1.0
    row = Row.of(
        0, "f", **arrays(0), denoised_foreground=np.full((HEIGHT, WIDTH, 3), 250, np.uint8)
    )
    grey = np.full((50, 60, 3), 5, np.uint8)
    behind = Memory(
        [Row.of(0, "b", background=folders.picture(9, 50, 60), denoised_background=grey)]
    )
    found = made(config, row, behind)
    assert (found["foreground"] == 250).all()
    assert (found["background"] == 5).all()


def test_noise_is_one_field_for_all_three():
    config = settings(crop={"sizes": (30,), "fallback": 30, "unknown": 0.0})
    still = made(config, Row.of(0, "f", **arrays(0)))
    config.compose.noise = 1.0
    noisy = made(config, Row.of(0, "f", **arrays(0)))
    inside = (still["foreground"] > 60) & (still["foreground"] < 190) & (still["image"] > 60)
    inside &= (still["image"] < 190) & (still["background"] > 60) & (still["background"] < 190)
    added = {n: noisy[n].astype(int) - still[n] for n in ("image", "foreground", "background")}
    assert 8 < added["image"].std() < 12
    np.testing.assert_array_equal(added["image"][inside], added["foreground"][inside])
    np.testing.assert_array_equal(added["image"][inside], added["background"][inside])


def test_as_photographed_keeps_the_picture():
    config = settings()
    config.compose.route = "none"
    row = Row.of(0, "f", **arrays(0))
    found = made(config, row)
    rng = np.random.default_rng(0)
    window = route.crop(Runs.of(regions.trimap(row["alpha"], 9)), rng, (90,), 320, 0.5)
    np.testing.assert_array_equal(found["image"], cv2.resize(row["image"][window], (30, 30)))
