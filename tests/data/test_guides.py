"""Trimaps and plates of validation sets: from file, or made, the same for a row in every run."""

import re

import numpy as np
import pytest

from configs import gfm, routes
from jaxmatte.data import guides, opening, pipeline
from jaxmatte.errors import UserError
from tests.data import folders, lookalikes

BOTH = ("trimap", "plate")


def config_of(route="dim", **changes):
    """A configuration on small scenes of the studio, by another paper's route."""
    config = gfm.get_config()
    with config.unlocked():
        config.data.update(getattr(routes, route)())
        config.evaluation.plates = ""
    config.data.studio.update({"scene": 64, "train": 4, "validation": 3})
    config.update_from_flattened_dict(changes)
    return config.lock()


def opened(config, given=BOTH):
    return opening.evaluation(config.evaluation, config.data, config.seed, given)[0]


def test_a_row_has_its_own_whatever_else_is_in_the_set():
    source = opened(config_of())
    assert source.has_trimaps
    assert len(source) == 3
    more = opened(config_of(**{"data.studio.validation": 5, "data.studio.cache": False}))
    plain = opened(config_of(), given=())
    assert not plain.has_trimaps
    drawn = set()
    for index in (2, 0, 1):
        row, again = source[index], more[index]
        assert (row.name, row.size) == (plain.name(index), plain.size(index))
        for name in BOTH:
            np.testing.assert_array_equal(row[name], again[name])
        for name in ("image", "alpha", "background"):
            np.testing.assert_array_equal(row[name], plain[index][name])
        assert set(BOTH).isdisjoint(plain[index].planes)
        trimap, alpha, plate = row["trimap"], row["alpha"], row["plate"]
        assert set(np.unique(trimap)) <= {0, 128, 255}
        assert not alpha[trimap == 0].any()
        assert (alpha[trimap == 255] == 255).all()
        gap = np.abs(plate.astype(float) - row["background"])
        assert 0.5 < gap.mean() < 20
        drawn.add((float((trimap == 128).mean()), float(gap.mean())))
        np.testing.assert_array_equal(row.read("plate", (slice(3, 9), slice(0, 7))), plate[3:9, :7])
    assert len(drawn) == 3


def test_trimaps_are_those_that_are_trained_with():
    wide = config_of(**{"data.trimap.name": "fixed", "data.trimap.fixed.size": 21})
    narrow = config_of(**{"data.trimap.name": "fixed", "data.trimap.fixed.size": 3})
    one, other = (opened(config)[0]["trimap"] for config in (wide, narrow))
    assert (one == 128).sum() > 1.5 * (other == 128).sum()


def test_a_plate_is_shifted_exposed_and_noisy_within_what_is_said(monkeypatch):
    ramp = np.tile(np.arange(40, 200, 4, dtype=np.uint8)[None, :, None], (30, 1, 3))
    ramp.flags.writeable = False
    found = [guides.captured_apart(ramp, np.random.default_rng(seed)) for seed in range(30)]
    spread = [np.std(plate[:, 20].astype(float)) for plate in found]
    assert min(spread) < 2 < max(spread) < 0.035 * 255
    level = [plate[:, 20].mean() for plate in found]
    least, most = (255 * (ramp[0, 20, 0] / 255) ** gamma for gamma in (1.15, 0.85))
    assert least - 3 < min(level) < ramp[0, 20, 0] - 4
    assert ramp[0, 20, 0] + 4 < max(level) < most + 3
    monkeypatch.setattr(guides, "NOISE", 0.0)
    monkeypatch.setattr(guides, "GAMMA", (1.0, 1.0))
    found = [guides.captured_apart(ramp, np.random.default_rng(seed)) for seed in range(30)]
    shift = [(plate[5, 5:-5].astype(float) - ramp[5, 5:-5]).mean() / 4 for plate in found]
    assert -0.4 < min(shift) < -0.15  # 8 bits round
    assert 0.15 < max(shift) < 0.4


def test_frozen_composites_have_plates_of_their_backgrounds(tmp_path, monkeypatch):
    lookalikes.shrink(monkeypatch)
    lookalikes.composition1k(tmp_path)
    config = config_of()
    config.data.update({"source": "set", "root": str(tmp_path)})
    config.evaluation.update({"set": "composition1k", "split": "test"})
    source = opened(config)
    assert source.has_trimaps  # those on file, as they are
    row, plain = source[1], opened(config, ("trimap",))[1]
    np.testing.assert_array_equal(row["trimap"], plain["trimap"])
    assert np.abs(row["plate"].astype(float) - plain["background"]).mean() < 25
    assert "plate" not in plain


@pytest.fixture(name="captures", scope="module")
def _captures(tmp_path_factory):
    root = tmp_path_factory.mktemp("captures")
    for number, size in enumerate([(40, 50), (32, 64)]):
        folders.write(root / f"images/{number}.jpg", folders.picture(number, *size))
        folders.write(root / f"alphas/{number}.png", folders.matte(*size))
        folders.write(root / f"plates/{number}.png", folders.picture(9 + number, *size))
    return root


def captured(root, **changes):
    config = config_of(**{"data.source": "folder", "data.root": str(root)})
    config.evaluation.update({"images": "images", "alphas": "alphas", "plates": "plates"} | changes)
    return config


def test_plates_of_real_captures_come_from_their_folder(captures):
    config = captured(captures)
    data = pipeline.open_evaluation(config.evaluation, config.data, 0, ("plate",))
    seen = 0
    for batch in data.batches(2):
        assert sorted(batch) == ["alpha", "image", "index", "mask", "plate", "size"]
        assert batch["plate"].shape == batch["image"].shape
        for at, index in enumerate(batch["index"]):
            height, width = batch["size"][at]
            if index < 0:
                assert not batch["plate"][at].any()
                continue
            expected = folders.picture(9 + index, height, width)
            np.testing.assert_array_equal(batch["plate"][at, :height, :width], expected)
            np.testing.assert_array_equal(  # as the picture is padded
                batch["plate"][at, height:],
                batch["plate"][at, height - 1 : height].repeat(
                    batch["plate"].shape[1] - height, axis=0
                ),
            )
            seen += 1
    assert seen == 2


def test_networks_that_are_not_guided_are_given_nothing_more(captures):
    config = captured(captures)
    batch = next(pipeline.open_evaluation(config.evaluation, config.data, 0).batches(2))
    assert sorted(batch) == ["alpha", "image", "index", "mask", "size"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"plates": ""}, "0.jpg and the other rows have no plate, .* in evaluation.plates"),
        ({"plates": "plate"}, "config.evaluation.plates"),
        ({"plates": "others"}, "1 of 2 pictures .* have no partner in .*others"),
        ({"plates": "wrong"}, "2 of 2 pictures .* differ in size"),
    ],
)
def test_mistakes_with_plates_are_told(captures, changes, told):
    folders.write(captures / "others/0.png", folders.picture(0, 40, 50))
    for number in range(2):
        folders.write(captures / f"wrong/{number}.png", folders.picture(0, 30, 30))
    with pytest.raises(UserError) as caught:
        opened(captured(captures, **changes))
    assert re.search(told, str(caught.value))
    assert "\n" not in str(caught.value)


def test_a_row_without_a_background_is_named():
    class Mixed:
        has_trimaps = False

        def __getitem__(self, index):
            return opened(config_of(), ())[0] if not index else folders_row()

    def folders_row():
        from jaxmatte.data.rows import Row

        return Row.of(1, "lonely", image=folders.picture(0, 8, 8), alpha=folders.matte(8, 8))

    source = guides.Guided(Mixed(), plate=True)
    assert "plate" in source[0]
    with pytest.raises(UserError, match="lonely has no background to make a plate of"):
        source[1]
