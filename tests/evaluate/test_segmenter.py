"""A trimap-free pipeline: a trained segmenter makes the trimaps of a network that takes one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from configs import bisenetv2 as segmenting
from configs import gfm
from jaxmatte import evaluate, metrics, papers
from jaxmatte.engine import checkpoint, state, workdir
from jaxmatte.engine.parallel import Parallel
from jaxmatte.errors import UserError
from jaxmatte.papers import bisenetv2
from tests.data import folders

SIZES = [(64, 64), (40, 56), (50, 33)]


class Follower(nn.Module):
    """A matting network that takes every trimap for the matte."""

    inputs = ("image", "trimap")

    @nn.compact
    def __call__(self, image, trimap, train: bool):
        return {"alpha": trimap * self.param("one", nn.initializers.ones, ())}


@pytest.fixture(name="root", scope="module")
def _root(tmp_path_factory):
    root = tmp_path_factory.mktemp("set")
    for number, (height, width) in enumerate(SIZES):
        folders.write(root / f"images/{number}.png", folders.picture(number, height, width))
        folders.write(root / f"alphas/{number}.png", folders.matte(height, width, soft=4.0))
    return root


@pytest.fixture(name="trained", scope="module")
def _trained(tmp_path_factory):
    """The working directory of a segmenter of three classes, with its model and variables."""
    path, parallel = tmp_path_factory.mktemp("segmenter"), Parallel("jit")
    config = segmenting.get_config("task=trimap")
    config.model.width = 0.0625
    model = papers.build(config.paper, **config.model)
    variables = parallel.create(
        functools.partial(state.initial_variables, model), jax.random.key(4)
    )
    workdir.record(path, config, parallel.describe())
    with checkpoint.Checkpoints(path, config.checkpoint, parallel) as checkpoints:
        now = parallel.place(state.frozen(variables, 1))
        checkpoints.save(1, now, checkpoint.Position(1, "data"), {"miou": 0.5})
    return path, model, variables


def measured(root, **segmenter):
    config = gfm.get_config("track=ori")
    config.data.root = str(root)
    config.evaluation.update({"images": "images", "alphas": "alphas", "rule": "direct", "batch": 1})
    config.evaluation.segmenter.update(segmenter)
    (evaluator,) = evaluate.evaluators(config, Follower(), Parallel("jit")).values()
    return evaluator.run(state.frozen({"params": {"one": jnp.ones(())}, "batch_stats": {}}))


@pytest.mark.parametrize("widen", [0, 5])
def test_the_matting_network_is_given_what_the_segmenter_says(root, trained, widen):
    path, model, variables = trained
    found = measured(root, workdir=str(path), widen=widen)
    assert [row["name"] for row in found.rows] == ["0.png", "1.png", "2.png"]
    seen = set()
    for number, (height, width) in enumerate(SIZES):
        image = folders.picture(number, height, width)[None] / np.float32(255)
        edges = ((0, 0), (0, -height % 32), (0, -width % 32), (0, 0))  # as the loader pads
        predict = jax.jit(lambda x: model.apply(variables, x, train=False)["probability"])
        probability = predict(np.pad(image, edges, mode="edge"))
        trimap = np.asarray(bisenetv2.trimap(probability, widen))[0, :height, :width, 0]
        seen |= set(np.unique(trimap))
        truth = folders.matte(height, width, soft=4.0)
        expected = metrics.mad(trimap, truth / np.float32(255), protocol="gfm")
        np.testing.assert_allclose(found.rows[number]["mad"], expected, atol=1e-3)
    assert len(seen) > 1  # or every trimap would do
    assert seen <= {0.0, 0.5, 1.0}


def test_mistakes_are_named(root, trained, tmp_path):
    with pytest.raises(UserError, match="takes a trimap: name the folder"):
        measured(root)
    with pytest.raises(UserError, match="no working directory of an earlier run"):
        measured(root, workdir=str(tmp_path))
    workdir.record(tmp_path, gfm.get_config(), "here")
    with pytest.raises(UserError, match="gfm_studio_r34_tt; take one of configs/bisenetv2"):
        measured(root, workdir=str(tmp_path))
