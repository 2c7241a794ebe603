"""What an example draws from: backgrounds, second foregrounds, colours, labels, denoised planes."""

import itertools

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import gfm
from jaxmatte import foreground
from jaxmatte.data import codec, pipeline, regions
from jaxmatte.data.pool import Pool
from jaxmatte.data.rows import Row
from jaxmatte.errors import BrokenData, UserError
from tests.data import folders

WINDOW = (slice(5, 40), slice(10, 50))


class Numbered:
    """A source of rows in memory that keeps account of which ones were asked for."""

    has_trimaps, fingerprint = False, "numbered"

    def __init__(self, count, **planes):
        self.count, self.planes, self.asked = count, planes, []

    def __len__(self):
        return self.count

    def name(self, index):
        return f"row {index}"

    def __getitem__(self, index):
        self.asked.append(index)
        return Row.of(index, self.name(index), **self.planes)


def foregrounds(count):
    return Numbered(count, alpha=folders.matte(48, 64), image=folders.picture(1, 48, 64))


def backgrounds(count):
    return Numbered(count, background=folders.picture(2, 50, 60))


def config_of(**changes):
    """The group `data` of a configuration that composes every example."""
    config = gfm.get_config("track=comp_coco").data
    config.update_from_flattened_dict(
        {"size": 16, "crop.sizes": (20,), "crop.fallback": 20, "labels.trimap": 5, **changes}
    )
    return config


def pool_of(**changes):
    return Pool(foregrounds(5), backgrounds(30), ConfigDict(config_of(**changes)))


def rng(seed=0):
    return np.random.default_rng(seed)


def drawn(epochs, count=4, behind=100, **changes):
    """The rows of some epochs, each with the background it was laid over."""
    many = backgrounds(behind)
    data = pipeline.TrainingData(config_of(**changes), foregrounds(count), many, seed=0)
    pairs = []
    batches = data.batches(1, threads=0)
    for _ in range(epochs):
        many.asked.clear()
        rows = [int(next(batches)["index"][0]) for _ in range(len(data))]
        pairs.append(list(zip(rows, many.asked, strict=True)))
    return pairs


def test_the_released_pairing_is_the_ith_with_the_ith():
    first, second = drawn(2, pairing="fixed", backgrounds_per_foreground=1)
    assert sorted(first) == sorted(second) == [(row, row) for row in range(4)]


def test_adobes_pairing_goes_through_the_backgrounds_in_order():
    first, second = drawn(2, pairing="fixed", backgrounds_per_foreground=3)
    assert first != second  # the order of the examples is another; the pairs are not
    expected = [(row, 3 * row + copy) for row in range(4) for copy in range(3)]
    assert sorted(first) == sorted(second) == expected


def test_fixed_pairs_begin_anew_where_there_are_too_few_backgrounds():
    (pairs,) = drawn(1, behind=5, pairing="fixed", backgrounds_per_foreground=2)
    assert sorted(pairs) == sorted((n // 2, n % 5) for n in range(8))


def test_random_pairs_are_drawn_anew_and_each_foreground_comes_as_often_as_asked():
    first, second = drawn(2, backgrounds_per_foreground=6)
    for pairs in (first, second):
        assert np.bincount([row for row, _ in pairs]).tolist() == [6] * 4
    assert sorted(first) != sorted(second)
    assert len({background for _, background in first + second}) > 30  # of 48 draws from 100


def test_every_background_is_as_likely():
    pool = pool_of()
    row, generator = pool.source[0], rng()
    counts = np.bincount([pool.background(generator, row).index for _ in range(6000)])
    assert len(counts) == 30
    assert 140 < counts.min() <= counts.max() < 265


def test_scenes_lend_their_own_backgrounds():
    scenes = Numbered(4, alpha=folders.matte(9, 9), background=folders.picture(1, 9, 9))
    fixed = Pool(scenes, None, config_of(pairing="fixed", backgrounds_per_foreground=1))
    assert fixed.background(rng(), scenes[2]).index == 2
    free = Pool(scenes, None, config_of())
    assert {free.background(rng(seed), scenes[2]).index for seed in range(40)} == set(range(4))


def test_a_second_foreground_is_another_one():
    pool = pool_of()
    for index in range(5):
        others = {pool.foreground(rng(seed), pool.source[index]).index for seed in range(60)}
        assert others == set(range(5)) - {index}
    alone = Pool(foregrounds(1), None, config_of())
    row = alone.source[0]
    assert alone.foreground(rng(), row) is row


def test_colours_are_those_on_file_where_there_are_some():
    alpha, image = folders.matte(48, 64), folders.picture(1, 48, 64)
    front, behind = folders.picture(2, 48, 64), folders.picture(3, 48, 64)
    pool = pool_of(foreground="image")
    row = Row.of(0, "a", alpha=alpha, image=image, foreground=front, background=behind)
    np.testing.assert_array_equal(pool.colours(row, WINDOW), front[WINDOW])
    for found, expected in zip(pool.separated(row, WINDOW), (front, behind), strict=True):
        np.testing.assert_array_equal(found, expected[WINDOW])
    half = Row.of(0, "a", alpha=alpha, image=image, foreground=front)
    for found, expected in zip(pool.separated(half), (front, image), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_colours_are_made_as_the_configuration_says():
    alpha, image = folders.matte(48, 64), folders.picture(1, 48, 64)
    row = Row.of(0, "a", alpha=alpha, image=image)
    opacity = alpha[WINDOW][..., None] / 255
    made = {
        "image": (image[WINDOW], image[WINDOW]),
        "premultiplied": (opacity * image[WINDOW], (1 - opacity) * image[WINDOW]),
        "estimate": foreground.estimate(image[WINDOW], alpha[WINDOW]),
    }
    for way, expected in made.items():
        pool = pool_of(foreground=way)
        np.testing.assert_array_equal(pool.colours(row, WINDOW), pool.separated(row, WINDOW)[0])
        for found, wanted in zip(pool.separated(row, WINDOW), expected, strict=True):
            assert np.abs(found.astype(float) - wanted).max() < 1.001, way


@pytest.mark.parametrize("kind", ["trimap", "dilation", "erosion"])
def test_labels_are_the_same_stored_or_made(kind):
    alpha = folders.matte(48, 64)
    whole = regions.LABELS[kind](alpha, 7)
    stored = {f"{kind}_7": codec.plane(codec.encode(f"{kind}_7", whole))}
    plain = Row.of(0, "a", alpha=alpha)
    for row in (plain, Row(0, "a", alpha.shape, {**plain.planes, **stored})):
        np.testing.assert_array_equal(pool_of().labels(row, kind, 7).read(), whole)
        np.testing.assert_array_equal(pool_of().label(row, kind, 7, WINDOW), whole[WINDOW])


def test_stored_labels_of_another_size_are_not_taken():
    alpha = folders.matte(48, 64)
    row = Row.of(0, "a", alpha=alpha, trimap_9=np.zeros_like(alpha))
    np.testing.assert_array_equal(
        pool_of().label(row, "trimap", 7, WINDOW), regions.trimap(alpha, 7)[WINDOW]
    )


def test_denoised_planes_are_the_stores_or_the_sets_own():
    alpha, clean = folders.matte(20, 30), folders.picture(4, 20, 30)
    other = folders.picture(5, 20, 30)
    front = Row.of(0, "f", alpha=alpha, image=clean, denoised=clean)
    both = Row.of(0, "f", alpha=alpha, denoised=clean, denoised_foreground=other)
    behind = Row.of(0, "b", background=other, denoised=clean)
    pool, part = pool_of(), (slice(2, 9), slice(3, 20))
    for row, field, expected in (
        (front, "foreground", clean),
        (both, "foreground", other),
        (behind, "background", clean),
    ):
        np.testing.assert_array_equal(pool.denoised(row, field).read(part), expected[part])
    assert pool.denoised(front, "background") is None  # what was denoised is the animal
    assert pool.denoised(behind, "foreground") is None
    assert pool.denoised(Row.of(0, "b", background=other), "background") is None


def test_a_denoised_plane_of_another_size_is_broken():
    row = Row.of(0, "h_1.jpg", background=folders.picture(5, 20, 30))
    row.planes["denoised_background"] = codec.plane(
        codec.encode("denoised_background", folders.picture(5, 25, 30))
    )
    with pytest.raises(
        BrokenData, match=r"the denoised_background of h_1.jpg is 30x25 where 30x20"
    ):
        pool_of().denoised(row, "background").read()


@pytest.mark.parametrize(("field", "value"), [("foreground", "mean"), ("pairing", "sorted")])
def test_unknown_ways_are_refused(field, value):
    with pytest.raises(UserError, match=rf"data.{field}='{value}'; there are: "):
        pool_of(**{field: value})


def test_copies_of_a_row_differ_only_by_what_is_drawn():
    data = pipeline.TrainingData(
        config_of(backgrounds_per_foreground=3), foregrounds(2), backgrounds(9), seed=0
    )
    assert len(data) == 6
    batches = data.batches(6)
    seen = {batch["image"].tobytes() for batch in itertools.islice(batches, 4)}
    assert len(seen) == 4
