import cv2
import numpy as np
import pytest

from configs import routes
from jaxmatte.data import photometric, trimaps
from jaxmatte.data.pool import Pool
from jaxmatte.data.routes import ppmatting
from jaxmatte.data.rows import Row
from jaxmatte.errors import UserError
from tests.data import folders
from tests.data.routes import pools, scenes

STILL = {
    "jitter.each": 0.0,
    "blur.probability": 0.0,
    "noise.probability": 0.0,
    "jpeg.probability": 0.0,
    "flip": 0.0,
}
PICTURES = ("image", "foreground", "background")


def settings(human=0, **changes):
    small = {"size": 32, "pad": 32, "crop": (32,) if human else (32, 40, 50)}
    small |= {"limit": 32} if human else {}
    small |= {"trimap.paddle.iterations": (1, 3)}
    return scenes.settings(routes.ppmatting(human), **(small | changes))


def make(seed=0, row=None, behind=None, human=0, **changes):
    return scenes.make(settings(human, **changes), seed, row, behind)


def test_the_options_are_the_w48_models():
    options = routes.ppmatting()
    assert (options.size, options.pad, options.crop, options.limit) == (
        512,
        512,
        (512, 640, 800),
        0,
    )
    for name in ("brightness", "contrast", "saturation"):
        assert options.jitter[name] == (0.5, 1.5)
    assert (options.jitter.hue, options.jitter.each, options.jitter.shuffled) == (
        (-18, 18),
        0.5,
        True,
    )
    assert (options.jitter.style, options.blur.probability, options.flip) == ("pil", 0.1, 0.5)
    assert (options.noise.probability, options.jpeg.probability) == (0, 0)
    assert (options.trimap.name, options.compose.route, options.compose.photographed) == (
        "paddle",
        "blend",
        "image",
    )


@pytest.mark.parametrize("side", [512, 1024])
def test_the_options_are_the_w18_models(side):
    options = routes.ppmatting(side)
    assert (options.size, options.pad, options.crop, options.limit) == (side, side, (side,), side)
    assert (options.noise.probability, options.jpeg.probability) == (0.5, 0.2)
    assert (options.noise.mean, options.noise.variance) == ((0, 0.04), (0, 0.001))
    assert options.jpeg.quality == (70, 94)
    with pytest.raises(ValueError, match="human=600; there are: 0, 512, 1024"):
        routes.ppmatting(600)


def test_a_crop_of_the_training_size_is_blended_once_and_truncated():
    for seed in range(10):
        scenes.assert_blended(make(seed, crop=(32,), **STILL))


def test_planes_stay_together_through_pad_crop_resize_and_flip():
    for seed in range(20):
        example = make(seed, pools.thing(38, 90), **(STILL | {"flip": 0.5, "padding": 0}))
        np.testing.assert_array_equal(example["foreground"][..., :1], example["alpha"])


def crops(size, count=400, **changes):
    options = settings(**changes)
    return [ppmatting.crop(size, options, np.random.default_rng(seed)) for seed in range(count)]


def test_crops_are_of_every_side_and_anywhere():
    drawn = crops((90, 120))
    sides = [shape for _, shape in drawn]
    assert set(sides) == {(32, 32), (40, 40), (50, 50)}
    assert all(0.26 < sides.count(one) / 400 < 0.41 for one in set(sides))
    small = [window for window, shape in drawn if shape == (32, 32)]
    assert all(p.stop - p.start == 32 for window in small for p in window)
    for axis, room in ((0, 58), (1, 88)):
        starts = [window[axis].start for window in small]
        assert min(starts) <= 4
        assert room - 4 <= max(starts) <= room
        assert np.mean(starts) == pytest.approx(room / 2, abs=7)


def test_a_picture_smaller_than_the_crop_is_not_square_and_smaller_than_the_pad_padded():
    for window, shape in crops((20, 120), 50, crop=(50,)):
        assert (window[0], shape) == (slice(0, 20), (32, 50))
    example = make(0, pools.thing(20, 24), crop=(50,), **STILL)
    for name in PICTURES:
        assert (example[name][20:] == 128).all()
        assert (example[name][:, 24:] == 128).all()
        assert not (example[name][:20, :24] == 128).all()
    for name in ("alpha", "trimap"):
        assert not example[name][20:].any()
        assert not example[name][:, 24:].any()


def test_a_limited_shorter_side_is_all_seen():
    for window, shape in crops((96, 200), 50, limit=32, crop=(32,)):
        assert (window[0], shape) == (slice(0, 96), (96, 96))
    for window, shape in crops((20, 200), 50, limit=32, crop=(32,)):
        assert (window[0], shape) == (slice(0, 20), (32, 32))  # never enlarged: padded


def test_the_trimap_is_made_before_cropping():
    row = pools.thing(90, 120)
    for seed in range(10):
        options = settings(crop=(32,), **STILL)
        window, _ = ppmatting.crop(row.size, options, np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        ppmatting.crop(row.size, options, rng)
        whole = trimaps.make("paddle", row["alpha"], rng, options.trimap.paddle)
        found = scenes.make(options, seed, row)["trimap"][..., 0]
        np.testing.assert_array_equal(found, whole[window])


@pytest.mark.parametrize("name", ["mmagic", "hct", "gca", "modnet", "fixed"])
def test_other_trimaps_are_made_before_cropping_too(name):
    row = pools.thing(90, 120)
    options = settings(crop=(32,), **{"trimap.name": name} | STILL)
    rng = np.random.default_rng(5)
    window, _ = ppmatting.crop(row.size, options, rng)
    whole = trimaps.make(name, row["alpha"], rng, options.trimap[name])
    np.testing.assert_array_equal(scenes.make(options, 5, row)["trimap"][..., 0], whole[window])


def test_trimaps_are_resized_by_nearest():
    for seed in range(10):
        example = make(seed, crop=(50,), **STILL)
        assert set(np.unique(example["trimap"])) <= {0, 128, 255}


def test_a_large_background_is_used_from_its_corner_and_never_shrunk():
    row = pools.behind(100, 150)
    window = (slice(7, 47), slice(60, 100))
    np.testing.assert_array_equal(
        ppmatting.fitted(row, (90, 120), window), row["background"][window]
    )


@pytest.mark.parametrize("shape", [(60, 50), (31, 140), (90, 119)])
def test_a_small_background_is_enlarged_until_it_covers(shape):
    row = pools.behind(*shape)
    ratio = max(90 / shape[0], 120 / shape[1])
    size = tuple(int(np.ceil(round(length * ratio, 6))) for length in shape)
    whole = cv2.resize(row["background"], size[::-1], interpolation=cv2.INTER_LINEAR)
    window = (slice(7, 90), slice(60, 120))
    found = ppmatting.fitted(row, (90, 120), window)
    np.testing.assert_allclose(found.astype(int), whole[window], atol=5)
    assert np.abs(found.astype(int) - whole[window]).mean() < 1


def test_rssns_blur_is_of_the_background_alone():
    row = pools.behind(100, 150)
    window = (slice(7, 47), slice(60, 100))
    blurred = cv2.GaussianBlur(row["background"], (19, 19), 0)
    found = ppmatting.fitted(row, (90, 120), window, 19)
    np.testing.assert_allclose(found.astype(int), blurred[window], atol=1)
    rssn = {"compose.route": "rssn", "compose.denoise": 0.0, "compose.blur_sides": (19,)}
    row = pools.thing()
    soft, sharp = (
        make(4, row, crop=(32,), **(STILL | rssn | {"compose.blur": p})) for p in (1.0, 0.0)
    )
    np.testing.assert_array_equal(soft["foreground"], sharp["foreground"])
    assert (soft["background"] != sharp["background"]).any()
    scenes.assert_blended(soft)
    coins = [
        make(s, crop=(32,), **(STILL | rssn | {"compose.blur": p}))["background"].tobytes()
        for p in (0.5, 0.0)
        for s in range(200)
    ]
    assert 0.4 < np.mean([a != b for a, b in zip(coins[:200], coins[200:], strict=True)]) < 0.6


def test_rssns_denoised_pair_is_taken_together_where_there_is_one():
    noisy, clean = (np.full((40, 40, 3), level, np.uint8) for level in (10, 20))
    alpha = np.full((40, 40), 128, np.uint8)
    row = Row.of(0, "a", alpha=alpha, foreground=noisy, denoised_foreground=clean)
    behind = Row.of(0, "b", background=noisy + 100, denoised_background=clean + 100)
    options = settings(**STILL, **{"compose.route": "rssn", "compose.blur": 0.0})
    pool = Pool([row], [behind], options)
    found = []
    for seed in range(200):
        example = ppmatting.example(row, pool, options, np.random.default_rng(seed))
        assert example["foreground"].max() + 100 == example["background"].max()
        found.append(int(example["foreground"].max()))
    assert set(found) == {10, 20}
    assert 0.4 < np.mean(np.array(found) == 20) < 0.6


@pytest.mark.parametrize("kind", ["image", "separate"])
def test_without_a_background_the_released_code_takes_the_picture_for_both(kind):
    row = scenes.photograph()
    changes = {"compose.route": "none", "compose.photographed": kind, "crop": (50,)}
    example = make(0, row, **(STILL | changes))
    same = [(example["image"] == example[name]).all() for name in PICTURES]
    assert all(same) == (kind == "image")


def test_pictures_are_distorted_each_by_itself_and_in_one_order():
    planes = dict.fromkeys(PICTURES, folders.picture(2, 16, 16)) | {
        name: folders.matte(16, 16) for name in ("alpha", "trimap")
    }
    options = settings(**(STILL | {"jitter.each": 0.5}))
    changed = []
    for seed in range(600):
        made = ppmatting._degraded(planes, options, np.random.default_rng(seed))
        assert made["alpha"] is planes["alpha"]
        assert made["trimap"] is planes["trimap"]
        changed.append([(made[name] != planes[name]).any() for name in PICTURES])
    changed = np.array(changed)
    assert changed.mean(0) == pytest.approx(1 - 1 / 16, abs=0.04)
    assert 0.13 < (~changed.all(1)).mean() < 0.24  # three by themselves: 1 - (15 / 16)^3


def test_blur_goes_through_alpha_and_not_through_the_trimap():
    pixels, plane = folders.picture(2, 24, 24), folders.matte(24, 24)
    planes = dict.fromkeys(PICTURES, pixels) | {"alpha": plane, "trimap": plane}
    options = settings(**(STILL | {"blur.probability": 0.1}))
    sides = []
    for seed in range(1500):
        made = ppmatting._degraded(planes, options, np.random.default_rng(seed))
        assert made["trimap"] is plane
        if made["alpha"] is plane:
            continue
        match = [
            s for s in (3, 5, 7, 9) if (made["image"] == photometric.gaussian_blur(pixels, s)).all()
        ]
        assert len(match) == 1
        sides += match
        np.testing.assert_array_equal(made["foreground"], made["image"])
        np.testing.assert_array_equal(made["alpha"], photometric.gaussian_blur(plane, match[0]))
    assert len(sides) / 1500 == pytest.approx(0.1, abs=0.03)
    assert sides.count(3) / len(sides) == pytest.approx(1 / 7, abs=0.09)
    assert all(sides.count(s) / len(sides) == pytest.approx(2 / 7, abs=0.12) for s in (5, 7, 9))


@pytest.mark.parametrize(("name", "probability"), [("noise", 0.5), ("jpeg", 0.2)])
def test_noise_and_jpeg_are_of_the_picture_alone(name, probability):
    changes = STILL | {f"{name}.probability": probability}
    found = []
    for seed in range(200):
        clean = make(seed, human=512, **STILL)
        made = make(seed, human=512, **changes)
        others = set(made) - {"image"}
        assert all((made[other] == clean[other]).all() for other in others)
        found.append((made["image"] != clean["image"]).any())
    assert np.mean(found) == pytest.approx(probability, abs=0.09)


def test_noise_has_the_drawn_mean_and_variance():
    grey = np.full((64, 64, 3), 100, np.uint8)
    options = routes.ppmatting(512).noise
    rng = np.random.default_rng(0)
    found = [ppmatting.noisy(grey, rng, options).astype(float) - 100 for _ in range(300)]
    means, variances = (np.array([getattr(f, kind)() for f in found]) for kind in ("mean", "var"))
    assert np.mean(means) == pytest.approx(0.02 * 255, rel=0.1)
    assert means.max() == pytest.approx(0.04 * 255, rel=0.1)
    assert np.mean(variances) == pytest.approx(0.0005 * 255**2, rel=0.1)


def test_flips():
    row = pools.thing(32, 32)
    flips = [
        make(s, row, crop=(32,), **(STILL | {"flip": 0.5}))["foreground"][0, 0, 2] > 0
        for s in range(300)
    ]
    assert 0.42 < np.mean(flips) < 0.58


def test_unknown_names_are_named():
    with pytest.raises(UserError, match=r"compose\.route='mix'; there are: none, blend, rssn"):
        make(0, **{"compose.route": "mix"})
    with pytest.raises(UserError, match=r"photographed='both'; there are: image, separate"):
        make(0, **{"compose.photographed": "both"})
