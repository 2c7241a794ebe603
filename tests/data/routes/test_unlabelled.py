import numpy as np
import pytest

from configs import routes
from jaxmatte.data.rows import Row
from jaxmatte.errors import UserError
from tests.data import folders
from tests.data.routes import pools, scenes


def make(seed=0, row=None, **changes):
    options = scenes.settings(routes.unlabelled(), **({"size": 32} | changes))
    return scenes.make(options, seed, row or photograph())["image"]


def photograph(height=48, width=70):
    return pools.still(image=folders.picture(7, height, width))


def places(height, width):
    """A row that tells where each of its pixels lay."""
    rows, columns = np.indices((height, width))
    return pools.still(image=np.stack([rows, columns, 0 * rows], axis=-1).astype(np.uint8))


def test_the_options_have_defaults():
    options = routes.unlabelled()
    assert (options.size, options.scale, options.flip) == (512, (0.7, 1.0), 0.5)


def test_an_example_is_a_picture_and_nothing_else():
    options = scenes.settings(routes.unlabelled(), size=32)
    example = scenes.make(options, 0, photograph())
    assert {name: pixels.shape for name, pixels in example.items()} == {"image": (32, 32, 3)}
    assert example["image"].dtype == np.uint8


def test_colours_and_places_are_untouched_where_nothing_is_resized():
    row = places(32, 50)
    lefts = set()
    for seed in range(200):
        image = make(seed, row, scale=(1.0, 1.0), flip=0.0)
        left = int(image[0, 0, 1])
        np.testing.assert_array_equal(image, row["image"][:, left : left + 32])
        lefts.add(left)
    assert lefts == set(range(19))


def test_the_square_is_a_share_of_the_shorter_side_anywhere():
    row, sides, tops = places(100, 200), [], []
    for seed in range(300):
        image = make(seed, row, size=8, scale=(0.4, 0.8), flip=0.0).astype(float)
        height = (image[-1, 0, 0] - image[0, 0, 0]) * 8 / 7  # from centre to centre of pixels
        width = (image[0, -1, 1] - image[0, 0, 1]) * 8 / 7
        assert height == pytest.approx(width, abs=2.5)  # a square stays one
        sides.append(height)
        tops.append(image[0, 0, 0])
    assert 38 < min(sides) < 44
    assert 76 < max(sides) < 83
    assert np.mean(sides) == pytest.approx(60, abs=3)
    assert min(tops) < 5
    assert max(tops) > 45


def test_half_of_the_pictures_are_mirrored():
    row = places(32, 32)
    turned = [make(seed, row, scale=(1.0, 1.0))[0, 0, 1] == 31 for seed in range(300)]
    assert np.mean(turned) == pytest.approx(0.5, abs=0.08)


def test_only_the_window_is_read():
    windows = []

    class Watched:
        def read(self, window=None):
            windows.append(window)
            return np.zeros([part.stop - part.start for part in window] + [3], np.uint8)

    for seed in range(20):
        make(seed, Row(0, "watched", (60, 90), {"image": Watched()}), scale=(0.5, 0.5))
    assert len(windows) == 20
    for rows, columns in windows:
        assert (rows.stop - rows.start, columns.stop - columns.start) == (30, 30)


def test_what_a_source_keeps_is_not_handed_out():
    row = photograph(32, 32)
    image = make(0, row, scale=(1.0, 1.0), flip=0.0)
    assert not np.shares_memory(image, row["image"])
    image[:] = 0  # a batch may be written to


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (9, 70), (31, 33), (300, 40)])
def test_every_size_of_picture(size):
    images = [make(seed, photograph(*size)) for seed in range(6)]
    assert {image.shape for image in images} == {(32, 32, 3)}


def test_the_same_random_numbers_give_the_same_example_and_others_another():
    first, again, other = (make(seed).tobytes() for seed in (3, 3, 4))
    assert first == again
    assert first != other


@pytest.mark.parametrize("scale", [(0.0, 1.0), (0.9, 0.5), (0.5, 1.2)])
def test_a_range_that_no_square_has_is_named(scale):
    with pytest.raises(UserError, match=r"data\.scale=.*shares of the picture's shorter side"):
        make(0, scale=scale)
