import numpy as np
import pytest

from configs import routes
from jaxmatte.data import trimaps
from jaxmatte.data.routes import modnet
from jaxmatte.errors import UserError
from tests.data import folders
from tests.data.routes import pools, scenes

STILL = {"jitter.each": 0.0, "flip": 0.0}


def settings(**changes):
    return scenes.settings(routes.modnet(), **({"size": 32, "longer": (24, 48)} | changes))


def make(seed=0, row=None, behind=None, **changes):
    return scenes.make(settings(**changes), seed, row, behind)


def test_the_options_are_the_authors():
    options = routes.modnet()
    assert (options.size, options.longer, options.flip) == (512, (384, 768), 0.5)
    assert (options.compose.route, options.compose.share) == ("blend", 1.0)
    assert (options.trimap.name, options.trimap.modnet.steps) == ("modnet", (10, 20))


def test_the_picture_is_what_equation_1_makes():
    for seed in range(20):
        scenes.assert_blended(make(seed))


def test_planes_stay_together():
    for seed in range(20):
        example = make(seed, **(STILL | {"flip": 0.5}))
        np.testing.assert_array_equal(example["foreground"][..., :1], example["alpha"])


def test_no_blur_and_no_noise_where_nothing_is_scaled():
    row = pools.thing(32, 32)
    example = make(0, row, pools.behind(32, 32), longer=(32, 32), **STILL)
    np.testing.assert_array_equal(example["foreground"], row["foreground"])
    np.testing.assert_array_equal(example["background"], folders.picture(50, 32, 32))


def test_the_longer_side_is_drawn_and_what_is_too_large_is_cut():
    row = scenes.of(np.full((60, 120), 255, np.uint8))
    widths, heights, places = [], [], []
    for seed in range(300):
        opaque = make(seed, row, **STILL)["alpha"][..., 0] == 255
        assert opaque.sum() == opaque.any(0).sum() * opaque.any(1).sum()  # a rectangle
        widths.append(opaque.any(0).sum())
        heights.append(opaque.any(1).sum())
        places.append(np.flatnonzero(opaque.any(1))[0])
    assert set(widths) == set(range(24, 33))
    assert np.mean(np.array(widths) == 32) == pytest.approx(17 / 25, abs=0.08)
    assert set(heights) == set(range(12, 25))
    assert min(places) == 0
    assert max(places) >= 17  # 20 rows are left over by the smallest
    assert 5 < np.mean(places) < 9


def test_every_part_of_a_large_foreground_is_seen_sometimes():
    row = pools.thing(40, 40)
    lefts = {
        int(make(seed, row, longer=(40, 40), **STILL)["foreground"][0, 0, 2]) for seed in range(200)
    }
    assert lefts == set(range(9))


def test_the_background_fills_what_a_small_foreground_leaves():
    row = scenes.of(np.full((40, 40), 255, np.uint8))
    white = pools.still(background=np.full((20, 90, 3), 200, np.uint8))
    example = make(3, row, white, longer=(24, 24), **STILL)
    assert (example["image"][example["alpha"][..., 0] == 0] == 200).all()
    assert (example["alpha"] == 0).sum() == 32 * 32 - 24 * 24


def test_a_background_is_any_part_of_its_file_in_its_own_aspect():
    columns = np.tile(np.arange(150, dtype=np.uint8), (50, 1))
    row = pools.still(background=np.stack([columns] * 3, -1))
    lefts = set()
    for seed in range(300):
        part = modnet.scenery(row, (25, 40), np.random.default_rng(seed))[..., 0].astype(int)
        assert part.shape == (25, 40)
        assert part[0, -1] - part[0, 0] == pytest.approx(78, abs=2)  # 80 columns
        lefts.add(int(part[0, 0]))
    assert min(lefts) <= 1
    assert max(lefts) >= 69


def test_foreground_and_background_turn_each_by_itself():
    row = pools.thing(32, 32)
    behind = pools.still(background=row["foreground"].copy())
    found = []
    for seed in range(300):
        example = make(seed, row, behind, longer=(32, 32), **(STILL | {"flip": 0.5}))
        found.append([example[name][0, 0, 2] > 0 for name in ("foreground", "background")])
    one, other = np.array(found).T
    assert 0.42 < one.mean() < 0.58
    assert 0.42 < other.mean() < 0.58
    assert 0.4 < (one == other).mean() < 0.6


def test_as_photographed_it_fills_the_picture():
    row = scenes.photograph()
    for seed in range(20):
        example = make(seed, row, **(STILL | {"compose.share": 0.0}))
        opaque = example["alpha"] == 255
        assert opaque.any()
        front, image = (
            example[name][opaque[..., 0]].astype(int) for name in ("foreground", "image")
        )
        assert np.abs(front - image).max() <= 6  # estimated: the picture's own where opaque
    whole = scenes.of(np.full((40, 80), 255, np.uint8))
    row = pools.still(alpha=whole["alpha"], image=whole["foreground"])
    example = make(0, row, longer=(24, 24), **(STILL | {"compose.route": "none"}))
    assert (example["alpha"] == 255).all()


def test_a_share_is_composed():
    alpha = np.zeros((32, 32), np.uint8)
    row = pools.still(alpha=alpha, image=np.full((32, 32, 3), 10, np.uint8))
    behind = pools.still(background=np.full((32, 32, 3), 200, np.uint8))
    share = {"compose.share": 2 / 3}
    composed = [make(s, row, behind, **(STILL | share))["image"].min() == 200 for s in range(300)]
    assert np.mean(composed) == pytest.approx(2 / 3, abs=0.08)


def test_the_trimap_is_the_authors_of_the_placed_alpha():
    example = make(4, size=64, longer=(64, 64), **STILL)
    alpha, trimap = example["alpha"], example["trimap"]
    possible = [
        trimaps.two_squares(shrinking, widening, 0.9).trimap(alpha[..., 0])
        for shrinking in range(10, 21)
        for widening in range(10, 21)
    ]
    assert any((trimap[..., 0] == one).all() for one in possible)


def test_an_unknown_composition_is_named():
    with pytest.raises(UserError, match=r"compose\.route='rssn'; there are: none, blend"):
        make(0, **{"compose.route": "rssn"})
