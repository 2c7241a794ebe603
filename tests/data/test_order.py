"""The same global batches for any number of processes and workers, and after going on anywhere."""

import cv2
import numpy as np
import pytest

from configs import gfm, routes
from jaxmatte.data import catalog, pipeline
from jaxmatte.data.denoise import Denoiser
from jaxmatte.data.rows import Row
from tests.data import folders, stores

ROUTES = {
    "dim": {"crop.sizes": (32, 40)},
    "gca": {"squeeze.size": 40},
    "bgmv2": {"sides": (32, 48), "canvas": 48},
    "modnet": {"longer": (32, 60)},
    "ppmatting": {"pad": 32, "crop": (32, 40, 48), "compose.route": "rssn"},
    "bisenetv2": {},
    "unlabelled": {},
}
# Every coin of RSSN falls on both sides within the batches below.
RSSN = {
    "crop.sizes": (40, 64),
    "crop.fallback": 40,
    "compose.blur_kernels": (5, 8),
    "labels.trimap": 7,
    "labels.band": 9,
    "labels.bands": True,
}


def take(batches, count):
    found = [next(batches) for _ in range(count)]
    batches.close()
    return found


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name, value in other.items():
            np.testing.assert_array_equal(one[name], value, err_msg=name)


def joined(shares):
    """The global batches that the processes' shares make up, as devices are numbered."""
    return [
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for parts in zip(*shares, strict=True)
    ]


@pytest.fixture(name="root", scope="module")
def _root(tmp_path_factory):
    """Folders and the stores made of them."""
    root = folders.whole(tmp_path_factory.mktemp("order"))
    for name, field, more in (
        ("am2k", "foregrounds", {"foregrounds": True, "trimap": 7, "band": 9}),
        ("bg20k", "backgrounds", {}),
    ):
        source = catalog.open(name, root, "train")
        stores.prepared(root / f"prepared/{field}", source, denoiser=Denoiser(), **more)
    return root


def config_of(root, form="store", route="gfm", **changes):
    """The group `data` of a tiny configuration."""
    config = gfm.get_config("track=rssn").data
    config.root = str(root)
    if route != "gfm":
        with config.unlocked():
            for name in routes.gfm():
                del config[name]
            config.update(getattr(routes, route)())
    if form == "store":
        config.update({"source": "store", "store": "prepared/foregrounds"})
        config.backgrounds = "prepared/backgrounds"
    if form == "studio":
        config.source = "studio"
        config.update({"studio": {"scene": 72, "train": 5}})
    small = RSSN if route == "gfm" else ROUTES[route]
    config.update_from_flattened_dict({"size": 32, **small, **changes})
    return config.lock()


def whole_and_shared(data, processes, count=3, seen=0):
    whole = take(data.batches(4, seen), count)
    shares = [take(data.batches(4, seen, number, processes), count) for number in range(processes)]
    return whole, joined(shares)


@pytest.mark.parametrize("form", ["store", "files", "studio"])
def test_gfm_in_one_two_and_four_processes(root, form):
    data = pipeline.open_training(config_of(root, form), seed=5)
    for processes in (2, 4):
        whole, shared = whole_and_shared(data, processes)
        assert_equal(shared, whole)


def test_gfm_in_two_workers(root):
    """Of the second process of two over files; `test_pipeline` has the studio's."""
    for form, share in (("store", {}), ("files", {"process": 1, "processes": 2})):
        data = pipeline.open_training(config_of(root, form), seed=5)
        expected = take(data.batches(4, 4, **share), 3)
        assert_equal(take(data.batches(4, 4, workers=2, **share), 3), expected)


@pytest.mark.parametrize("route", ROUTES)
def test_other_routes_in_processes_and_after_going_on(root, route):
    data = pipeline.open_training(config_of(root, route=route), seed=5)
    whole, shared = whole_and_shared(data, 2)
    assert_equal(shared, whole)
    again = pipeline.open_training(config_of(root, route=route), seed=5)
    assert_equal(take(again.batches(4, examples_seen=4), 2), whole[1:])
    assert len({image.tobytes() for batch in whole for image in batch["image"]}) == 12


def test_other_routes_over_folders(root):
    for route in ROUTES:
        data = pipeline.open_training(config_of(root, "files", route), seed=5)
        whole, shared = whole_and_shared(data, 2, count=1)
        assert_equal(shared, whole)


@pytest.mark.parametrize("form", ["store", "files"])
def test_goes_on_at_any_example_with_any_batch_size(root, form):
    data = pipeline.open_training(config_of(root, form), seed=5)
    rows = np.concatenate([batch["image"] for batch in take(data.batches(4), 12)])
    epoch = len(data)
    assert epoch == 20  # the last of these begin in the second one
    for seen, batch in ((0, 3), (1, 4), (7, 6), (19, 2), (31, 8)):
        again = pipeline.open_training(config_of(root, form), seed=5)
        (found,) = take(again.batches(batch, seen), 1)
        np.testing.assert_array_equal(found["image"], rows[seen : seen + batch])


def test_rssn_of_the_store_has_all_its_parts(root):
    """What is compared above is all of RSSN, not a route that leaves it out."""
    batches = {}
    for part in ("none", "compose.denoise", "compose.blur", "compose.noise"):
        off = dict.fromkeys(("flip", "compose.denoise", "compose.blur", "compose.noise"), 0.0)
        config = config_of(root, **off | ({} if part == "none" else {part: 1.0}))
        batches[part] = take(pipeline.open_training(config, 5).batches(4), 1)[0]
    plain = batches.pop("none")
    for part, batch in batches.items():
        assert (batch["image"] != plain["image"]).mean() > 0.2, part
        np.testing.assert_array_equal(batch["alpha"], plain["alpha"])


class ThreadsOfOpenCV:
    """Rows that hold how many threads OpenCV uses where they are read."""

    has_trimaps, fingerprint = False, "threads"

    def __len__(self):
        return 4

    def name(self, index):
        return f"row {index}"

    def size(self, index):
        return 48, 48

    def __getitem__(self, index):
        image = np.full((48, 48, 3), cv2.getNumThreads(), np.uint8)
        return Row.of(index, self.name(index), image=image, alpha=folders.matte(48, 48))


def test_workers_leave_the_threads_to_grain(root):
    config = config_of(root, **{"compose.route": "none", "crop.fallback": 32})
    data = pipeline.TrainingData(config, ThreadsOfOpenCV(), None, seed=0)
    cv2.setNumThreads(2)
    (batch,) = take(data.batches(2, workers=1), 1)
    assert (batch["image"] == 1).all()


def test_batches_hold_numbers_only(root):
    data = pipeline.open_training(config_of(root), seed=5)
    (batch,) = take(data.batches(4), 1)
    assert {array.dtype.kind for array in batch.values()} <= set("uib")
    assert {len(array) for array in batch.values()} == {4}
