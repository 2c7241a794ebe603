"""From the configuration to data: every kind of source, and a line for every mistake."""

import dataclasses
import re
import shutil

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import gfm, routes
from jaxmatte.data import around, catalog, pipeline, store
from jaxmatte.data.denoise import Denoiser
from jaxmatte.errors import BrokenData, UserError
from tests.data import folders, lookalikes, stores, test_tfds

SEARCH = Denoiser(search=9)


@pytest.fixture(name="root", scope="module")
def _root(tmp_path_factory):
    """One root with a matting set in every form."""
    root = tmp_path_factory.mktemp("root")
    test_tfds.matting(root, 4)  # also AM-2k/train
    folders.am2k(root, 3, split="validation", height=104, width=136)
    folders.backgrounds(root)
    for number in range(3):
        cutout = np.dstack([folders.picture(number, 64, 72), folders.matte(64, 72)])
        folders.write(root / f"cutouts/{number}.png", cutout)
    lookalikes.cityscapes(root)
    lookalikes.segmentation(root / "classes")
    for name, split, out in (
        ("am2k", "train", "stored"),
        ("am2k", "validation", "measured"),
        ("bg20k", "train", "behind"),
    ):
        stores.prepared(root / out, catalog.open(name, root, split), denoiser=SEARCH)
    return root


TRAINED = {
    "folder": {"images": "AM-2k/train/original", "alphas": "AM-2k/train/mask"},
    "cutouts": {"source": "folder", "cutouts": "cutouts"},
    "set": {"set": "am2k"},
    "store": {"store": "stored", "backgrounds": "behind"},
    "tfds": {"tfds": "toy_matte", "root": "tfds", "backgrounds": "../BG-20k/train"},
}
MEASURED = {
    "folder": {"images": "AM-2k/validation/original", "alphas": "AM-2k/validation/mask"},
    "set": {"set": "am2k"},
    "store": {"store": "measured"},
    "tfds": {"tfds": "toy_matte", "split": "test"},
}


def config_of(root, kind="folder", route="gfm", **changes):
    """The group `data` of a configuration, nothing named but what the kind needs."""
    config = gfm.get_config("track=rssn").data
    if route != "gfm":
        with config.unlocked():
            for name in routes.gfm():
                del config[name]
            config.update(getattr(routes, route)())
    config.update({"source": kind, "images": "", "alphas": ""} | TRAINED.get(kind, {}))
    config.root = str(root / config.root)
    small = {"size": 24}
    if route == "gfm":
        small |= {"crop.sizes": (40,), "crop.fallback": 40, "compose.denoiser.search": 9}
    config.update_from_flattened_dict(small | changes)
    return config.lock()


def measured_of(kind, **changes):
    config = gfm.get_config("track=rssn").evaluation
    return ConfigDict(config.to_dict() | {"images": "", "alphas": ""} | MEASURED[kind] | changes)


def a_batch(config, count=8):
    batches = pipeline.open_training(config, seed=0).batches(count, threads=0)
    found = next(batches)
    batches.close()
    return found


def refused(config):
    with pytest.raises(UserError) as caught:
        pipeline.open_training(config, seed=0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", TRAINED)
def test_every_kind_of_source_trains(root, kind):
    config = config_of(root, kind)
    data = pipeline.open_training(config, seed=0)
    rows = 3 if kind == "cutouts" else 4
    assert len(data) == rows * config.backgrounds_per_foreground
    batch = a_batch(config)
    assert set(batch["index"]) <= set(range(rows))
    assert batch["image"].std() > 5
    assert data.name(0) == {"cutouts": "0.png", "tfds": data.source.name(0)}.get(
        kind, "m_00000000.jpg"
    )


@pytest.mark.parametrize("kind", ["folder", "set", "store", "tfds"])
def test_every_kind_of_source_is_measured(root, kind):
    config = config_of(root, kind)
    data = pipeline.open_evaluation(measured_of(kind), config, seed=0)
    seen = [int(i) for batch in data.batches(2) for i in batch["index"] if i >= 0]
    assert sorted(seen) == list(range(1 if kind == "tfds" else 3))
    assert (
        data.name
        == {
            "folder": "AM-2k/validation/original",
            "set": "am2k validation",
            "store": "measured",
            "tfds": "toy_matte test",
        }[kind]
    )


def test_what_is_measured_goes_by_the_kind_of_source(root):
    """Names of another kind that a configuration still has do not name the set."""
    config = measured_of("store", images="AM-2k/validation/original", set="am2k")
    assert pipeline.open_evaluation(config, config_of(root, "store"), 0).name == "measured"


def test_the_same_rows_from_every_kind(root):
    found = {}
    for kind in ("folder", "set", "store"):
        named = {"backgrounds": "BG-20k/train", "compose.denoise": 0.0}
        found[kind] = pipeline.open_training(config_of(root, kind, **named), 0)
    for index in range(4):
        expected = found["folder"].source[index]
        for data in found.values():
            row = data.source[index]
            assert (row.name, row.size) == (expected.name, expected.size)
            np.testing.assert_array_equal(row["alpha"], expected["alpha"])
    assert len({data.fingerprint for data in found.values()}) == 3


@pytest.mark.parametrize(
    ("kind", "changes", "told"),
    [
        ("folder", {"images": ""}, "config.data.images is empty"),
        ("folder", {"alphas": ""}, "config.data.alphas is empty"),
        ("folder", {"alphas": "AM-2k/train/masks"}, "config.data.alphas"),
        ("folder", {"backgrounds": ""}, "config.data.backgrounds is empty; .*compose.route=none"),
        ("folder", {"backgrounds": "BG-20k/tarin"}, "no folder .*BG-20k/tarin"),
        ("folder", {"backgrounds": "stored"}, "config.data.backgrounds needs rows with background"),
        ("set", {"set": ""}, "config.data.set is empty; there are: am2k, "),
        ("set", {"set": "am2l"}, "no data set 'am2l'; did you mean am2k"),
        ("set", {"split": "tain"}, "am2k has no split 'tain'; there are: train, validation"),
        ("set", {"set": "cityscapes"}, "config.data needs rows with alpha; .* has: image, label"),
        ("set", {"set": "p3m10k"}, "p3m10k"),
        ("store", {"store": ""}, "config.data.store is empty"),
        ("store", {"store": "sotred"}, "no folder .*sotred"),
        ("store", {"store": "AM-2k"}, "has no manifest.json: .*goes on where it stopped"),
        ("store", {"store": "behind"}, "config.data needs rows with alpha; .* has: background"),
        ("store", {"compose.denoiser.search": 11}, "was denoised with .*'search': 9.*'search': 11"),
        ("tfds", {"tfds": ""}, "config.data.tfds is empty; name a prepared builder"),
        ("tfds", {"tfds": "toy_mate"}, "TFDS finds no prepared set 'toy_mate'"),
        ("tfds", {"split": "tain"}, "has no split 'tain'"),
        ("tfds", {"split": "train[:0]"}, "has no rows in 'train"),
        ("cutouts", {"compose.route": "none"}, "set data.compose.route"),
        ("cutouts", {"compose.share": 0.5}, "data.compose.share=1"),
        ("cutouts", {"cutouts": "cutout"}, "config.data.cutouts"),
        ("folder", {"source": "files"}, "there are: studio, folder, set, store, tfds"),
        ("folder", {"compose.route": "rsn"}, "there are: none, blend, rssn"),
        ("folder", {"foreground": "premultiplied", "route": "dim"}, "multiply by alpha twice"),
        ("folder", {"compose.denoised_foregrounds": "fg"}, "data.compose.denoised_foregrounds"),
    ],
)
def test_mistakes_in_what_is_trained_on(root, kind, changes, told):
    assert re.search(told, refused(config_of(root, kind, **changes)))


@pytest.mark.parametrize(
    ("kind", "changes", "told"),
    [
        ("folder", {"images": ""}, "config.evaluation.images is empty"),
        ("folder", {"alphas": "x"}, "config.evaluation.alphas"),
        ("set", {"set": ""}, "config.evaluation.set is empty"),
        ("set", {"split": "test"}, "am2k has no split 'test'"),
        ("set", {"set": "bg20k", "split": "train"}, "config.evaluation needs rows with image and"),
        ("store", {"store": ""}, "config.evaluation.store is empty"),
        ("store", {"store": "behind"}, "needs rows with image and alpha; .* has: background"),
        ("tfds", {"tfds": ""}, "config.evaluation.tfds is empty"),
        ("tfds", {"split": "validation"}, "has no split 'validation'"),
    ],
)
def test_mistakes_in_what_is_measured(root, kind, changes, told):
    with pytest.raises(UserError, match=told) as caught:
        pipeline.open_evaluation(measured_of(kind, **changes), config_of(root, kind), 0)
    assert "\n" not in str(caught.value)


def test_an_unknown_route(root):
    config = config_of(root).unlock()
    config.route = "gmf"
    assert "did you mean gfm" in refused(config)


def test_roots_that_are_not_there(root, tmp_path):
    for kind in TRAINED:
        config = config_of(root, kind).unlock()
        config.root = str(tmp_path / "nowhere")
        assert "is not a directory" in refused(config)
        config.root = ""
        assert "--config.data.root=DIR" in refused(config)


def test_a_store_that_is_not_finished(root, tmp_path):
    stores.interrupted(tmp_path / "begun")
    told = refused(config_of(tmp_path, "store", store="begun"))
    assert "preparing it has not finished" in told
    shutil.copytree(root / "behind", tmp_path / "behind")
    (tmp_path / "behind" / store.MANIFEST).unlink()
    (tmp_path / "behind" / store.UNFINISHED).mkdir()
    shutil.copytree(root / "stored", tmp_path / "stored")
    told = refused(config_of(tmp_path, "store"))
    assert f"{tmp_path}/behind has no manifest.json" in told


def test_the_denoisers_parameters_count_only_where_they_are_used(root):
    other = dataclasses.asdict(Denoiser(search=11))
    for changes in ({"compose.denoise": 0.0}, {"compose.route": "blend"}):
        config = config_of(root, "store", **changes, **{"compose.denoiser": other})
        assert a_batch(config)["mask"].all()


@pytest.mark.parametrize(
    ("name", "root_below", "classes"), [("cityscapes", "", 19), ("segmentation", "classes", 4)]
)
def test_class_maps_without_alpha_train_a_segmenter(root, name, root_below, classes):
    changes = {"set": name, "split": "", "classes": classes, "compose.route": "none"}
    changes |= {"backgrounds": "", "shape": (16, 32)}
    config = config_of(root / root_below, "set", "bisenetv2", **changes)
    batch = a_batch(config)
    assert batch["label"].shape == (8, 16, 32, 1)
    assert batch["image"].shape == (8, 16, 32, 3)
    assert set(np.unique(batch["label"])) <= {*range(classes), 255}
    assert "alpha" not in batch
    told = refused(config_of(root / root_below, "set", "modnet", **{"set": name, "split": ""}))
    assert "config.data needs rows with alpha" in told


UNLABELLED = {"source": "folder", "backgrounds": "", "scale": (0.5, 1.0)}


def test_pictures_without_alphas_are_enough_for_the_unlabelled_route(root, tmp_path):
    for number, name in enumerate(("film/b/2.png", "film/b/1.jpg", "film/a/1.jpg", "film/3.png")):
        folders.write(tmp_path / name, folders.picture(number, 40 + number, 60))
    config = config_of(tmp_path, "", "unlabelled", **UNLABELLED, images="film")
    data = pipeline.open_training(config, seed=0)
    names = [data.name(index) for index in range(len(data.source))]
    assert names == ["3.png", "a/1.jpg", "b/1.jpg", "b/2.png"]
    assert [data.source[i].name for i in range(4)] == names
    assert data.source[3].planes.keys() == {"image"}
    np.testing.assert_array_equal(data.source[3]["image"], folders.picture(0, 40, 60))
    batch = a_batch(config)
    assert batch.keys() == {"image", "mask", "index", "size", "skipped"}
    assert batch["image"].shape == (8, 24, 24, 3)
    assert set(batch["index"]) <= set(range(4))


@pytest.mark.parametrize("kind", ["folder", "set", "store", "tfds", "studio"])
def test_the_unlabelled_route_reads_every_kind_of_source(root, kind):
    small = {"studio.scene": 48, "studio.train": 4} if kind == "studio" else {}
    config = config_of(root, kind, "unlabelled", **small, backgrounds="", alphas="")
    data = pipeline.open_training(config, seed=0)
    assert data.pool.backgrounds is None
    batch = a_batch(config)
    assert batch.keys() == {"image", "mask", "index", "size", "skipped"}
    assert batch["image"].std() > 5


@pytest.mark.parametrize(
    ("kind", "changes", "told"),
    [
        ("folder", {"images": ""}, "config.data.images is empty"),
        (
            "folder",
            {"images": "film"},
            r"no folder .*film \(config.data.root and config.data.images",
        ),
        ("cutouts", {}, "config.data needs rows with image; 0.png has: alpha, foreground"),
        ("store", {"store": "behind"}, "config.data needs rows with image; .* has: background"),
        ("folder", {"route": "gfm", "alphas": ""}, "config.data.alphas is empty"),
    ],
)
def test_mistakes_in_what_is_unlabelled(root, kind, changes, told):
    route = changes.pop("route", "unlabelled")
    assert re.search(told, refused(config_of(root, kind, route, **{"backgrounds": ""} | changes)))


def test_a_broken_picture_without_alpha_is_passed_over_if_asked(tmp_path, capsys):
    folders.backgrounds(tmp_path, "film", count=3)
    (tmp_path / "film/h_00000001.jpg").write_bytes(b"no picture")
    config = config_of(tmp_path, "", "unlabelled", **UNLABELLED, images="film", broken="skip")
    batch = a_batch(config)
    assert set(batch["index"]) == {0, 2}
    assert batch["skipped"].sum() > 0
    assert "passed over: cannot read" in capsys.readouterr().err
    told = "cannot read .*h_00000001.jpg"
    with pytest.raises(BrokenData, match=told):
        a_batch(config_of(tmp_path, "", "unlabelled", **UNLABELLED, images="film"))


def test_routes_without_a_choice_compose_cutouts(root):
    for route in ("dim", "gca", "bgmv2"):
        config = config_of(root, "cutouts", route)
        assert pipeline.open_training(config, 0).pool.backgrounds is not None
    told = refused(config_of(root, "cutouts", "dim", backgrounds=""))
    assert told.endswith("below config.data.root")  # there is no route to set to none


def denoised(root, numbers, colour=250):
    for number in numbers:
        pixels = np.full((96, 128, 3), colour, np.uint8)
        folders.write(root / f"clean/m_{number:08d}.png", pixels)
    return {"compose.denoise": 1.0, "compose.denoised_foregrounds": "clean"}


def test_denoised_pictures_count_in_the_fingerprint(tmp_path, capsys):
    root = folders.whole(tmp_path)
    plain = pipeline.open_training(config_of(root, "folder"), 0).fingerprint
    config = config_of(root, "folder", **denoised(root, range(3)))
    data = pipeline.open_training(config, 0)
    assert "1 of 4 rows have no picture in" in capsys.readouterr().err
    assert data.source[3].planes.keys() == {"image", "alpha"}
    assert (data.source[2]["denoised_foreground"] == 250).all()
    denoised(root, [2], 7)
    (root / "clean/m_00000003.png").write_bytes((root / "clean/m_00000001.png").read_bytes())
    changed = pipeline.open_training(config, 0).fingerprint
    assert len({plain, data.fingerprint, changed}) == 3


def test_denoised_pictures_of_other_names_are_refused(tmp_path):
    root = folders.whole(tmp_path)
    folders.write(root / "clean/x.png", folders.picture(1, 20, 20))
    told = refused(config_of(root, "folder", **denoised(root, [])))
    assert "no picture in" in told
    assert "such as m_00000000.jpg" in told


def test_scenes_are_kept_only_if_asked(root):
    kept, drawn = (
        pipeline.open_training(config_of(root, "studio", **{"studio.cache": cache}), 0).source
        for cache in (True, False)
    )
    assert isinstance(kept, around.Cached)
    assert not isinstance(drawn, around.Cached)
