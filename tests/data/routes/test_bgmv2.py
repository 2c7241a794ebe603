import numpy as np
import pytest

from configs import routes
from jaxmatte.data import augment, photometric
from jaxmatte.data.routes import bgmv2
from jaxmatte.errors import UserError
from tests.data import folders
from tests.data.routes import pools, scenes

STILL = {  # nothing but geometry
    "front.blur": 0.0,
    "front.sharpen": 0.0,
    "front.jitter.each": 0.0,
    "back.blur": 0.0,
    "back.sharpen": 0.0,
    "back.jitter.each": 0.0,
    "shadow.probability": 0.0,
    "noise.probability": 0.0,
    "plate.jitter.probability": 0.0,
    "plate.affine.probability": 0.0,
}


def settings(stage="base", **changes):
    small = {"size": 32, "sides": (24, 44), "canvas": 40, "trimap.fixed.size": 5}
    return scenes.settings(routes.bgmv2(stage), **(small | changes))


def make(seed=0, row=None, behind=None, **changes):
    return scenes.make(settings(**changes), seed, row, behind)


def test_the_options_are_the_released_ones():
    base, refine = routes.bgmv2(), routes.bgmv2("refine")
    assert (base.canvas, base.sides, refine.canvas, refine.sides) == (
        512,
        (256, 511),
        2048,
        (1024, 2044),
    )
    assert (base.front.scale, refine.front.scale, base.back.scale) == ((0.4, 1), (0.3, 1), (1, 2))
    for lens in (base.front, base.back, refine.front, refine.back):
        assert (lens.rotation, lens.shear, lens.shift) == ((-5, 5), (-5, 5), 0.1)
        assert (lens.flip, lens.blur, lens.radius, lens.sharpen) == (0.5, 0.1, 5, 0.1)
        assert lens.jitter.style == "pil"
        for name in ("brightness", "contrast", "saturation"):
            assert lens.jitter[name] == (0.85, 1.15)
        assert lens.jitter.hue == pytest.approx((-0.05 * 255, 0.05 * 255))
    assert (base.shadow.probability, base.shadow.strength) == (0.3, (0, 0.3))
    assert (base.shadow.blur, base.shadow.scale, base.shadow.shift) == ((20, 39), (0.5, 1.5), 0.2)
    assert (base.noise.probability, base.noise.most, base.noise.measure) == (0.4, 0.03, "deviation")
    assert (base.plate.jitter.probability, base.plate.affine.probability) == (0.8, 0.3)
    assert base.plate.jitter.brightness == pytest.approx((-0.18, 0.18))
    assert base.plate.jitter.contrast == base.plate.jitter.saturation == (0.82, 1.18)
    assert (base.plate.affine.rotation, base.plate.affine.shift) == ((-1, 1), 0.01)


def test_the_lenses_are_set_each_by_itself():
    options = routes.bgmv2()
    options.back.jitter.each = 0.0
    assert options.front.jitter.each == 1.0


def test_an_unknown_stage_is_named():
    with pytest.raises(ValueError, match=r"stage='refined'.*base, refine"):
        routes.bgmv2("refined")


def test_planes_stay_together_and_the_plate_is_the_background():
    for seed in range(20):
        example = make(seed, **STILL)
        np.testing.assert_array_equal(example["foreground"][..., :1], example["alpha"])
        np.testing.assert_array_equal(example["plate"], example["background"])
        scenes.assert_blended(example)


def test_all_but_noise_obeys_equation_1():
    for seed in range(20):
        scenes.assert_blended(make(seed, **{"noise.probability": 0.0}))


def test_the_middle_of_the_picture_lies_in_the_middle_at_the_drawn_scale():
    for flips in ((False, False), (True, False)):
        affine = augment.Affine(flips, (0.5, 0.5), rotation=4.0)
        matrix = bgmv2.matrix_of(affine, (90, 120), side=60, size=32)
        np.testing.assert_allclose(matrix @ [15.5, 15.5, 1], [59.5, 44.5])
        # Scale .5 of a shorter side of 60 pixels: 30 for its 90, so that areas are as 1 to 9.
        assert abs(np.linalg.det(matrix[:, :2])) == pytest.approx(9)


def test_shifts_are_shares_of_the_scaled_picture():
    affine = augment.Affine(shift=(0.1, -0.05))
    matrix = bgmv2.matrix_of(affine, (90, 120), side=45, size=32)
    np.testing.assert_allclose(matrix @ [15.5 + 0.1 * 60, 15.5 - 0.05 * 45, 1], [59.5, 44.5])


def test_one_scale_for_both_axes_and_every_range_is_used():
    rng, options = np.random.default_rng(0), routes.bgmv2()
    drawn = [bgmv2.draw_affine(rng, options.front) for _ in range(1000)]
    assert all(a.scale[0] == a.scale[1] for a in drawn)
    for values, (low, high) in (
        ([a.scale[0] for a in drawn], (0.4, 1.0)),
        ([a.rotation for a in drawn], (-5, 5)),
        ([a.shear for a in drawn], (-5, 5)),
        ([a.shift[0] for a in drawn], (-0.1, 0.1)),
        ([a.shift[1] for a in drawn], (-0.1, 0.1)),
    ):
        assert low <= min(values) < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < max(values) <= high
    assert 0.45 < np.mean([a.flips[0] for a in drawn]) < 0.55
    assert not any(a.flips[1] for a in drawn)


@pytest.mark.parametrize("outside", ["constant", "replicate", "reflect"])
def test_only_what_is_seen_is_read_and_shows_the_same(outside):
    row = pools.behind(80, 150)
    for affine in (
        augment.Affine(scale=(2.0, 2.0), rotation=5.0),
        augment.Affine((True, False), (1.3, 1.3), shear=4.0, shift=(0.1, -0.1)),
        augment.Affine(scale=(0.4, 0.4), shift=(0.5, 0.4)),
    ):
        found = bgmv2.seen(row, ("background",), affine, 40, 32, outside)["background"]
        matrix = bgmv2.matrix_of(affine, row.size, 40, 32)
        whole = augment.apply(row["background"], matrix, (32, 32), "linear", outside)
        np.testing.assert_allclose(found.astype(int), whole, atol=3)


def test_only_what_is_seen_is_read():
    class Watched:
        def read(self, window=None):
            self.window = window
            return np.zeros(
                (window[0].stop - window[0].start, window[1].stop - window[1].start, 3), np.uint8
            )

    row = pools.behind(800, 1500)
    row.planes = {"background": Watched()}
    bgmv2.seen(row, ("background",), augment.Affine(scale=(2.0, 2.0)), 40, 40, "constant")
    rows, columns = row.planes["background"].window
    assert (rows.stop - rows.start, columns.stop - columns.start) == pytest.approx(
        (400, 400), abs=25
    )


def test_a_foreground_shifted_out_of_sight_leaves_nothing():
    example = make(0, **(STILL | {"front.shift": 9.0, "sides": (40, 44)}))
    assert not example["alpha"].any()
    np.testing.assert_array_equal(example["image"], example["background"])


def test_backgrounds_are_black_outside_unless_reflected():
    white = pools.still(background=np.full((60, 60, 3), 255, np.uint8))
    black = [(make(seed, behind=white, **STILL)["background"] == 0).any() for seed in range(30)]
    assert any(black)
    reflected = STILL | {"back.outside": "reflect"}
    assert all(make(seed, behind=white, **reflected)["background"].all() for seed in range(30))


def test_a_background_leaves_no_frame_where_the_canvas_is_smaller_than_the_result():
    white = pools.still(background=np.full((60, 80, 3), 255, np.uint8))
    straight = {f"back.{name}": (0, 0) for name in ("rotation", "shear")}
    changes = STILL | straight | {"sides": (20, 20), "back.scale": (1, 1), "back.shift": 0.0}
    assert make(0, behind=white, **changes)["background"].all()


def test_foreground_and_background_are_taken_apart_from_each_other():
    row = pools.thing()
    both = []
    for seed in range(200):
        example = make(seed, row, **(STILL | {"front.rotation": (0, 0), "front.shear": (0, 0)}))
        rightwards = np.diff(example["foreground"][16, :, 2].astype(int)).sum() > 0
        again = make(seed, row, **STILL)
        np.testing.assert_array_equal(example["background"], again["background"])
        both.append(rightwards)
    assert 0.4 < np.mean(both) < 0.6


def test_everything_happens_as_often_as_it_should():
    pixels, alpha = folders.picture(1, 32, 32), folders.matte(32, 32)
    options = settings()
    options.plate.affine.rotation = (8, 9)  # seen at once

    def share(changed, count=600):
        generators = map(np.random.default_rng, range(count))
        return np.mean([changed(rng) for rng in generators])

    def plate(rng):
        return (bgmv2.other_look(pixels, rng, options.plate) != pixels).any()

    def moved(rng):  # what comes from outside is black
        return not bgmv2.other_look(white, rng, options.plate).all()

    white = np.full((32, 32, 3), 255, np.uint8)
    options.plate.jitter.each = 0.0
    assert share(moved) == pytest.approx(0.3, abs=0.06)
    options.plate.together, options.plate.jitter.probability = True, 0.4
    assert share(moved) == pytest.approx(0.4, abs=0.06)
    options.plate.together, options.plate.jitter.each = False, 1.0
    options.plate.jitter.probability, options.plate.affine.probability = 0.8, 0.0
    assert share(plate) == pytest.approx(0.8, abs=0.05)
    options.plate.affine.probability = 0.3
    assert share(plate) == pytest.approx(1 - 0.2 * 0.7, abs=0.05)  # by two coins

    options.shadow.strength = (0.2, 0.3)
    falls = share(lambda rng: (bgmv2.shadowed(pixels, alpha, rng, options.shadow) != pixels).any())
    assert falls == pytest.approx(0.3, abs=0.06)
    changes = STILL | {"noise.probability": 0.4}
    noisy = [
        (e["plate"] != e["background"]).any() for e in (make(s, **changes) for s in range(200))
    ]
    assert np.mean(noisy) == pytest.approx(0.4, abs=0.1)


def test_blur_and_sharpening_go_through_alpha_too():
    planes = {"alpha": folders.matte(30, 40), "foreground": folders.picture(1, 30, 40)}
    options = settings(**{"front.blur": 1.0, "front.sharpen": 0.0}).front
    radii = set()
    for seed in range(60):
        soft = bgmv2.soften(planes, np.random.default_rng(seed), options, 0.5)
        match = [
            r
            for r in range(6)
            if all((soft[n] == photometric.box_blur(planes[n], 0.5 * r)).all() for n in planes)
        ]
        assert len(match) == 1
        radii |= set(match)
    assert radii == set(range(6))
    options = settings(**{"front.blur": 0.0, "front.sharpen": 1.0}).front
    sharp = bgmv2.soften(planes, np.random.default_rng(0), options, 1.0)
    assert all((sharp[n] == photometric.sharpen(planes[n])).all() for n in planes)
    counts = [
        bgmv2.soften(planes, np.random.default_rng(seed), routes.bgmv2().front, 1.0) is not planes
        for seed in range(500)
    ]
    assert np.mean(counts) == pytest.approx(1 - 0.9 * 0.9, abs=0.05)


def test_the_shadow_falls_on_the_background_and_not_on_the_plate():
    options = STILL | {"shadow.probability": 1.0, "shadow.strength": (0.3, 0.3)}
    for seed in range(10):
        example = make(seed, **options)
        assert (example["background"] <= example["plate"]).all()
        assert (example["background"] < example["plate"]).any()
        scenes.assert_blended(example)


def test_noise_is_drawn_for_picture_and_plate_each():
    options = routes.bgmv2().noise
    grey = np.full((64, 64, 3), 128, np.uint8)
    found = [bgmv2.noisy(grey, np.random.default_rng(seed), options).std() for seed in range(200)]
    assert max(found) == pytest.approx(0.03 * 255, rel=0.05)
    assert np.mean(found) == pytest.approx(0.015 * 255, rel=0.1)
    options.measure = "variance"
    found = [bgmv2.noisy(grey, np.random.default_rng(seed), options).std() for seed in range(100)]
    assert max(found) == pytest.approx(0.03**0.5 * 255, rel=0.05)
    example = make(1, **(STILL | {"noise.probability": 1.0}))
    unseen = example["alpha"][..., 0] == 0
    picture, plate = (example[name][unseen].astype(int) for name in ("image", "plate"))
    assert not np.array_equal(picture, plate)
    options.measure = "sigma"
    with pytest.raises(UserError, match=r"noise\.measure='sigma'"):
        bgmv2.noisy(grey, np.random.default_rng(0), options)


def test_sides_are_the_greater_of_two_draws():
    row = scenes.of(np.full((60, 60), 255, np.uint8))
    fixed = STILL | {
        "front.rotation": (0, 0),
        "front.shear": (0, 0),
        "front.shift": 0.0,
        "front.scale": (0.5, 0.5),
        "sides": (20, 60),
    }
    lengths = [(make(seed, row, **fixed)["alpha"][16] > 127).sum() for seed in range(200)]
    assert min(lengths) >= 10
    assert max(lengths) in (29, 30)
    assert np.mean(lengths) == pytest.approx((20 + 40 * 2 / 3) / 2, abs=1)
