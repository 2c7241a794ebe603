import cv2
import numpy as np
import pytest

from jaxmatte.data import augment
from jaxmatte.errors import UserError
from tests.data import folders


def test_resize_is_opencv_bilinear_and_mirror_its_own_inverse():
    pixels = folders.picture(0, 60, 60)
    np.testing.assert_array_equal(
        augment.resize(pixels, 32), cv2.resize(pixels, (32, 32), interpolation=cv2.INTER_LINEAR)
    )
    np.testing.assert_array_equal(augment.mirror(augment.mirror(pixels)), pixels)
    np.testing.assert_array_equal(augment.mirror(pixels)[:, 0], pixels[:, -1])


def coordinates(height, width):
    """A picture whose colours say where a pixel comes from: row, column, and both."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows, columns, rows ^ columns], axis=-1).astype(np.uint8)


def draw_many(count=400, **ranges):
    rng = np.random.default_rng(0)
    return [augment.draw_affine(rng, **ranges) for _ in range(count)]


TURNED = augment.Affine((True, False), (1.2, 0.9), 25.0, -8.0, (0.05, -0.1))


@pytest.mark.parametrize("interpolation", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (30, 41)])
def test_the_identity_changes_nothing(interpolation, shape):
    pixels = folders.picture(1, *shape)
    pixels.flags.writeable = False
    matrix = augment.Affine().matrix(shape)
    np.testing.assert_array_equal(matrix, [[1, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(augment.apply(pixels, matrix, shape, interpolation), pixels)


@pytest.mark.parametrize("interpolation", ["nearest", "linear"])
@pytest.mark.parametrize("flips", [(True, False), (False, True), (True, True)])
def test_flips_are_exact_and_their_own_inverse(interpolation, flips):
    pixels = coordinates(20, 31)
    matrix = augment.Affine(flips).matrix((20, 31))
    once = augment.apply(pixels, matrix, (20, 31), interpolation)
    step = [-1 if flip else 1 for flip in flips]
    np.testing.assert_array_equal(once, pixels[:: step[1], :: step[0]])
    np.testing.assert_array_equal(augment.apply(once, matrix, (20, 31), interpolation), pixels)


def test_quarter_turns_go_clockwise_and_shifts_right_and_down():
    pixels = coordinates(16, 16)
    quarter = augment.Affine(rotation=90.0).matrix((16, 16))
    turned = augment.apply(pixels, quarter, (16, 16), "nearest")
    np.testing.assert_array_equal(turned, np.rot90(pixels, -1))
    shifted = augment.apply(
        pixels, augment.Affine(shift=(0.25, 0.125)).matrix((16, 16)), (16, 16), "nearest", fill=9
    )
    np.testing.assert_array_equal(shifted[2:, 4:], pixels[:-2, :-4])
    assert (shifted[:2] == 9).all()
    assert (shifted[:, :4] == 9).all()


def test_growth_is_around_the_centre_and_shear_leans_the_foot_to_the_left():
    pixels = coordinates(9, 9)
    grown = augment.apply(
        pixels, augment.Affine(scale=(2.0, 1.0)).matrix((9, 9)), (9, 9), "nearest"
    )
    np.testing.assert_array_equal(grown[:, ::2], pixels[:, 2:7])
    upright = np.zeros((41, 41), np.uint8)
    upright[:, 20] = 255
    leaning = augment.apply(
        upright, augment.Affine(shear=30.0).matrix((41, 41)), (41, 41), "nearest"
    )
    assert leaning[20].argmax() == 20
    assert leaning[40].argmax() == 20 - round(20 * np.sin(np.radians(30)))


def test_the_matrix_undoes_flip_scale_turn_shear_and_shift_in_this_order():
    turn, lean = np.radians([TURNED.rotation, TURNED.shear])
    steps = [
        np.diag([-1.0, 1.0]),
        np.diag(TURNED.scale),
        np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]),
        np.array([[np.cos(lean), -np.sin(lean)], [0, 1]]),
    ]
    place = np.array([7.0, 3.0])
    moved = place - [24.5, 14.5]
    for step in steps:
        moved = step @ moved
    moved += [24.5 + 0.05 * 50, 14.5 - 0.1 * 30]
    np.testing.assert_allclose(TURNED.matrix((30, 50)) @ [*moved, 1], place, atol=1e-9)


def test_a_window_of_a_warped_picture_is_made_alone_to_the_bit():
    pixels = folders.picture(2, 150, 190)
    matrix = TURNED.matrix((150, 190))
    whole = augment.apply(pixels, matrix, (150, 190), "nearest", fill=5)
    rng = np.random.default_rng(0)
    for _ in range(20):
        top, left = int(rng.integers(110)), int(rng.integers(150))
        places = augment.positions(matrix, np.arange(top, top + 40), np.arange(left, left + 40))
        part = augment.pick(pixels, places, fill=5)
        np.testing.assert_array_equal(part, whole[top : top + 40, left : left + 40])


def test_nearest_is_the_pixel_nearest_to_the_exact_place():
    matrix = TURNED.matrix((60, 80))
    places = augment.positions(matrix, np.arange(60), np.arange(80))
    down, across = np.mgrid[0:60, 0:80]
    exact = np.stack([across, down, np.ones((60, 80))], axis=-1) @ matrix.T
    assert np.abs(places - exact).max() <= 0.5 + 2**-12


def test_places_far_outside_do_not_come_back_in():
    shrunk = np.array([[3000.0, 0, -40000.0], [0, 1, 0]])
    places = augment.positions(shrunk, np.arange(2), np.arange(40))
    assert places[0, 0, 0] == -1
    assert places[0, 39, 0] == np.iinfo(np.int16).max
    np.testing.assert_array_equal(places[0, 14:24, 0], 3000 * np.arange(14, 24) - 40000)


def test_interpolations_are_opencvs_and_their_names_are_checked():
    pixels = folders.picture(3, 40, 52)
    for name, kind in augment.INTERPOLATIONS.items():
        np.testing.assert_array_equal(
            augment.resize(pixels, (17, 23), name), cv2.resize(pixels, (23, 17), interpolation=kind)
        )
    with pytest.raises(UserError, match="nearest, linear, cubic, area"):
        augment.resize(pixels, 8, "bicubic")
    matrix = augment.Affine().matrix((40, 52))
    with pytest.raises(UserError, match="not 'area'"):
        augment.apply(pixels, matrix, (40, 52), "area")
    for interpolation in ("nearest", "linear"):
        with pytest.raises(UserError, match="constant, replicate, reflect"):
            augment.apply(pixels, matrix, (40, 52), interpolation, "wrap")


@pytest.mark.parametrize(("source", "target"), [(1, 5), (7, 7), (100, 33), (640, 1237), (999, 640)])
def test_nearest_says_which_pixels_a_resize_shows(source, target):
    row = np.arange(source) % 251
    pixels = np.tile(row, (3, 1)).astype(np.uint8)
    shown = cv2.resize(pixels, (target, 3), interpolation=cv2.INTER_NEAREST)[0]
    np.testing.assert_array_equal(row[augment.nearest(source, target)], shown)


def test_draws_keep_to_their_ranges_and_probabilities():
    drawn = draw_many(
        flips=(0.5, 0.1), scale=(0.8, 1.25), rotation=(-30, 30), shear=(0, 10), shift=(0.2, 0.0)
    )
    share = np.mean([one.flips for one in drawn], axis=0)
    np.testing.assert_allclose(share, [0.5, 0.1], atol=0.08)
    scales = np.array([one.scale for one in drawn])
    assert 0.8 <= scales.min() < 0.83
    assert 1.22 < scales.max() <= 1.25
    assert abs(np.corrcoef(scales.T)[0, 1]) < 0.15  # each by itself
    assert -30 <= min(one.rotation for one in drawn) < -28
    assert 0 <= min(one.shear for one in drawn) < 1 < 9 < max(one.shear for one in drawn) <= 10
    assert max(abs(one.shift[0]) for one in drawn) > 0.19
    assert {one.shift[1] for one in drawn} == {0.0}
    assert drawn[:5] == draw_many(
        5, flips=(0.5, 0.1), scale=(0.8, 1.25), rotation=(-30, 30), shear=(0, 10), shift=(0.2, 0.0)
    )
    assert set(draw_many(5)) == {augment.Affine()}


def test_classes_are_resized_by_nearest_and_all_else_bilinearly():
    pixels = folders.picture(3, 40, 52)
    for name, kind in (("alpha", "linear"), ("plate", "linear"), ("trimap", "nearest")):
        found = augment.resize_all({name: pixels}, (17, 23))[name]
        np.testing.assert_array_equal(found, augment.resize(pixels, (17, 23), kind))
    assert augment.interpolation("label") == "nearest"


@pytest.mark.parametrize("size", [(20, 30), (17, 23), (7, 60), (60, 80), (1, 1)])
def test_shrinking_takes_means(size):
    smooth = cv2.GaussianBlur(folders.picture(3, 61, 80), (9, 9), 0)
    rows, columns = (max(a // b, 1) for a, b in zip((61, 80), size, strict=True))
    used = smooth[: 61 // rows * rows, : 80 // columns * columns]  # but for the rest
    found = augment.shrink(smooth, size).astype(int)
    difference = np.abs(found - augment.resize(used, size, "area"))
    assert difference.max() <= 8
    assert difference.mean() < 2.5
    halves = smooth[:60].reshape(30, 2, 40, 2, 3).mean((1, 3))
    np.testing.assert_allclose(augment.shrink(smooth, (30, 40)), halves, atol=0.51)
