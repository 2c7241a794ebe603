"""Prepared TFDS sets, made here without TensorFlow and read back as rows."""

import pickle
import shutil
import sys

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxmatte.data import prepare, sources, store
from jaxmatte.data.precompute import Settings
from jaxmatte.data.tfds_source import TfdsSource
from jaxmatte.errors import BrokenData, UserError
from tests.data import folders

Image = tfds.features.Image


def builder(name, features, rows):
    """A builder class; it stays out of the registry, where a name may be used once."""

    def info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def split_generators(self, _):
        return {split: self._generate_examples(split) for split in ("train", "test")}

    def generate(self, split):
        yield from enumerate(rows if split == "train" else rows[:1])

    body = {
        "VERSION": tfds.core.Version("1.2.0"),
        "_info": info,
        "_split_generators": split_generators,
        "_generate_examples": generate,
        "pkg_dir_path": None,
        "__module__": __name__,
    }
    with tfds.core.registered.skip_registration():
        return type(name, (tfds.core.GeneratorBasedBuilder,), body)


def write(folder, name, features, rows):
    made = builder(name, features, rows)(data_dir=folder, file_format="array_record")
    made.download_and_prepare()
    return folder


def matting(root, count=6):
    """AM-2k's look-alike as a set: pictures by path, which are kept byte for byte."""
    folders.am2k(root, count)
    folder, rows = root / "AM-2k/train", []
    for path in sorted((folder / "original").iterdir()):
        alpha = folder / "mask" / f"{path.stem}.png"
        rows.append({"image": path, "alpha": alpha, "name": path.stem, "weight": 2})
    features = {
        "image": Image(shape=(None, None, 3), encoding_format="jpeg"),
        "alpha": Image(shape=(None, None, 1), encoding_format="png"),
        "name": tfds.features.Text(),
        "weight": tfds.features.Scalar(np.int64),
    }
    return write(root / "tfds", "ToyMatte", features, rows)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    matting(root)
    return root


def test_rows_are_the_files_pixels(root):
    source = TfdsSource("toy_matte", root / "tfds")
    assert len(source) == 6
    assert not source.has_trimaps
    seen = set()
    for index in range(len(source)):
        row = source[index]
        assert (row.index, row.name, row.size) == (index, source.name(index), source.size(index))
        assert set(row.planes) == {"image", "alpha"}
        folder = root / "AM-2k/train"
        image = sources.read_colour(folder / f"original/{row.name}.jpg")
        np.testing.assert_array_equal(row["image"], image)
        np.testing.assert_array_equal(
            row["alpha"], sources.read_grey(folder / f"mask/{row.name}.png")
        )
        window = (slice(4, 30), slice(9, 100))
        np.testing.assert_array_equal(row.read("image", window), image[window])
        seen.add(row.name)
    assert len(seen) == 6
    with pytest.raises(IndexError):
        source[6]


@pytest.mark.parametrize("name", ["toy_matte", "toy_matte:1.2.0", "toy_matte/1.2.0"])
def test_names_versions_and_folders(root, name):
    assert TfdsSource(name, root / "tfds").title == "toy_matte/1.2.0"
    folder = root / "tfds/toy_matte/1.2.0"
    assert len(TfdsSource(str(folder), root)) == 6


def test_splits_may_be_cut(root):
    whole = TfdsSource("toy_matte", root / "tfds", "train")
    parts = [TfdsSource("toy_matte", root / "tfds", cut) for cut in ("train[:2]", "train[2:]")]
    names = [part.name(i) for part in parts for i in range(len(part))]
    assert names == [whole.name(i) for i in range(6)]
    assert len(TfdsSource("toy_matte", root / "tfds", "test")) == 1
    assert len({source.fingerprint for source in (whole, *parts)}) == 3


def test_pickled_sources_read_the_same(root):
    source = TfdsSource("toy_matte", root / "tfds", "train[1:]")
    other = pickle.loads(pickle.dumps(source))
    assert other.fingerprint == source.fingerprint
    assert [other.name(i) for i in range(5)] == [source.name(i) for i in range(5)]
    np.testing.assert_array_equal(other[3]["alpha"], source[3]["alpha"])


def test_features_may_be_named(root):
    fields = {"background": "image"}
    row = TfdsSource("toy_matte", root / "tfds", fields=fields)[2]
    assert set(row.planes) == {"background"}
    with pytest.raises(UserError, match=r"no picture feature 'matte'; there are: alpha, image"):
        TfdsSource("toy_matte", root / "tfds", fields={"alpha": "matte", "image": "image"})
    with pytest.raises(UserError, match=r"no field 'depth'; there are: image"):
        TfdsSource("toy_matte", root / "tfds", fields={"depth": "image"})
    with pytest.raises(UserError, match=r"needs features alpha and image .*its pictures are: alp"):
        TfdsSource("toy_matte", root / "tfds", fields={"alpha": "alpha"})


def test_it_needs_no_tensorflow(root):
    TfdsSource("toy_matte", root / "tfds")[0]["image"]
    assert "tensorflow" not in sys.modules


def test_a_store_may_be_prepared_from_it(root, tmp_path):
    source, settings = TfdsSource("toy_matte", root / "tfds"), Settings(colour="png")
    plan = prepare.make_plan(source, "toy", "train", settings)
    prepare.prepare(source, tmp_path / "store", plan, settings, workers=2)
    row = store.Store(tmp_path / "store")[4]
    assert row.name == source.name(4)
    np.testing.assert_array_equal(row["image"], source[4]["image"])


def encoded(path, pixels):
    folders.write(path, pixels)
    return path


def test_alphas_of_three_channels_and_sixteen_bits(tmp_path):
    alpha = folders.matte(30, 40)
    image = encoded(tmp_path / "i.png", folders.picture(1, 30, 40))
    rows = [
        {"image": image, "alpha": encoded(tmp_path / f"{number}.png", pixels)}
        for number, pixels in enumerate(
            [alpha, np.repeat(alpha[..., None], 3, 2), np.dstack([alpha] * 4)]
        )
    ]
    features = {
        "image": Image(shape=(None, None, 3), encoding_format="png"),
        "alpha": Image(shape=(None, None, 1), encoding_format="png"),
    }
    write(tmp_path / "tfds", "Channels", features, rows)
    source, refused = TfdsSource("channels", tmp_path / "tfds"), []
    assert source.name(1) == "train[1]"
    for index in range(3):  # in TFDS's order
        try:
            np.testing.assert_array_equal(source[index]["alpha"], alpha)
        except BrokenData as error:
            refused.append(str(error))
    assert len(refused) == 1
    assert "has 4 channels" in refused[0]
    wide = alpha.astype(np.uint16) * 257
    assert cv2.imwrite(str(tmp_path / "w.png"), wide)
    features["alpha"] = Image(shape=(None, None, 1), encoding_format="png", dtype=np.uint16)
    rows = [{"image": image, "alpha": tmp_path / "w.png"}]
    write(tmp_path / "tfds", "Wide", features, rows)
    np.testing.assert_array_equal(TfdsSource("wide", tmp_path / "tfds")[0]["alpha"], alpha)


def test_cut_off_pictures_are_broken(tmp_path):
    folders.am2k(tmp_path, 1)
    path = tmp_path / "AM-2k/train/original/m_00000000.jpg"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    alpha = tmp_path / "AM-2k/train/mask/m_00000000.png"
    features = {
        "image": Image(shape=(None, None, 3), encoding_format="jpeg"),
        "alpha": Image(shape=(None, None, 1), encoding_format="png"),
    }
    write(tmp_path / "tfds", "Cut", features, [{"image": path, "alpha": alpha}])
    row = TfdsSource("cut", tmp_path / "tfds")[0]
    assert row["alpha"].shape == row.size
    with pytest.raises(BrokenData, match=r"the image of row 0 of cut/1.2.0 .* does not decode"):
        row["image"]


def test_what_is_not_there_is_told(root, tmp_path):
    with pytest.raises(UserError, match=r"finds no prepared set 'toy_mat' below .*toy_matte"):
        TfdsSource("toy_mat", root / "tfds")
    with pytest.raises(UserError, match=r"finds no prepared set 'x'.*there is: nothing"):
        TfdsSource("x", tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no split 'validation'.*there are: .*train"):
        TfdsSource("toy_matte", root / "tfds", "validation")


def test_a_set_without_random_access_is_refused(root, tmp_path):
    shutil.copytree(root / "tfds/toy_matte", tmp_path / "toy_matte")
    info = tmp_path / "toy_matte/1.2.0/dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(UserError, match=r"is tfrecord, .*file_format='array_record'"):
        TfdsSource("toy_matte", tmp_path)


def test_missing_and_broken_files(root, tmp_path):
    shutil.copytree(root / "tfds/toy_matte", tmp_path / "toy_matte")
    source = TfdsSource("toy_matte", tmp_path)
    file = next((tmp_path / "toy_matte/1.2.0").glob("*train*record*"))
    pickled, content = pickle.dumps(source), bytearray(file.read_bytes())
    content[len(content) // 20] ^= 1
    file.write_bytes(content)
    broken = []
    for index in range(6):
        try:
            TfdsSource("toy_matte", tmp_path)[index]["image"]
        except BrokenData as error:
            broken.append((index, str(error)))
    assert len(broken) == 1
    assert f"row {broken[0][0]} of toy_matte/1.2.0" in broken[0][1]
    file.write_bytes(content + b"more")
    with pytest.raises(UserError, match="changed while it was in use"):
        pickle.loads(pickled)
    file.unlink()
    with pytest.raises(UserError, match=f"{file} is missing"):
        TfdsSource("toy_matte", tmp_path)
