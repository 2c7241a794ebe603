"""The order of the data: the same for any number of processes and workers, and from any place."""

import functools

import numpy as np
import pytest

from configs import gfm
from jaxmatte.data import pipeline
from jaxmatte.errors import UserError
from tests.data import folders


def settings(arguments="", **changes):
    config = gfm.get_config(arguments).data
    fields = {
        "studio__scene": 48,
        "studio__train": 6,
        "studio__validation": 5,
        "size": 32,
        "crop__sizes": (24, 32),
        "crop__fallback": 24,
    }
    for name, value in (fields | changes).items():
        *groups, field = name.split("__")
        functools.reduce(getattr, groups, config)[field] = value
    return config.lock()


@pytest.fixture(name="data", scope="module")
def _data():
    return pipeline.open_training(settings("rosta=FT"), seed=3)


def take(batches, count):
    return [next(batches) for _ in range(count)]


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def joined(shares):
    """The global batch that the processes' shares make up, as devices are numbered."""
    return {name: np.concatenate([share[name] for share in shares]) for name in shares[0]}


@pytest.mark.parametrize("processes", [2, 4])
def test_any_number_of_processes_draws_the_same_global_batches(data, processes):
    whole = take(data.batches(8), 3)
    shares = [take(data.batches(8, 0, number, processes), 3) for number in range(processes)]
    for number, expected in enumerate(whole):
        assert_equal(joined([share[number] for share in shares]), expected)


def test_workers_change_nothing(data):
    expected = take(data.batches(4), 3)
    for number, found in enumerate(take(data.batches(4, workers=2), 3)):
        assert_equal(found, expected[number])


@pytest.mark.parametrize("threads", [0, 3])
def test_threads_change_nothing(data, threads):
    for expected, found in zip(
        take(data.batches(4), 3), take(data.batches(4, threads=threads), 3), strict=True
    ):
        assert_equal(found, expected)


def test_goes_on_from_any_example_with_any_batch_size(data):
    rows = np.concatenate([batch["image"] for batch in take(data.batches(4), 6)])
    (found,) = take(data.batches(6, examples_seen=10), 1)
    np.testing.assert_array_equal(found["image"], rows[10:16])


def test_every_row_comes_in_an_epoch_and_differs_in_the_next(data):
    epoch = len(data)
    assert epoch == 6 * 5  # five backgrounds a foreground
    first, second = (take(data.batches(epoch, place), 1)[0] for place in (0, epoch))
    assert np.bincount(first["index"], minlength=6).tolist() == [5] * 6
    assert np.bincount(second["index"], minlength=6).tolist() == [5] * 6
    assert (first["index"] != second["index"]).any()
    assert len({image.tobytes() for image in [*first["image"], *second["image"]]}) == 2 * epoch


def test_another_seed_gives_other_batches(data):
    other = pipeline.open_training(settings("rosta=FT"), seed=4)
    assert other.fingerprint != data.fingerprint
    (one,), (two,) = take(data.batches(4), 1), take(other.batches(4), 1)
    assert (one["image"] != two["image"]).any()


def test_batches_are_what_the_contract_says(data):
    (batch,) = take(data.batches(4), 1)
    shapes = {
        "image": 3,
        "foreground": 3,
        "background": 3,
        "alpha": 1,
        "trimap": 1,
        "dilation": 1,
        "erosion": 1,
    }
    for name, channels in shapes.items():
        assert batch[name].shape == (4, 32, 32, channels)
        assert batch[name].dtype == np.uint8
    assert set(np.unique(batch["trimap"])) <= {0, 128, 255}
    assert batch["mask"].all()
    assert (batch["size"] == 32).all()
    alpha = batch["alpha"] / 255
    mixed = alpha * batch["foreground"] + (1 - alpha) * batch["background"]
    assert np.abs(mixed - batch["image"]).max() <= 16  # all were resized by themselves
    assert np.abs(mixed - batch["image"]).mean() < 0.8
    assert (batch["erosion"] <= batch["alpha"]).mean() > 0.99
    assert (batch["alpha"] <= batch["dilation"]).mean() > 0.99


def test_released_labels_keep_what_resizing_left():
    data = pipeline.open_training(
        settings("track=ori", source="studio", size=20, labels__resized="released"), 0
    )
    (batch,) = take(data.batches(6), 1)
    assert len(np.unique(batch["trimap"])) > 3


@pytest.mark.parametrize("track", ["ori", "comp_coco", "rssn"])
def test_tracks_over_folders(tmp_path, track):
    root = folders.whole(tmp_path)
    config = settings(f"track={track},rosta=RIM", root=str(root), crop__sizes=(40, 64))
    data = pipeline.open_training(config, seed=0)
    assert len(data) == (4 if track == "ori" else 4 * 5)
    (batch,) = take(data.batches(4), 1)
    assert sorted(set(batch["index"])) == [0, 1, 2, 3] or track != "ori"
    assert data.name(int(batch["index"][0])).startswith("m_")
    assert batch["foreground"].std() > 5


def test_denoised_pairs_are_used_where_they_are_on_file(tmp_path):
    root = folders.whole(tmp_path)
    for number in range(4):
        folders.write(root / f"fg_denoise/m_{number:08d}.png", np.full((96, 128, 3), 250, np.uint8))
    for number in range(5):
        folders.write(root / f"bg_denoise/h_{number:08d}.jpg", np.full((80, 150, 3), 5, np.uint8))
    config = settings(
        "track=rssn",
        root=str(root),
        crop__sizes=(64,),
        compose__denoise=1.0,
        compose__noise=0.0,
        compose__denoised_foregrounds="fg_denoise",
        compose__denoised_backgrounds="bg_denoise",
    )
    (batch,) = take(pipeline.open_training(config, 0).batches(4), 1)
    assert (batch["foreground"] == 250).all()
    assert np.abs(batch["background"].astype(int) - 5).max() <= 1
    (root / "fg_denoise/m_00000002.png").unlink()  # the others are used all the same
    (batch,) = take(pipeline.open_training(config, 0).batches(8), 1)
    clean = (batch["foreground"] == 250).all(axis=(1, 2, 3))
    assert clean.tolist() == (batch["index"] != 2).tolist()


def evaluation(root, split="validation", **changes):
    config = gfm.get_config("track=ori").evaluation
    config.images, config.alphas = f"AM-2k/{split}/original", f"AM-2k/{split}/mask"
    return pipeline.open_evaluation(config, settings("track=ori", root=str(root), **changes), 0)


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("same_size", [False, True])
def test_evaluation_sees_every_row_once_in_batches_of_one_shape(tmp_path, processes, same_size):
    root = folders.am2k(tmp_path, 3, split="validation", height=96, width=128)
    folders.write(root / "AM-2k/validation/original/z.jpg", folders.picture(9, 70, 90))
    folders.write(root / "AM-2k/validation/mask/z.png", folders.matte(70, 90))
    data = evaluation(root)
    seen = []
    for number in range(processes):
        batches = list(data.batches(4, number, processes, same_size=same_size))
        assert len(batches) == data.count(4, same_size=same_size) == 2
        for batch in batches:
            height, width = batch["image"].shape[1:3]
            if not same_size:
                assert height % 32 == 0
                assert width % 32 == 0
            for at in np.flatnonzero(batch["mask"]):
                index = int(batch["index"][at])
                seen.append(index)
                rows, columns = batch["size"][at]
                expected = data.source[index]
                np.testing.assert_array_equal(
                    batch["alpha"][at, :rows, :columns, 0], expected["alpha"]
                )
                np.testing.assert_array_equal(
                    batch["image"][at, :rows, :columns], expected["image"]
                )
            assert (batch["index"][~batch["mask"]] == -1).all()
    assert sorted(seen) == [0, 1, 2, 3]


def test_studio_sets():
    config = gfm.get_config().evaluation
    data = pipeline.open_evaluation(config, settings(), 0)
    assert (len(data), data.name) == (5, "studio validation")
    config.split = "train"
    with pytest.raises(UserError, match="validation, test"):
        pipeline.open_evaluation(config, settings(), 0)
