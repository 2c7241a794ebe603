import colorsys

import numpy as np
import pytest

from configs import routes
from jaxmatte.data import augment, compose, crops, trimaps
from jaxmatte.data.routes import gca
from jaxmatte.data.rows import Row
from jaxmatte.errors import UserError
from tests.data import folders
from tests.data.routes import pools

STILL = {
    "merge": 0.0,
    "squeeze.probability": 0.0,
    "affine.flips": (0.0, 0.0),
    "affine.scale": (1.0, 1.0),
    "affine.rotation": (0.0, 0.0),
    "affine.shear": (0.0, 0.0),
}
CALM = {"jitter.hue": (0, 0), "jitter.saturation": 0.0, "jitter.value": 0.0}


def settings(**changes):
    options = routes.gca()
    options.size, options.squeeze.size = 32, 40
    options.trimap.gca.sizes = (1, 7)
    options.affine.rotated_from = 100
    options.update_from_flattened_dict(changes)
    return options


def make(seed=0, row=None, pool=None, **changes):
    pool = pool or pools.Pool(pools.behind(80, 150), second())
    rng = np.random.default_rng(seed)
    return gca.example(row or pools.thing(), pool, settings(**changes), rng)


def second(height=70, width=64):
    alpha = np.roll(folders.matte(height, width, 9.0), -14, axis=1)
    return pools.still(alpha=alpha, foreground=folders.picture(7, height, width))


class Watched:
    """A plane that keeps the windows that were read."""

    def __init__(self, pixels):
        self.pixels, self.windows = pixels, []

    def read(self, window=None):
        self.windows.append(window)
        return self.pixels if window is None else self.pixels[window]


def test_the_options_are_the_papers():
    options = routes.gca()
    assert (options.size, options.merge) == (512, 0.5)
    assert (options.squeeze.probability, options.squeeze.size) == (0.25, 640)
    affine = options.affine
    assert (affine.rotation, affine.rotated_from) == ((-30.0, 30.0), 1024)
    assert (affine.scale, affine.shear, affine.flips) == ((0.8, 1.25), (-10.0, 10.0), (0.5, 0.5))
    assert (options.trimap.name, options.trimap.gca.sizes) == ("gca", (1, 29))


def by_whole_pictures(seed, row, pool, **changes):
    """The route once more, every step on the whole picture, as one would write it down first."""
    options, rng = settings(**changes), np.random.default_rng(seed)
    alpha, colours = row["alpha"], row["foreground"]
    if rng.random() < options.merge:
        other = pool.foreground(rng, row)
        under = augment.resize(other["alpha"], alpha.shape, "nearest")
        below = augment.resize(other["foreground"], alpha.shape, "nearest")
        both = np.rint(255 - (255.0 - alpha) * (255 - under) / 255).astype(np.uint8)
        colours, alpha = compose.blend(colours, below, alpha), both
    if rng.random() < options.squeeze.probability:
        size = (options.squeeze.size,) * 2
        alpha, colours = (augment.resize(p, size, "nearest") for p in (alpha, colours))
    shape = alpha.shape
    matrix = gca.draw_map(rng, options.affine, shape).matrix(shape)
    alpha, colours = (augment.apply(p, matrix, shape, "nearest") for p in (alpha, colours))
    trimap = trimaps.make("gca", alpha, rng, options.trimap.gca)
    shape, window = crops.gca(lambda part: trimap[part], shape, rng, options.size)
    planes = {"alpha": alpha, "trimap": trimap, "foreground": colours}
    planes = {name: augment.resize(p, shape, "nearest")[window] for name, p in planes.items()}
    behind = pool.background(rng, row)
    planes["background"] = crops.read_resized(behind, "background", shape, crops.whole(shape))
    planes["background"] = planes["background"][window]
    drawn = gca.draw_jitter(rng, options.jitter)
    shown = gca.jitter(planes["foreground"], planes["alpha"], drawn)
    planes["image"] = gca.composite(shown, planes["background"], planes["alpha"])
    planes["foreground"] = np.rint(shown).astype(np.uint8)
    return planes


@pytest.mark.parametrize("shape", [(90, 120), (24, 50), (130, 60)])
def test_windows_show_what_whole_pictures_would(shape):
    row, pool = pools.thing(*shape), pools.Pool(pools.behind(80, 150), second())
    for seed in range(25):
        found, wanted = make(seed, row, pool), by_whole_pictures(seed, row, pool)
        for name, plane in wanted.items():
            np.testing.assert_array_equal(found[name], plane.reshape(32, 32, -1), name)


def test_of_the_foreground_only_what_is_shown_is_read():
    alpha = folders.matte(400, 500, 60.0)
    colours = Watched(folders.picture(1, 400, 500))
    row = Row(0, "large", alpha.shape, Row.of(0, "", alpha=alpha).planes | {"foreground": colours})
    make(1, row, **STILL)
    rows, columns = colours.windows[0]
    assert len(colours.windows) == 1
    assert (rows.stop - rows.start, columns.stop - columns.start) == (32, 32)


def test_planes_stay_together_and_nothing_is_seen_outside():
    for seed in range(30):
        example = make(seed, **{"merge": 0.0} | CALM)
        shown, alpha = example["foreground"][..., :1].astype(int), example["alpha"]
        assert np.abs(shown - alpha).max() <= 1  # the first colour is the alpha, through HSV
        assert (alpha[example["trimap"] == 255] == 255).all()
        assert not alpha[example["trimap"] == 0].any()


def test_the_picture_is_foreground_over_background():
    for seed in range(10):
        example = make(seed)
        opacity = example["alpha"] / 255
        mixed = opacity * example["foreground"] + (1 - opacity) * example["background"]
        assert np.abs(mixed - example["image"]).max() <= 1.01  # both are rounded


def test_backgrounds_are_stretched_to_the_foreground():
    row = pools.thing(90, 120)
    behind = pools.still(
        background=np.tile(np.linspace(0, 255, 300).astype(np.uint8)[:, None, None], (1, 40, 3))
    )
    example = make(2, row, pools.Pool(behind), **STILL | CALM)
    rows = example["foreground"][:, 0, 1].astype(float)  # coded with its row
    found = example["background"][:, 0, 0]
    assert np.abs(found - 255 * (rows + 0.5) / 90).max() < 3


@pytest.mark.parametrize("value", [0, 255])
def test_nothing_and_everything_opaque(value):
    row = pools.coded(np.full((70, 80), value, np.uint8))
    example = make(0, row, **STILL)
    assert (example["trimap"] == value).all()
    shown = example["foreground" if value else "background"]
    assert np.abs(example["image"].astype(int) - shown).max() <= 1


def test_two_alphas_cover_what_neither_leaves_open():
    first = np.array([[0, 255, 128, 128, 1, 77]], np.uint8)
    under = np.array([[0, 9, 128, 0, 1, 255]], np.uint8)
    np.testing.assert_array_equal(gca.union(first, under), [[0, 255, 192, 128, 2, 255]])
    every = np.arange(256, dtype=np.uint8)
    both = gca.union(*np.meshgrid(every, every))
    exact = 255 - np.outer(255 - every.astype(float), 255 - every.astype(float)) / 255
    assert np.abs(both - exact).max() <= 0.5 + 1e-6
    np.testing.assert_array_equal(both, both.T)


def test_two_foregrounds_are_mixed_by_the_first_alpha_and_cut_to_bytes():
    first = np.array([[[200, 0, 10]] * 3], np.uint8)
    under = np.array([[[100, 255, 10]] * 3], np.uint8)
    alpha = np.array([[255, 0, 51]], np.uint8)
    second = pools.still(foreground=under)
    front = gca.Front(pools.still(foreground=first), alpha, alpha, second)
    places = augment.positions(augment.Affine().matrix((1, 3)), np.arange(1), np.arange(3))
    found = front.colours(pools.Pool(), places)[0]
    np.testing.assert_array_equal(found[:2], [[200, 0, 10], [100, 255, 10]])
    assert found[2].tolist() == [120, 204, 10]


def test_foregrounds_are_merged_as_often_as_asked_and_not_where_all_is_covered():
    row, pool = pools.thing(), pools.Pool(second=second())
    rng = np.random.default_rng(0)
    merged = [gca.merge(row, pool, rng, 0.5).second is not None for _ in range(300)]
    assert 0.4 < np.mean(merged) < 0.6
    assert gca.merge(row, pool, rng, 0.0).second is None
    front = gca.merge(row, pool, rng, 1.0)
    assert front.second is pool.rows["foreground"]
    assert (front.both >= row["alpha"]).all()
    assert (front.both > row["alpha"]).any()
    full = pools.Pool(second=pools.coded(np.full((5, 5), 255, np.uint8)))
    front = gca.merge(row, full, rng, 1.0)
    assert front.second is None
    np.testing.assert_array_equal(front.both, row["alpha"])


def test_pictures_are_squeezed_as_often_as_asked():
    row = pools.thing(60, 240)
    changes = STILL | CALM | {"squeeze.probability": 0.25}
    strides = []
    for seed in range(200):
        columns = make(seed, row, **changes)["foreground"][0, :, 2].astype(int)
        strides.append(np.diff(columns).mean().round())
    assert set(strides) == {1, 6}
    assert 0.15 < np.mean(np.array(strides) == 6) < 0.35


def test_small_pictures_are_not_turned():
    options = routes.gca().affine
    rng = np.random.default_rng(0)
    assert all(gca.draw_map(rng, options, (1023, 640)).rotation == 0 for _ in range(20))
    turned = [gca.draw_map(rng, options, (3, 1024)).rotation for _ in range(200)]
    assert -30 <= min(turned) < -25
    assert 25 < max(turned) <= 30


@pytest.mark.parametrize("hue", [-40, 0, 39, 400])
def test_hues_turn_and_nothing_else(hue):
    colours = np.array([[[200, 40, 90], [10, 250, 10], [3, 4, 200], [80, 80, 80]]], np.uint8)
    found = gca.jitter(colours, np.full((1, 4), 9, np.uint8), gca.Jitter(hue=hue))
    for before, after in zip(colours[0] / 255, found[0] / 255, strict=True):
        h, s, v = colorsys.rgb_to_hsv(*before)
        wanted = colorsys.hsv_to_rgb((h + hue / 360) % 1, s, v)
        np.testing.assert_allclose(after, wanted, atol=2e-3)


@pytest.mark.parametrize(("saturation", "value"), [(0.1, -0.1), (-0.9, 0.9), (0.9, -0.9)])
def test_saturation_and_value_move_by_a_share_of_their_reach_and_are_reflected(saturation, value):
    colours = folders.picture(4, 9, 11)
    alpha = np.zeros((9, 11), np.uint8)
    alpha[2:7, 3:9] = np.random.default_rng(0).integers(1, 256, (5, 6))
    found = gca.jitter(colours, alpha, gca.Jitter(0, saturation, value)) / 255
    hsv = np.array([[colorsys.rgb_to_hsv(*pixel) for pixel in row] for row in colours / 255])
    for channel, share in ((1, saturation), (2, value)):
        moved = np.abs(hsv[..., channel] + share * (1.1 - hsv[alpha > 0][:, channel].mean()))
        hsv[..., channel] = np.where(moved > 1, 2 - moved, moved)
    assert hsv[..., 1:].min() >= 0
    assert hsv[..., 1:].max() <= 1
    wanted = np.array([[colorsys.hsv_to_rgb(*pixel) for pixel in row] for row in hsv])
    np.testing.assert_allclose(found, wanted, atol=3e-3)


def test_what_is_nowhere_to_be_seen_is_not_jittered():
    colours = folders.picture(5, 6, 7)
    found = gca.jitter(colours, np.zeros((6, 7), np.uint8), gca.Jitter(30, 0.1, 0.1))
    np.testing.assert_array_equal(found, colours)


def test_shifts_keep_to_their_ranges():
    rng = np.random.default_rng(0)
    drawn = [gca.draw_jitter(rng, routes.gca().jitter) for _ in range(3000)]
    assert {one.hue for one in drawn} == set(range(-40, 40))
    for name in ("saturation", "value"):
        found = [getattr(one, name) for one in drawn]
        assert -0.1 <= min(found) < -0.098
        assert 0.098 < max(found) <= 0.1


def test_composites_are_rounded_once():
    front = np.array([[[100.4, 300.0, -20.0]]], np.float32)
    behind = np.array([[[51, 10, 255]]], np.uint8)
    alpha = np.array([[51]], np.uint8)  # one fifth
    assert gca.composite(front, behind, alpha)[0, 0].tolist() == [61, 59, 204]
    for value, wanted in ((0, [51, 10, 255]), (255, [100, 255, 0])):
        shown = gca.composite(front, behind, np.full((1, 1), value, np.uint8))
        assert shown[0, 0].tolist() == wanted


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"trimap.name": "mine"}, "there are: mmagic"),
        ({"jitter.hue": (3, -3)}, "jitter.hue"),
    ],
)
def test_mistakes_are_told(changes, told):
    with pytest.raises(UserError, match=told):
        make(**changes)
