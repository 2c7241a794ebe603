"""Stores as they are read: whole, in part, by many, and broken in every way."""

import concurrent.futures
import dataclasses
import json
import os
import pickle
import shutil

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from jaxmatte.data import regions, shards, store
from jaxmatte.data.rows import Row
from jaxmatte.errors import BrokenData, UserError
from tests.data.stores import Rows, prepared

FIELDS = ("alpha", "background", "foreground", "image", "label", "trimap")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("stores") / "store", colour="png")


@pytest.fixture
def copy(original, tmp_path):
    return shutil.copytree(original.path, tmp_path / "store")


def shard_files(path):
    return sorted(path.glob("*.array_record"))


def read_all(rows):
    return [{field: rows[i][field] for field in rows[i].planes} for i in range(len(rows))]


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_rows_come_back_without_loss(original):
    source = Rows()
    assert len(original) == len(source) == len(list(original))
    assert original.fields == (*FIELDS, "trimap_25")
    assert len(shard_files(original.path)) > 2
    for index in (7, 0, 11, 3, 7):
        row, wanted = original[index], source[index]
        assert (row.index, row.name, row.size) == (index, wanted.name, wanted.size)
        assert original.name(np.int64(index)) == wanted.name
        assert original.size(index) == wanted.size
        assert set(row.planes) == {*wanted.planes, "trimap_25"}
        for field in wanted.planes:
            np.testing.assert_array_equal(row[field], wanted[field])
        np.testing.assert_array_equal(row["trimap_25"], regions.trimap(wanted["alpha"], 25))


def test_windows_are_parts_of_the_whole(original):
    row, window = original[5], (slice(13, 40), slice(2, 71))
    for field in row.planes:
        np.testing.assert_array_equal(row.read(field, window), row[field][window])


@pytest.mark.parametrize(("colour", "least"), [("jpeg95", 40), ("jpeg90", 37)])
def test_jpeg_stays_close(tmp_path, colour, least):
    rows, source = prepared(tmp_path / "store", Rows(2), colour=colour), Rows(2)
    for field in ("image", "foreground", "background"):
        difference = rows[1][field].astype(float) - source[1][field]
        assert 20 * np.log10(255 / np.sqrt(np.square(difference).mean())) > least
    np.testing.assert_array_equal(rows[1]["alpha"], source[1]["alpha"])


def test_reading_a_field_reads_no_other(original, monkeypatch):
    read = []
    content = store.Store.content

    def count(self, index, field):
        read.append(field)
        return content(self, index, field)

    monkeypatch.setattr(store.Store, "content", count)
    row = original[3]
    assert "image" in row
    assert "denoised_foreground" not in row
    assert read == []
    row.read("alpha", (slice(0, 4), slice(0, 4)))
    row["alpha"]
    assert read == ["alpha"]


def test_a_pickled_store_reads_the_same(original):
    original[0]["image"]  # an open reader
    other = pickle.loads(pickle.dumps(original))
    assert other.fingerprint == original.fingerprint
    for one, two in zip(read_all(original), read_all(other), strict=True):
        assert one.keys() == two.keys()
        for field in one:
            np.testing.assert_array_equal(one[field], two[field])


def test_a_store_that_was_made_anew_is_not_taken_for_the_old(copy):
    pickled = pickle.dumps(store.Store(copy))
    shutil.rmtree(copy)
    prepared(copy, Rows(seed=1), colour="png")
    with pytest.raises(UserError, match=r"prepared anew .*store:rows:12:\w+ and is store:rows:12"):
        pickle.loads(pickled)


def test_threads_share_a_store(original):
    wanted = [Rows()[i]["label"] for i in range(12)]
    order = np.random.default_rng(0).integers(0, 12, 400).tolist()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        labels = list(pool.map(lambda i: original[i]["label"], order))
    assert all(np.array_equal(wanted[i], label) for i, label in zip(order, labels, strict=True))


def test_more_shards_than_may_be_open(copy, monkeypatch):
    monkeypatch.setattr(store, "_OPEN_SHARDS", 2)
    rows = store.Store(copy)
    for index in [*range(12), *range(12)]:
        np.testing.assert_array_equal(rows[index]["label"], Rows()[index]["label"])
    assert len(rows._readers._open) == 2


def test_rows_out_of_range(original):
    for index in (-1, 12):
        with pytest.raises(IndexError, match=f"row {index} of 12"):
            original[index]


def test_trimaps_count_where_every_row_has_one(original, tmp_path):
    assert not original.has_trimaps

    class All(Rows):
        def __getitem__(self, index):
            return super().__getitem__(1)

    assert prepared(tmp_path / "store", All(2)).has_trimaps


def test_the_fingerprint_follows_the_content(original, tmp_path):
    same = prepared(tmp_path / "same", colour="png")
    assert same.fingerprint == original.fingerprint
    assert prepared(tmp_path / "rows", Rows(seed=1), colour="png").fingerprint != same.fingerprint
    assert prepared(tmp_path / "colour").fingerprint != same.fingerprint
    assert prepared(tmp_path / "size", colour="png", trimap=9).fingerprint != same.fingerprint


def test_whole_stores_verify(original):
    assert store.verify(original.path) == []


@pytest.mark.parametrize("places", [(0.3,), (0.1, 0.5, 0.9)])
def test_a_flipped_bit_is_found(copy, places):
    file = shard_files(copy)[1]
    for place in places:
        flip(file, int(place * 60_000))  # of the records; the rest of the file is padding
    rows, good, bad = store.Store(copy), 0, []
    wanted = read_all(Rows())
    for index in range(len(rows)):
        for field in wanted[index]:
            try:
                np.testing.assert_array_equal(rows[index][field], wanted[index][field])
                good += 1
            except BrokenData as error:
                bad.append((index, str(error)))
    assert 1 <= len(bad) <= len(places)
    assert good + len(bad) == sum(map(len, wanted))
    for index, message in bad:
        assert str(file) in message
        assert f"row {index} ({rows.name(index)})" in message
    complaints = store.verify(copy)
    assert len(complaints) == 1
    assert str(file) in complaints[0]
    assert rows.name(bad[0][0]) in complaints[0]


def test_array_record_itself_finds_every_damage_of_a_record(tmp_path):
    """What lets `Store` compare no more than a stamp: a record reads as it was, or not at all."""
    rng, path = np.random.default_rng(0), tmp_path / "a.array_record"
    wanted = [rng.bytes(count) for count in (3, 1, 65_536, 90_000, 200)]
    writer = ArrayRecordWriter(str(path), shards._WRITER_OPTIONS)
    for record in wanted:
        writer.write(record)
    writer.close()
    whole, damaged, found = path.read_bytes(), [], 0
    block = 65_536  # the file's form puts a header before each
    near = [place for start in range(0, len(whole), block) for place in range(start, start + 64, 3)]
    for place in [*near, *rng.integers(0, len(whole), 300).tolist()]:
        damaged.append(bytearray(whole))
        damaged[-1][place] ^= 1 << int(rng.integers(8))
    for start in range(0, len(whole), 4096):  # what a disk loses, or mixes up
        page, other = slice(start, start + 4096), int(rng.integers(len(whole) // 4096)) * 4096
        damaged += [bytearray(whole), bytearray(whole)]
        damaged[-2][page] = bytes(4096)
        damaged[-1][page] = whole[other : other + 4096]
    for content in damaged:
        path.write_bytes(content)
        readers = store._Readers()
        for number, record in enumerate(wanted):
            try:
                assert readers.of(path).read([number]) == [record]
            except (RuntimeError, OSError):
                found += 1
    assert found > len(damaged) / 3


def test_a_bit_that_no_record_holds_is_found_by_verify(copy):
    flip(shard_files(copy)[0], 3)
    complaints = store.verify(copy)
    assert len(complaints) == 1
    assert "all rows read" in complaints[0]


def test_exchanged_shards_are_found(copy):
    one, two = shard_files(copy)[:2]
    size = one.stat().st_size
    assert size == two.stat().st_size  # both are padded, so that sizes tell nothing
    other = one.with_name("other")
    one.rename(other)
    two.rename(one)
    other.rename(two)
    rows = store.Store(copy)
    found = 0
    for index in range(rows.manifest["shards"][1]["rows"][1]):
        for field in rows[index].planes:
            with pytest.raises(BrokenData, match="is not what was written there"):
                rows[index][field]
            found += 1
    assert found > 10
    assert len(store.verify(copy)) == 2


def test_exchanged_records_of_one_length_are_found(tmp_path):
    class Plain(Rows):
        def __getitem__(self, index):
            return Row.of(index, self.name(index), alpha=np.full((64, 64), index, np.uint8))

    path = prepared(tmp_path / "store", Plain(6), shard=60, trimap=0).path
    one, two = shard_files(path)
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    rows = store.Store(path)
    assert len(np.unique(rows._index.lengths)) == 1
    for index in range(6):
        with pytest.raises(BrokenData, match="the record of another plane"):
            rows[index]["alpha"]


def test_a_shard_of_another_store_is_found(copy, tmp_path):
    other = prepared(tmp_path / "other", Rows(seed=5), colour="png")
    shutil.copy(shard_files(other.path)[0], shard_files(copy)[0])
    rows = store.Store(copy)
    with pytest.raises(BrokenData, match=r"the image of row 0 .ruß 0-0. is not what was written"):
        rows[0]["image"]


@pytest.mark.parametrize("how", ["gone", "renamed", "cut", "longer", "empty"])
def test_shards_that_do_not_belong_are_refused_on_opening(copy, how):
    file = shard_files(copy)[1]
    content = file.read_bytes()
    if how == "gone":
        file.unlink()
    elif how == "renamed":
        file.rename(file.with_name("data-00001-of-00001.array_record"))
    else:
        file.write_bytes({"cut": content[:-9], "longer": content + b"\0", "empty": b""}[how])
    with pytest.raises(UserError, match=rf"{file} (is missing|has \d+ bytes).*prepare the store"):
        store.Store(copy)


def test_a_shard_that_vanishes_while_it_is_used(copy):
    rows, file = store.Store(copy), shard_files(copy)[0]
    rows[len(rows) - 1]["alpha"]
    hidden = file.with_suffix(".hidden")
    file.rename(hidden)
    with pytest.raises(BrokenData, match=f"{file}: the alpha of row 0 .*No such file"):
        rows[0]["alpha"]
    hidden.rename(file)
    np.testing.assert_array_equal(rows[0]["alpha"], Rows()[0]["alpha"])


def test_a_shard_that_is_cut_off_or_exchanged_while_it_is_open(copy):
    rows, (file, other) = store.Store(copy), shard_files(copy)[:2]
    wanted, content = rows[0]["alpha"], file.read_bytes()
    os.truncate(file, 100)  # of the very file that is open
    with pytest.raises(BrokenData, match=f"{file}: the alpha of row 0 .* its record is empty"):
        rows[0]["alpha"]
    file.write_bytes(content)
    np.testing.assert_array_equal(rows[0]["alpha"], wanted)
    file.write_bytes(other.read_bytes())
    with pytest.raises(BrokenData, match=f"{file}: the alpha of row 0 "):
        rows[0]["alpha"]
    file.write_bytes(content)
    np.testing.assert_array_equal(rows[0]["alpha"], wanted)


def test_an_index_that_does_not_fit_is_refused(copy, tmp_path):
    other = prepared(tmp_path / "other", Rows(seed=5), colour="png")
    for content in ((other.path / store.INDEX).read_bytes(), b""):
        (copy / store.INDEX).write_bytes(content)
        with pytest.raises(UserError, match=r"index.npz is (not the index of this store|missing)"):
            store.Store(copy)
    (copy / store.INDEX).unlink()
    with pytest.raises(UserError, match=r"index.npz is missing"):
        store.Store(copy)


def test_a_manifest_that_was_changed_is_refused(copy):
    file = copy / store.MANIFEST
    manifest = json.loads(file.read_bytes())
    manifest["shards"].reverse()
    file.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"manifest.json was changed after it was written"):
        store.Store(copy)
    file.write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(UserError, match=rf"has form 99, this version reads form {store.FORMAT}"):
        store.Store(copy)
    for content in ('{"format"', "[]", "{}"):
        file.write_text(content)
        with pytest.raises(UserError, match=r"manifest.json is damaged"):
            store.Store(copy)


def test_a_folder_without_manifest_is_no_store(copy, tmp_path):
    assert store.is_store(copy)
    (copy / store.MANIFEST).unlink()
    assert not store.is_store(copy)
    with pytest.raises(UserError, match=r"has no manifest.json: .* goes on where it stopped"):
        store.Store(copy)
    with pytest.raises(UserError, match=r"no folder .*nowhere"):
        store.Store(tmp_path / "nowhere")


def test_an_index_gives_back_what_went_in():
    rows = [
        (0, {"name": "ä", "size": [3, 4], "planes": {"alpha": [0, 5, 6]}}),
        (2, {"name": "", "size": [5, 6], "planes": {"image": [1, 1 << 40, 0xFFFFFFFF]}}),
    ]
    index = store.Index.of(rows, ["alpha", "image"])
    again = store.Index.of_bytes(index.to_bytes())
    assert again.to_bytes() == index.to_bytes()
    assert [again.name(0), again.name(1)] == ["ä", ""]
    assert again.records.tolist() == [[0, -1], [-1, 1]]
    assert again.lengths[1, 1] == 1 << 40
    assert again.checksums[1, 1] == 0xFFFFFFFF
    assert [field.name for field in dataclasses.fields(again)] == list(vars(again))
