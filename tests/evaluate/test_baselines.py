"""What guided networks must beat: measured as they are, by what the host finds."""

import json
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxmatte import evaluate, metrics
from jaxmatte.data import pipeline
from jaxmatte.engine import state
from jaxmatte.engine.parallel import Parallel
from jaxmatte.evaluate import baselines, columns, report
from tests.data import folders
from tests.data.test_guides import config_of


class Follower(nn.Module):
    """Half way between the trimap and nothing."""

    inputs: ClassVar[tuple[str, ...]] = ("image", "trimap")

    @nn.compact
    def __call__(self, image, trimap, train: bool):
        return {"alpha": trimap * self.param("half", nn.initializers.constant(0.5), ())}


class Nothing(nn.Module):
    """A network with a plate that finds no subject."""

    inputs: ClassVar[tuple[str, ...]] = ("image", "plate")

    @nn.compact
    def __call__(self, image, plate, train: bool):
        return {"alpha": jnp.zeros_like(image[..., :1]) * self.param("a", nn.initializers.ones, ())}


SMALL = {"size": 64, "sides": (64, 72), "canvas": 64}


def evaluator(config, model):
    (found,) = evaluate.evaluators(config, model, Parallel("jit")).values()
    arguments = [
        jnp.zeros((1, 32, 32, channels)) for channels in (3, 1 if "trimap" in model.inputs else 3)
    ]
    variables = model.init(jax.random.key(0), *arguments, train=False)
    return found, state.frozen({**variables, "batch_stats": {}})


def configuration(route, **changes):
    config = config_of(route)
    fields = {"rule": "direct", "batch": 2, "pictures": 1, "metrics": ("mad", "sad")}
    config.evaluation.update(fields | changes)
    return config


def rows(config, given):
    """The true pixels of a set, row by row."""
    data = pipeline.open_evaluation(config.evaluation, config.data, config.seed, given)
    return [data.source[index] for index in range(len(data))]


def test_of_a_trimap_it_is_one_half_where_that_is_unknown():
    config = configuration("dim", protocol="gfm,dim")
    measuring, variables = evaluator(config, Follower())
    found = measuring.run(variables)
    expected = []
    for row in rows(config, ("trimap",)):
        half = np.select([row["trimap"] == 0, row["trimap"] == 255], [0.0, 1.0], 0.5)
        expected.append(metrics.mad(half, row["alpha"], row["trimap"], "dim"))
    assert found.baseline.label == "MAD[dim, unknown]"  # not the first one's, of the whole
    assert found.baseline.value == pytest.approx(np.mean(expected), rel=1e-5)
    times = found.baseline.value / found.means["mad[dim]"]
    told = f"{found.baseline.value:.4f}, {times:.2f} times the network's)"
    assert found.line().endswith(
        f"(3 pictures; baseline, alpha = 0.5 where the trimap is unknown: MAD[dim, unknown] {told}"
    )
    record = json.loads(report.as_json(found.summary()))
    assert record["baseline, MAD[dim, unknown]"] == found.baseline.value
    assert record["baseline, times the network's"] == pytest.approx(times)
    assert record["best constant matte, MAD"] == found.constant
    assert set(found.rows[0]) == {"index", "name", "mad", "sad", "mad[dim]", "sad[dim]"}
    again = measuring.run(variables)
    assert (again.baseline, again.rows) == (found.baseline, found.rows)


def test_of_a_plate_it_is_a_difference_with_a_threshold_of_the_training_scenes(monkeypatch):
    config = configuration("bgmv2", protocol="bgmv2", metrics=("sad",))
    config.data.update(SMALL)
    monkeypatch.setattr(baselines, "EXAMPLES", 6)
    measuring, variables = evaluator(config, Nothing())
    assert not measuring.data.source.has_trimaps  # the protocol makes its own
    found = measuring.run(variables)
    column = columns.columns("bgmv2", ("mad",), False)[0]
    threshold = baselines.tuned(config, column, False)
    assert threshold == baselines.tuned(config, column, False)
    expected = []
    for row in rows(config, ("plate",)):
        apart = np.abs(row["image"].astype(int) - row["plate"]).max(-1)
        matte = np.where(apart > threshold, 255, 0).astype(np.uint8)
        expected.append(metrics.mad(matte, row["alpha"], None, "bgmv2"))
    assert found.baseline.value == pytest.approx(np.mean(expected), rel=1e-5)
    assert found.line().endswith(
        f"baseline, 1 where picture and plate are more than {threshold} levels apart: "
        f"MAD[bgmv2, unknown] x 1000 {found.baseline.value:.4f})"  # the network has no MAD
    )
    assert found.summary()["baseline, times the network's"] is None


def test_the_threshold_is_the_best_one():
    """By trying them all, as the protocol measures."""
    rng = np.random.default_rng(0)
    alpha = folders.matte(30, 41, soft=9)
    apart = np.clip(alpha.astype(int) + rng.integers(-70, 70, alpha.shape), 0, 255)
    trimap = np.select([alpha == 0, alpha == 255], [0, 255], 128).astype(np.uint8)
    for name, given in (("dim", trimap), ("gfm", trimap), ("bgmv2", None), ("dim", None)):
        column = columns.columns(name, ("mad",), given is not None)[0]
        costs = baselines.threshold_costs(apart, alpha, given, column)
        for threshold in (-1, 0, 1, 70, 128, 254, 255):
            matte = np.where(apart > threshold, 255, 0).astype(np.uint8)
            expected = metrics.mad(matte, alpha, given, name) / column.protocol.means
            assert costs[threshold + 1] == pytest.approx(expected, abs=1e-12), (name, threshold)


def test_plates_are_measured_by_a_trimap_where_the_protocol_wants_one():
    config = configuration("bgmv2", protocol="dim")
    config.data.update(SMALL)
    measuring, _ = evaluator(config, Nothing())
    assert [column.label for column in measuring.columns] == [
        "MAD[dim, unknown]",
        "SAD[dim, unknown]",
    ]
    whole, _ = evaluator(configuration("bgmv2", protocol="gfm"), Nothing())
    assert whole.columns[0].label == "MAD[gfm, whole]"


def test_a_checkpoint_is_measured_without_what_it_was_trained_on(tmp_path):
    for kind, pixels in (("images", folders.picture(0, 32, 40)), ("alphas", folders.matte(32, 40))):
        folders.write(tmp_path / kind / "0.png", pixels)
    folders.write(tmp_path / "plates/0.png", folders.picture(1, 32, 40))
    config = configuration("bgmv2", images="images", alphas="alphas", plates="plates")
    there = {"source": "folder", "root": str(tmp_path), "images": "gone", "alphas": "alphas"}
    config.data.update(there)
    measuring, variables = evaluator(config, Nothing())
    found = measuring.run(variables)
    assert "(1 pictures; no baseline: no folder " in found.line()
    record = json.loads(report.as_json(found.summary()))
    assert record["baseline"].startswith("no folder")
    assert record["baseline, MAD[gfm, whole]"] is None
    assert measuring.run(variables).line() == found.line()
