"""Classes of a checkpoint: counted to the pixel, whatever the devices and batches."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from configs import common, routes
from jaxmatte import evaluate
from jaxmatte.data import pipeline
from jaxmatte.data.routes.bisenetv2 import class_map
from jaxmatte.engine import checkpoint, state
from jaxmatte.engine.parallel import Parallel
from jaxmatte.errors import UserError
from jaxmatte.metrics import segmentation
from tests.data import folders
from tests.evaluate.test_checkpoints import SIZES

CLASSES = 4


class Segmenting(nn.Module):
    """A class by brightness and place, so that every class is found somewhere."""

    inputs = ("image",)

    @nn.compact
    def __call__(self, image, train: bool):
        return {"logits": nn.Conv(CLASSES, (3, 3), name="last")(image - 0.5)}


@pytest.fixture(name="root", scope="module")
def _root(tmp_path_factory):
    root = tmp_path_factory.mktemp("classes")
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate(SIZES):
        label = rng.integers(0, CLASSES, (height, width)).astype(np.uint8)
        label[:3] = 255
        folders.write(root / f"images/{number}.png", folders.picture(number, height, width))
        folders.write(root / f"labels/{number}.png", label)
        folders.write(root / f"alphas/{number}.png", folders.matte(height, width, soft=6.0))
    return root


def configuration(root, **changes):
    config = common.base()
    config.paper, config.data.root = "toy", str(root)
    config.data.update(routes.bisenetv2())
    config.data.classes = CLASSES
    config.data.source = "set"
    group = {"kind": "classes", "protocol": "miou", "set": "segmentation", "split": "all"}
    config.evaluation.update(group | {"batch": 2, "pictures": 2} | changes)
    return config


def measured(config, variables, devices=1):
    chosen = jax.devices()[:devices]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "devices", lambda: chosen)
        patch.setattr(jax, "device_count", lambda: devices)
        (evaluator,) = evaluate.evaluators(config, Segmenting(), Parallel("jit")).values()
        return evaluator.run(state.frozen(variables))


@pytest.fixture(name="variables", scope="module")
def _variables():
    return state.initial_variables(Segmenting(), jax.random.key(1))


@pytest.fixture(name="alone", scope="module")
def _alone(root, variables):
    return measured(configuration(root), variables)


def test_the_numbers_are_those_of_the_host(root, variables, alone):
    """Of the classes that the network gives at the pictures' true sizes."""
    config = configuration(root)
    data = pipeline.open_classes(config.evaluation, config.data, 0)
    total = np.zeros((CLASSES, CLASSES), np.int64)
    for index in range(len(data)):
        row = data.source[index]
        height, width = row.size
        edges = ((0, -height % 32), (0, -width % 32), (0, 0))
        image = np.pad(row["image"], edges, mode="edge")[None] / np.float32(255)
        logits = Segmenting().apply(variables, jnp.asarray(image), train=False)["logits"]
        found = np.asarray(jnp.argmax(logits, -1))[0, :height, :width]
        confusion = segmentation.confusion(found, row["label"], CLASSES)
        assert alone.rows[index]["miou"] == segmentation.miou(confusion)
        assert alone.rows[index]["name"] == row.name
        total += confusion
    np.testing.assert_array_equal(alone.confusion, total)
    assert alone.confusion.sum() == sum((h - 3) * w for h, w in SIZES)
    assert alone.means["miou"] == segmentation.miou(total)
    assert alone.means["iou class 2"] == segmentation.iou(total)[2]


@pytest.mark.parametrize(("devices", "batch"), [(2, 2), (8, 1), (1, 7)])
def test_devices_and_batches_change_no_digit(root, variables, alone, devices, batch):
    found = measured(configuration(root, batch=batch), variables, devices)
    assert found.rows == alone.rows
    np.testing.assert_array_equal(found.confusion, alone.confusion)


def test_what_people_read(alone):
    best = max(
        segmentation.miou(np.where(np.arange(CLASSES) == c, alone.confusion.sum(1)[:, None], 0))
        for c in range(CLASSES)
    )
    assert alone.constant == best < 0.1
    assert f"mIoU[miou] {alone.means['miou']:.4f}" in alone.line()
    assert f"best constant class has mIoU {best:.4f}" in alone.line()
    record = json.loads(json.dumps(alone.summary()))
    assert record["confusion, true by predicted"] == alone.confusion.tolist()
    assert "IoU[miou, class 3]" in alone.page()
    assert len(alone.table().splitlines()) == 1 + len(SIZES)
    assert alone.picture.dtype == np.uint8
    assert (alone.picture == (200, 30, 30)).all(-1).any()  # mistakes are shown


def test_the_protocol_that_adds_one_to_each_union(root, variables, alone):
    config = configuration(root, protocol="coincheung", names=("a", "b", "c", "d"))
    found = measured(config, variables)
    assert found.means["miou"] == segmentation.miou(alone.confusion, extra=1)
    assert set(found.means) == {"miou", "iou a", "iou b", "iou c", "iou d"}


@pytest.mark.parametrize("classes", [2, 3])
def test_classes_of_alphas_are_those_that_are_trained_on(root, classes):
    config = configuration(root, alphas="alphas", images="images")
    config.data.source, config.data.classes = "folder", classes
    config.data.trimap.fixed.size = 5
    data = pipeline.open_classes(config.evaluation, config.data, 0)
    (batch,) = data.batches(7)
    for at, (height, width) in enumerate(SIZES):
        alpha, label = data.source[at]["alpha"], batch["label"][at, :height, :width, 0]
        if classes == 2:
            np.testing.assert_array_equal(label, alpha > 127)
        else:
            assert set(np.unique(label)) == {0, 1, 2}
            assert (label[(alpha > 0) & (alpha < 255)] == 1).all()
            np.testing.assert_array_equal(label, class_map(data.source[at], config.data))
        assert (batch["label"][at, height:] == 255).all()
        assert (batch["label"][at, :, width:] == 255).all()


def test_mistakes_are_named(root, variables):
    for changes, told in (
        ({"protocol": "gfm"}, "there are: miou, coincheung"),
        ({"names": ("a",)}, "1 names; data.classes=4"),
        ({"kind": "classe"}, "there are: mattes, classes"),
    ):
        with pytest.raises(UserError, match=told):
            measured(configuration(root, **changes), variables)
    config = configuration(root)
    config.data.classes = 3
    with pytest.raises(UserError, match=r"holds 3; data\.classes=3 allows 0 to 2"):
        measured(config, variables)


def test_of_overlaps_the_highest_is_the_best(tmp_path):
    parallel = Parallel("jit")
    for best, expected in (("miou", 2), ("iou person", 2), ("mad", 3)):
        config = common.base().checkpoint
        config.best, config.keep, config.asynchronous = best, 1, False
        variables = {"params": {"w": jnp.ones(2)}, "batch_stats": {}}
        with checkpoint.Checkpoints(tmp_path / best, config, parallel) as checkpoints:
            for step, value in ((1, 0.5), (2, 0.9), (3, 0.3), (4, 0.7)):
                now = parallel.place(state.frozen(variables, step))
                position = checkpoint.Position(step, "data")
                checkpoints.save(step, now, position, {best: value})
            assert checkpoints.best() == expected
            assert (
                dataclasses.asdict(checkpoints.restore(expected, now)[1])["examples_seen"]
                == expected
            )
