"""What GCA-Matting minimises, against the published code's losses."""

import gzip
import json
import pathlib

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmatte.errors import UserError
from jaxmatte.papers import gca
from jaxmatte.papers.gca import learning
from tests.parity import fill

PARITY = pathlib.Path(__file__).parent.parent / "parity"
LOSSES = json.loads(gzip.decompress((PARITY / "gca_networks.json.gz").read_bytes()))["losses"]
# Our terms, and what the fixtures call them.
TERMS = {
    "alpha": "regression_l1",
    "squared": "regression_l2",
    "charbonnier": "smooth_l1",
    "gradient": "grad",
    "gabor": "gabor",
}
SHAPE = (2, 64, 96)


def picture(name, channels=1):
    return fill.picture(f"gca/loss/{name}", (*SHAPE, channels))


@pytest.fixture(name="batch", scope="module")
def _batch():
    alpha = np.clip(2 * picture("alpha") - 0.5, 0, 1)
    layers = {"foreground": picture("fg", 3), "background": picture("bg", 3)}
    waves = fill.picture("gca/trimap", (*SHAPE, 1)) * 255
    trimap = np.where(waves < 85, 0, np.where(waves < 170, 0.5, 1)).astype(np.float32)
    image = layers["foreground"] * alpha + layers["background"] * (1 - alpha)
    return {"alpha": alpha, "trimap": trimap, "image": image, "mask": np.ones(2, bool), **layers}


OUTPUTS = {"alpha": picture("pred")}


def value(terms):
    return {name: float(total) / float(size) for name, (total, size) in terms.items()}


def test_every_term_is_the_published_one(batch):
    found = value(gca.objective(OUTPUTS, batch, **dict.fromkeys(TERMS, 1.0)))
    for name, theirs in TERMS.items():
        assert found[name] == pytest.approx(LOSSES[f"{theirs}_float64"], rel=1e-6), name
    whole = value(gca.objective(OUTPUTS, batch, region="whole"))["alpha"]
    assert whole == pytest.approx(LOSSES["regression_l1_unweighted_float64"], rel=1e-6)


def test_the_composition_is_the_published_one_and_compares_normalised_colours(batch):
    band = (batch["trimap"] == 0.5).astype(np.float32)
    assert band.sum() == LOSSES["unknown_pixels"]
    layers = [batch[name] for name in ("image", "foreground", "background")]
    total = learning.composition_total(OUTPUTS["alpha"], *layers, band)
    assert float(total) / band.sum() == pytest.approx(LOSSES["composition_float64"], rel=1e-6)
    (found,) = value(gca.objective(OUTPUTS, batch, alpha=0.0, composition=2.0)).values()
    mixed = OUTPUTS["alpha"] * layers[1] + (1 - OUTPUTS["alpha"]) * layers[2]
    expected = band * np.abs(mixed - layers[0]) / np.array([0.229, 0.224, 0.225])
    assert found == pytest.approx(2 * expected.sum() / band.sum(), rel=1e-5)


def test_the_default_is_l1_alone_and_weights_are_inside_of_the_totals(batch):
    assert {*gca.objective(OUTPUTS, batch)} == {"alpha"}
    once, twice = (
        value(gca.objective(OUTPUTS, batch, alpha=weight, gabor=weight)) for weight in (1.0, 2.0)
    )
    assert {*once} == {"alpha", "gabor"}
    for name, number in once.items():
        assert twice[name] == pytest.approx(2 * number)


def test_the_gradient_is_the_sign_over_the_unknown_pixels(batch):
    def loss(alpha):
        ((total, size),) = gca.objective({"alpha": alpha}, batch).values()
        return total / size

    predicted = jnp.asarray(OUTPUTS["alpha"]).at[0, :8].set(batch["alpha"][0, :8])
    slope = jax.grad(loss)(predicted)
    band = batch["trimap"] == 0.5
    expected = band * np.sign(np.asarray(predicted) - batch["alpha"]) / band.sum()
    np.testing.assert_allclose(slope, expected, rtol=1e-5)
    assert not np.asarray(slope)[0, :8].any()  # what is right pulls nowhere


@pytest.mark.parametrize("name", [*TERMS, "composition"])
def test_gradients_are_those_of_differences(batch, name):
    """Along one direction, by central differences in float64 of the same terms."""
    draw = np.random.default_rng(0)
    way = draw.normal(size=(*SHAPE, 1)).astype(np.float32)

    def loss(alpha):
        terms = gca.objective({"alpha": alpha}, batch, **{"alpha": 0.0, name: 1.0})
        ((total, size),) = terms.values()
        return total / size

    start = jnp.asarray(OUTPUTS["alpha"])
    slope = float(jnp.vdot(jax.grad(loss)(start), way))
    step = 1e-3
    found = (float(loss(start + step * way)) - float(loss(start - step * way))) / (2 * step)
    assert slope == pytest.approx(found, rel=0.02, abs=2e-5)


def test_padded_rows_change_nothing_and_get_no_gradient(batch):
    options = {**dict.fromkeys(TERMS, 1.0), "composition": 1.0}
    expected = value(gca.objective(OUTPUTS, batch, **options))
    padded = {name: np.concatenate([v, np.full_like(v[:1], 1)]) for name, v in batch.items()}
    padded["trimap"][2] = 0.5
    padded["image"][2] = np.nan
    padded["mask"] = np.array([True, True, False])
    alpha = np.concatenate([OUTPUTS["alpha"], np.full((1, *SHAPE[1:], 1), np.nan, np.float32)])

    def loss(alpha):
        terms = gca.objective({"alpha": alpha}, padded, **options)
        return sum(total / size for total, size in terms.values()), terms

    slope, terms = jax.grad(loss, has_aux=True)(jnp.asarray(alpha))
    assert value(terms) == pytest.approx(expected, rel=1e-6)
    assert np.isfinite(slope).all()
    assert not slope[2].any()
    assert slope[:2].any()


def test_halves_of_a_batch_add_up_to_it(batch):
    whole = gca.objective(OUTPUTS, batch)["alpha"]
    halves = [
        gca.objective(
            {"alpha": OUTPUTS["alpha"][i : i + 1]},
            {**{name: v[i : i + 1] for name, v in batch.items()}, "replicas": 2},
        )["alpha"]
        for i in (0, 1)
    ]
    for place in (0, 1):
        together = sum(float(half[place]) for half in halves)
        assert together == pytest.approx(float(whole[place]), rel=1e-6)


def test_a_batch_without_unknown_pixels_costs_nothing(batch):
    known = batch | {"trimap": np.ones_like(batch["trimap"])}
    assert value(gca.objective(OUTPUTS, known))["alpha"] == 0


def test_gabor_filters_are_opencvs():
    filters = learning.gabor_filters()
    assert filters.shape == (16, 5, 5)
    for number, found in enumerate(filters):
        expected = cv2.getGaborKernel((5, 5), 0.5, number * np.pi / 8, 5, 0.5)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)


def test_mistakes_are_named(batch):
    with pytest.raises(UserError, match="region='band' must be one of unknown, whole"):
        gca.objective(OUTPUTS, batch, region="band")
    with pytest.raises(UserError, match="every weight of the objective is 0"):
        gca.objective(OUTPUTS, batch, alpha=0.0)
