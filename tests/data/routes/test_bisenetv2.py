import math

import cv2
import numpy as np
import pytest

from configs import routes
from jaxmatte.data.pool import Pool
from jaxmatte.data.routes import bisenetv2
from jaxmatte.errors import UserError
from tests.data import folders
from tests.data.routes import pools, scenes

STILL = {"jitter.each": 0.0, "flip": 0.0}


def settings(**changes):
    small = {"size": 32, "trimap.fixed.size": 5}
    return scenes.settings(routes.bisenetv2(), **(small | changes))


def make(seed=0, row=None, behind=None, **changes):
    return scenes.make(settings(**changes), seed, row, behind)


def street(height=40, width=56, classes=19):
    """A picture with a class map on file: blocks of classes, some of them not looked at."""
    values = np.random.default_rng(1).integers(0, classes + 1, (height // 4 + 1, width // 4 + 1))
    values[values == classes] = 255
    label = np.kron(values, np.ones((4, 4)))[:height, :width].astype(np.uint8)
    return pools.still(image=folders.picture(4, height, width), label=label)


def test_the_options_are_the_cards():
    options = routes.bisenetv2()
    assert (options.scale, options.flip, options.classes) == ((0.25, 2.0), 0.5, 2)
    assert options.jitter.style == "bisenet"
    for name in ("brightness", "contrast", "saturation"):
        assert options.jitter[name] == (0.6, 1.4)
    assert (options.jitter.hue, options.jitter.each, options.jitter.shuffled) == ((), 1.0, False)


@pytest.mark.parametrize("row", [pools.thing(), scenes.photograph()])
def test_labels_are_classes_or_ignored(row):
    for classes in (2, 3):
        found = [set(np.unique(make(s, row, classes=classes)["label"])) for s in range(40)]
        assert set().union(*found) == {*range(classes), 255}


def test_a_street_has_no_matte_and_may_be_of_any_aspect():
    row, options = street(), settings(shape=(24, 48), classes=19, **{"compose.share": 1.0})
    pool = Pool([row], [pools.behind(30, 30)], options)
    for seed in range(10):
        example = bisenetv2.example(row, pool, options, np.random.default_rng(seed))
        again = bisenetv2.example(row, pool, options, np.random.default_rng(seed))
        assert pools.frozen(example) == pools.frozen(again)
        shapes = {name: plane.shape for name, plane in example.items()}
        assert shapes == {"image": (24, 48, 3), "label": (24, 48, 1)}
        assert set(np.unique(example["label"])) <= {*range(19), 255}


@pytest.mark.parametrize("scale", [0.3, 0.55, 0.8, 1.0, 1.7, 2.0])
def test_scale_pad_and_crop_by_the_recipe(scale):
    row = street()
    for seed in range(5):
        example = make(seed, row, scale=(scale, scale), classes=19, **STILL)
        rng = np.random.default_rng(seed)
        rng.uniform(scale, scale)
        size = [math.ceil(length * scale) for length in row.size]
        image = cv2.resize(row["image"], size[::-1]).astype(int)
        label = cv2.resize(row["label"], size[::-1], interpolation=cv2.INTER_NEAREST)
        pads = [(32 - length) // 2 + 1 if length < 32 else 0 for length in size]
        image = np.pad(image, [(pad, pad) for pad in pads] + [(0, 0)])
        label = np.pad(label, [(pad, pad) for pad in pads], constant_values=255)
        top, left = (int(rng.random() * (length - 32)) for length in label.shape)
        window = (slice(top, top + 32), slice(left, left + 32))
        np.testing.assert_array_equal(example["label"][..., 0], label[window])
        difference = np.abs(example["image"] - image[window])
        assert difference.max() <= 5
        assert difference.mean() < 0.6


def test_scales_are_drawn_from_their_range():
    row = pools.still(image=np.zeros((16, 16, 3), np.uint8), label=np.zeros((16, 16), np.uint8))
    options, rng = settings(**STILL), np.random.default_rng(0)
    pool = Pool([row], [], options)
    seen = [
        math.isqrt(int((bisenetv2.example(row, pool, options, rng)["label"] == 0).sum()))
        for _ in range(600)
    ]
    assert set(seen) == set(range(5, 33))  # ceil(16 x .25 .. 2)
    assert np.mean(seen) == pytest.approx(16 * 1.125 + 0.5, abs=0.9)


def test_padding_is_black_and_not_looked_at():
    example = make(0, scenes.of(np.full((16, 16), 255, np.uint8)), scale=(0.5, 0.5), **STILL)
    outside = example["label"][..., 0] == 255
    assert (~outside).sum() == 64
    for name in ("image", "alpha", "trimap"):
        assert not example[name][outside].any()
    assert (example["alpha"][~outside] == 255).all()


def test_two_classes_part_at_one_half():
    alpha = np.tile(np.array([0, 1, 127, 128, 254, 255], np.uint8), (40, 8))
    example = make(0, scenes.of(alpha), scale=(1, 1), classes=2, **STILL)
    np.testing.assert_array_equal(example["label"], example["alpha"] / 255 > 0.5)


def test_three_classes_are_the_trimaps():
    for seed in range(10):
        example = make(seed, classes=3, scale=(1, 2), **STILL)
        expected = np.select([example["trimap"] == 0, example["trimap"] == 128], [0, 1], 2)
        np.testing.assert_array_equal(example["label"], expected)


def test_a_trimap_sees_what_lies_around_the_crop_but_nothing_beyond_the_picture():
    row = scenes.of(folders.matte(90, 120, 9.0))
    for seed in range(10):
        options = settings(scale=(1, 1), **STILL)
        rng = np.random.default_rng(seed)
        rng.uniform(1, 1)
        window, _ = bisenetv2.crop(row.size, (32, 32), rng)
        whole = scenes.fixed_trimap(row["alpha"], 5)
        found = scenes.make(options, seed, row)["trimap"][..., 0]
        np.testing.assert_array_equal(found, whole[window])
    opaque = scenes.of(np.full((20, 20), 255, np.uint8))
    example = make(0, opaque, scale=(1, 1), classes=3, **STILL)
    assert set(np.unique(example["label"])) == {2, 255}  # no unknown along the border


def test_mattes_are_composed_where_the_options_say_so():
    alpha = np.zeros((40, 40), np.uint8)
    row = pools.still(alpha=alpha, image=np.full((40, 40, 3), 10, np.uint8))
    white = pools.still(background=np.full((30, 30, 3), 200, np.uint8))
    changes = STILL | {"scale": (1, 1)}
    assert (make(0, row, white, **changes)["image"] == 200).all()
    assert (make(0, row, white, **(changes | {"compose.route": "none"}))["image"] == 10).all()
    half = changes | {"compose.share": 0.5}
    composed = [make(s, row, white, **half)["image"].max() == 200 for s in range(300)]
    assert np.mean(composed) == pytest.approx(0.5, abs=0.08)


def test_the_composite_is_made_once():
    row = pools.thing(40, 40)
    black = pools.still(background=np.zeros((30, 30, 3), np.uint8))
    example = make(0, row, black, scale=(1, 1), **STILL)
    alpha = example["alpha"][..., 0].astype(int)
    assert np.abs(example["image"][..., 0] - alpha**2 // 255).max() <= 1  # colour 0 is the alpha


def test_classes_on_file_are_renumbered_and_wrong_ones_refused():
    label = np.zeros((40, 40), np.uint8)
    label[10:30, 10:30] = 127
    row = pools.still(image=folders.picture(4, 40, 40), label=label)
    with pytest.raises(UserError, match=r"the label of still holds 127; data\.classes=2 allows"):
        make(0, row, scale=(1, 1))
    example = make(0, row, scale=(1, 1), renumber=((127, 1),), **STILL)
    assert set(np.unique(example["label"])) == {0, 1}
    example = make(0, row, scale=(1, 1), renumber=((127, 255), (0, 1)), **STILL)
    assert set(np.unique(example["label"])) == {1, 255}


def test_what_has_no_classes_is_refused():
    with pytest.raises(UserError, match="neither a label nor an alpha"):
        make(0, pools.still(image=folders.picture(1, 40, 40)))
    with pytest.raises(UserError, match=r"data\.classes=19: an alpha makes 2 or 3"):
        make(0, classes=19)


def test_flips_take_all_planes():
    row = street(32, 32)
    left = row["label"]
    flips = 0
    for seed in range(200):
        example = make(seed, row, scale=(1, 1), classes=19, **(STILL | {"flip": 0.5}))
        turned = not np.array_equal(example["label"][..., 0], left)
        expected = row["image"][:, ::-1] if turned else row["image"]
        np.testing.assert_array_equal(example["image"], expected)
        flips += turned
    assert flips / 200 == pytest.approx(0.5, abs=0.1)


def test_colours_change_in_the_picture_alone():
    row = street(32, 32)
    changes = {"scale": (1, 1), "classes": 19, "flip": 0.0}
    changed = make(0, row, **changes)
    assert (changed["image"] != row["image"]).any()
    np.testing.assert_array_equal(changed["label"][..., 0], row["label"])
