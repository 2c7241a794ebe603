import cv2
import numpy as np
import pytest

from configs import routes
from jaxmatte.data import compose, crops
from jaxmatte.data.routes import dim
from jaxmatte.errors import UserError
from tests.data import folders
from tests.data.routes import pools, scenes


def settings(**changes):
    options = routes.dim()
    options.size, options.crop.sizes = 32, (32, 48, 64)
    options.trimap.mmagic.sizes = (1, 5)
    options.update_from_flattened_dict(changes)
    return options


def make(seed=0, row=None, behind=None, **changes):
    pool = pools.Pool(behind or pools.behind(80, 150))
    rng = np.random.default_rng(seed)
    return dim.example(row or pools.thing(), pool, settings(**changes), rng)


def test_the_options_are_the_papers():
    options = routes.dim()
    assert (options.size, options.crop.sizes, options.flip) == (320, (320, 480, 640), 0.5)
    assert (options.trimap.name, options.trimap.mmagic.sizes) == ("mmagic", (1, 29))
    hct = options.trimap.hct
    assert (hct.sizes, hct.iterations) == ((2, 4), (5, 14))


@pytest.mark.parametrize("shape", [(90, 120), (40, 50), (20, 31)])
def test_planes_stay_together_through_crop_flip_and_resize(shape):
    for seed in range(20):
        example = make(seed, pools.thing(*shape))
        np.testing.assert_array_equal(example["foreground"][..., :1], example["alpha"])


def test_a_crop_of_the_final_size_is_blended_from_what_is_shown():
    for seed in range(10):
        example = make(seed, **{"crop.sizes": (32,)})
        np.testing.assert_array_equal(
            example["image"],
            compose.blend(example["foreground"], example["background"], example["alpha"][..., 0]),
        )


def test_larger_crops_are_blended_before_they_are_resized():
    row, behind = pools.thing(), pools.behind(90, 120)
    example = make(2, row, behind, **{"crop.sizes": (64,), "flip": 0.0})
    whole = compose.blend(row["foreground"], behind["background"], row["alpha"])
    rng = np.random.default_rng(2)
    rng.choice((64,))
    window = crops.around_unknown(row["alpha"], rng, 64, "fitting")
    np.testing.assert_array_equal(example["image"], cv2.resize(whole[window], (32, 32)))


def test_the_middle_of_the_crop_is_unknown_and_all_sizes_are_drawn():
    extents = set()
    for seed in range(60):
        example = make(seed, **{"flip": 0.0, "trimap.name": "fixed", "trimap.fixed.size": 3})
        assert 0 < example["alpha"][16, 16, 0] < 255 or example["trimap"][16, 16, 0] == 128
        rows = example["foreground"][..., 1].astype(int)
        extents.add(round(2 * (rows.max() - rows.min()) / 31) / 2)
    assert extents == {1, 1.5, 2}  # 32, 48 and 64 pixels of the picture


def test_flips_happen_as_often_as_asked():
    def flipped(seed, flip):
        columns = make(seed, **{"flip": flip})["foreground"][16, :, 2].astype(int)
        return columns[20] < columns[12]

    assert 0.35 < np.mean([flipped(seed, 0.5) for seed in range(100)]) < 0.65
    assert not any(flipped(seed, 0.0) for seed in range(20))
    assert all(flipped(seed, 1.0) for seed in range(20))


@pytest.mark.parametrize("name", ["mmagic", "hct"])
def test_the_trimap_is_that_of_the_resized_alpha(name):
    for seed in range(10):
        example = make(seed, **{"trimap.name": name})
        assert (example["alpha"][example["trimap"] == 255] == 255).all()
        assert not example["alpha"][example["trimap"] == 0].any()


def test_without_redrawing_the_trimap_is_the_same_function_of_every_alpha():
    for seed in range(10):
        example = make(seed, **{"trimap.redraw": False, "trimap.fixed.size": 7})
        wanted = scenes.fixed_trimap(example["alpha"][..., 0], 7)
        np.testing.assert_array_equal(example["trimap"][..., 0], wanted)


@pytest.mark.parametrize("shape", [(90, 120), (40, 44)])
def test_a_trimap_made_before_is_cut_from_the_whole_ones_and_resized_by_nearest(shape):
    whole = folders.matte(*shape, 4.0)
    coloured = pools.still(
        alpha=whole, foreground=np.stack([scenes.fixed_trimap(whole, 9)] * 3, axis=-1)
    )
    changes = {"trimap.redraw": False, "trimap.fixed.size": 9, "trimap.resized": False}
    shades = set()
    for seed in range(10):
        example = make(seed, coloured, **changes)
        # Where linear resizing left the trimap's own colours, nearest shows the same.
        sure = np.isin(example["foreground"][..., :1], (0, 255))
        shown = example["foreground"][..., :1][sure]
        assert (example["trimap"][sure] == shown).mean() > 0.97
        shades |= set(np.unique(example["trimap"]).tolist())
    assert shades == {0, 128, 255}


@pytest.mark.parametrize("value", [0, 255])
def test_nothing_and_everything_opaque(value):
    row = pools.coded(np.full((70, 80), value, np.uint8))
    example = make(row=row)
    assert (example["trimap"] == value).all()
    shown = example["foreground" if value else "background"]
    assert np.abs(example["image"].astype(int) - shown).max() <= 1


def test_larger_backgrounds_show_their_top_left_corner():
    behind = pools.behind(130, 200)
    window = (slice(5, 50), slice(20, 60))
    found = dim.behind(behind, (90, 120), window, "corner", np.random.default_rng(0))
    np.testing.assert_array_equal(found, behind["background"][window])


@pytest.mark.parametrize(
    ("size", "wanted", "most"),
    [((45, 100), (90, 200), 1), ((90, 119), (91, 120), 1), ((7, 11), (90, 142), 4)],
)
def test_smaller_backgrounds_are_enlarged_until_they_cover(size, wanted, most):
    assert crops.enlarged(size, (90, 120)) == wanted
    behind = pools.behind(*size)
    whole = cv2.resize(behind["background"], wanted[::-1], interpolation=cv2.INTER_CUBIC)
    for window in (crops.whole((90, 120)), (slice(31, 77), slice(3, 88))):
        found = dim.behind(behind, (90, 120), window, "corner", np.random.default_rng(0))
        assert np.abs(found.astype(int) - whole[window]).max() <= most


def test_sides_that_fit_exactly_are_not_rounded_past():
    for side in range(1, 400):
        assert crops.enlarged((side, side), (7 * side, 3 * side)) == (7 * side, 7 * side)


def test_backgrounds_at_random_show_every_part():
    behind = pools.coded(np.zeros((12, 14), np.uint8))
    behind = pools.still(background=behind["foreground"].copy())
    rng, window = np.random.default_rng(0), (slice(2, 6), slice(1, 9))
    found = set()
    for _ in range(200):
        shown = dim.behind(behind, (10, 11), window, "random", rng)
        assert shown.shape == (4, 8, 3)
        found.add((int(shown[0, 0, 1]) - 2, int(shown[0, 0, 2]) - 1))
    assert found == {(top, left) for top in range(3) for left in range(4)}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"background": "top"}, "there are: corner, random"),
        ({"crop.centre": "middle"}, "there are: fitting, any"),
        ({"trimap.name": "mine"}, "there are: mmagic"),
    ],
)
def test_mistakes_are_told(changes, told):
    with pytest.raises(UserError, match=told):
        make(**changes)
