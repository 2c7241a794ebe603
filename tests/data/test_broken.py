"""Broken rows: training stops at them or passes them over, and never trains on garbage."""

import re

import numpy as np
import pytest

from jaxmatte.data import catalog, pipeline, sources
from jaxmatte.errors import BrokenData, UserError
from tests.data import folders, stores
from tests.data.test_pipeline import assert_equal, evaluation, joined, settings


def cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


# What can happen to the row number 2 of four, and what is told of it.
TROUBLES = {
    "truncated picture": (
        lambda base: cut(base / "original/m_00000002.jpg"),
        r"the image of m_00000002.jpg: cannot decode .*original/m_00000002.jpg",
    ),
    "truncated alpha": (
        lambda base: cut(base / "mask/m_00000002.png"),
        r"the alpha of m_00000002.jpg: cannot decode .*mask/m_00000002.png",
    ),
    "vanished picture": (
        lambda base: (base / "original/m_00000002.jpg").unlink(),
        r"cannot read .*original/m_00000002.jpg",
    ),
    "vanished alpha": (
        lambda base: (base / "mask/m_00000002.png").unlink(),
        r"the alpha of m_00000002.jpg: cannot read .*mask/m_00000002.png",
    ),
    "alpha of another size": (
        lambda base: folders.write(base / "mask/m_00000002.png", folders.matte(90, 128)),
        r"the alpha of m_00000002.jpg is 128x90 where 128x96 was expected",
    ),
}


def of_files(root, **changes):
    fixed = {"compose__route": "blend", "backgrounds": "BG-20k/train"}
    config = settings("track=ori", root=str(root), crop__sizes=(40, 64), **(fixed | changes))
    return pipeline.open_training(config, seed=1)


def taken(data, count=4, **how):
    batches = data.batches(4, **how)
    found = [next(batches) for _ in range(count)]
    batches.close()
    return found


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_row_that_breaks_stops_the_batches_with_its_name(tmp_path, trouble):
    data = of_files(folders.whole(tmp_path))
    spoil, told = TROUBLES[trouble]
    spoil(tmp_path / "AM-2k/train")
    with pytest.raises(BrokenData, match=told) as caught:
        taken(data, threads=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_row_that_breaks_is_passed_over_and_told_once(tmp_path, trouble, capfd):
    data = of_files(folders.whole(tmp_path), broken="skip")
    whole = taken(data)
    assert not any(batch["skipped"].any() for batch in whole)
    spoil, told = TROUBLES[trouble]
    spoil(tmp_path / "AM-2k/train")
    found = taken(data)
    for batch, before in zip(found, whole, strict=True):
        assert 2 not in batch["index"]
        assert batch["skipped"].astype(bool).tolist() == (before["index"] == 2).tolist()
        for name in set(batch) - {"skipped"}:  # the others stay what they were
            kept = before["index"] != 2
            np.testing.assert_array_equal(batch[name][kept], before[name][kept])
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("warning: passed over: ")
    assert re.search(told, line)


def spoiled(tmp_path, **changes):
    """Data of which a foreground and a background break after they were opened."""
    data = of_files(folders.whole(tmp_path), broken="skip", **changes)
    cut(tmp_path / "AM-2k/train/original/m_00000002.jpg")
    cut(tmp_path / "BG-20k/train/h_00000003.jpg")
    return data


def test_passing_over_is_the_same_in_processes_and_workers_and_after_going_on(tmp_path, capfd):
    data = spoiled(tmp_path)
    whole = taken(data, 6)
    assert sum(batch["skipped"].sum() for batch in whole) > 6
    shares = [taken(data, 6, process=number, processes=2) for number in range(2)]
    for expected, *parts in zip(whole, *shares, strict=True):
        assert_equal(joined(parts), expected)
    for expected, found in zip(whole[2:], taken(data, examples_seen=8), strict=True):
        assert_equal(found, expected)
    capfd.readouterr()
    for expected, found in zip(whole, taken(data, 6, workers=2), strict=True):
        assert_equal(found, expected)
    told = [line.split("/")[-1] for line in capfd.readouterr().err.splitlines()]
    assert sorted(line.split(";")[0] for line in told) == ["h_00000003.jpg", "m_00000002.jpg"]


def test_a_broken_background_stops_or_has_the_example_drawn_anew(tmp_path):
    root = folders.whole(tmp_path)
    stops, skips = of_files(root), of_files(root, broken="skip")
    fixed = of_files(root, broken="skip", pairing="fixed")
    folder = tmp_path / "BG-20k/train"
    for path in sorted(folder.iterdir())[1:]:
        cut(path)
    with pytest.raises(BrokenData, match=r"cannot decode .*BG-20k/train/h_0000000[1-4].jpg"):
        taken(stops, threads=0)
    front = sources.read_colour(folder / "h_00000000.jpg").astype(int)
    for batch in taken(skips):
        assert batch["background"].std() > 5  # none of the grey that a cut-off JPEG decodes to
        assert np.ptp(front, axis=(0, 1)).max() >= np.ptp(batch["background"], axis=(1, 2)).max()
    assert sum(batch["skipped"].sum() for batch in taken(skips)) > 8
    assert {int(i) for batch in taken(fixed) for i in batch["index"]} == {0}  # the one that is left


def test_where_everything_is_broken_even_passing_over_stops(tmp_path):
    data = of_files(folders.whole(tmp_path), broken="skip")
    for path in (tmp_path / "AM-2k/train/original").iterdir():
        cut(path)
    with pytest.raises(UserError, match=r"16 rows in a row are broken; the last one: ") as caught:
        taken(data)
    assert "\n" not in str(caught.value)
    assert "cannot decode" in str(caught.value)


def test_what_is_broken_before_the_start_does_not_keep_skipping_from_starting(tmp_path, capfd):
    root = folders.whole(tmp_path)
    for number, (spoil, _) in enumerate(TROUBLES.values()):
        if number in (0, 1, 4):  # what has vanished is no longer listed
            again = folders.whole(tmp_path / str(number))
            spoil(again / "AM-2k/train")
            assert all(2 not in batch["index"] for batch in taken(of_files(again, broken="skip")))
    cut(root / "AM-2k/train/mask/m_00000002.png")
    with pytest.raises(BrokenData, match=r"cannot decode .*mask/m_00000002.png"):
        of_files(root)


def test_broken_rows_of_a_store_and_of_workers(tmp_path):
    """A worker's error comes as itself, after the batches before it."""
    root = folders.whole(tmp_path)
    stores.prepared(root / "prepared", catalog.open("am2k", root, "train"), foregrounds=True)
    changes = {"source": "store", "store": "prepared"}
    stops, skips = of_files(root, **changes), of_files(root, broken="skip", **changes)
    whole = taken(stops, 3)
    first = int(whole[1]["index"][0])  # an epoch is four: every row is in every batch
    content = bytes(stops.source.content(first, "foreground"))
    (file,) = [f for f in (root / "prepared").glob("data-*") if content in f.read_bytes()]
    spoiled = bytearray(file.read_bytes())
    spoiled[spoiled.index(content) + len(content) // 2] ^= 4
    file.write_bytes(spoiled)
    told = rf"the foreground of row {first} \(m_0000000{first}.jpg\) is not what was written"
    for workers in (0, 2):
        with pytest.raises(BrokenData, match=told) as caught:
            taken(stops, workers=workers)
        assert "\n" not in str(caught.value)
    assert all(first not in batch["index"] for batch in taken(skips))


@pytest.mark.parametrize("broken", ["stop", "skip"])
def test_evaluation_never_passes_over(tmp_path, broken):
    root = folders.whole(tmp_path)
    cut(root / "AM-2k/train/original/m_00000001.jpg")
    data = evaluation(root, "train", broken=broken)
    with pytest.raises(BrokenData, match=r"the image of m_00000001.jpg: cannot decode"):
        list(data.batches(2))


def test_what_to_do_with_broken_rows_is_one_of_two(tmp_path):
    with pytest.raises(UserError, match=r"data.broken='ignore'; there are: stop, skip"):
        of_files(folders.whole(tmp_path), broken="ignore")
