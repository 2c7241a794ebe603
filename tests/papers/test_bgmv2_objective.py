"""What BGMv2 minimises, against the totals and gradients of the published training code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmatte.papers import bgmv2
from jaxmatte.papers.bgmv2.learning import edges
from tests.parity import bgmv2 as parity
from tests.parity import fill

NUMBERS = parity.NUMBERS["losses"]
LARGE, SMALL = (64, 96), (16, 24)
PARTS = {
    "base": {
        "alpha": "pha_l1",
        "edges": "pha_sobel_l1",
        "foreground": "fgr_l1",
        "error": "err_mse",
    },
    "refine": {
        "alpha": "pha_lg_l1",
        "edges": "sobel_lg_l1",
        "foreground": "fgr_lg_l1",
        "coarse_alpha": "pha_sm_l1",
        "coarse_edges": "sobel_sm_l1",
        "coarse_foreground": "fgr_sm_l1",
        "error": "err_mse",
    },
}
SLOPES = {
    "alpha": "pha",
    "foreground": "fgr",
    "coarse_alpha": "pha_sm",
    "coarse_foreground": "fgr_sm",
}


objective = jax.jit(bgmv2.objective)


@jax.jit
def slopes(outputs, batch):
    def loss(outputs):
        terms = bgmv2.objective(outputs, batch)
        return sum(total / jnp.maximum(weight, 1e-9) for total, weight in terms.values())

    return jax.grad(loss)(outputs)


def picture(name, channels=1, size=LARGE):
    return fill.picture(f"bgmv2/loss/{name}", (2, *size, channels))


def matte(name, size=LARGE):
    return np.clip(2 * picture(name, 1, size) - 0.5, 0, 1)


@pytest.fixture(name="batch", scope="module")
def _batch():
    return {
        "alpha": matte("true_pha"),
        "foreground": picture("true_fgr", 3),
        "mask": np.ones(2, bool),
    }


@pytest.fixture(name="outputs", scope="module")
def _outputs():
    base = {
        "alpha": matte("pred_pha"),
        "foreground": picture("pred_fgr", 3),
        "error": picture("pred_err"),
    }
    small = picture("pred_err_sm", 1, SMALL)
    refine = base | {
        "coarse_alpha": matte("pred_pha_sm", SMALL),
        "coarse_foreground": picture("pred_fgr_sm", 3, SMALL),
        "coarse_error": small,
        "error": jax.image.resize(small, (2, *LARGE, 1), "bilinear"),
    }
    return {"base": base, "refine": refine}


def value(terms):
    return {name: float(total) / float(weight) for name, (total, weight) in terms.items()}


@pytest.mark.parametrize("which", PARTS)
def test_totals_and_parts_are_the_published_ones(batch, outputs, which):
    found = value(objective(outputs[which], batch))
    assert {*found} == {*PARTS[which]}
    for name, theirs in PARTS[which].items():
        assert found[name] == pytest.approx(NUMBERS[f"{which}_parts"][theirs], rel=2e-6), name
    assert sum(found.values()) == pytest.approx(NUMBERS[f"{which}_total_float64"], rel=1e-6)


@pytest.mark.parametrize("which", PARTS)
def test_gradients_are_the_published_ones(batch, outputs, which):
    """Detached where the base network learns the error, and not behind the refiner."""
    found = slopes(outputs[which], batch)
    expected = NUMBERS[f"{which}_grad_abs_sum_float64"]
    names = {n: t for n, t in SLOPES.items() if n in found} | {"error": "err"}
    if which == "refine":
        # Of the published error at the small size; its enlarging is the network's here.
        enlarge = lambda x: jax.image.resize(x, (2, *LARGE, 1), "bilinear")  # noqa: E731
        _, pull = jax.vjp(enlarge, jnp.asarray(outputs[which]["coarse_error"]))
        found["error"], names["error"] = pull(found["error"])[0], "err_sm"
    assert {*names.values()} == {*expected}
    for name, theirs in names.items():
        # A pixel where both agree to the last bit pulls nowhere: that is a matter of rounding.
        assert np.abs(found[name]).sum() == pytest.approx(expected[theirs], rel=1e-4), name


@pytest.mark.parametrize("which", PARTS)
def test_edges_may_weigh_more(outputs, batch, which):
    found = value(bgmv2.objective(outputs[which], batch, edges_weight=3.0))
    for name, term in value(objective(outputs[which], batch)).items():
        assert found[name] == pytest.approx((3.0 if "edges" in name else 1.0) * term), name


def test_edges_are_sobels(batch):
    found = edges(jnp.asarray(batch["alpha"]))
    assert float(found.mean()) == pytest.approx(NUMBERS["sobel_of_true_pha_mean"], rel=1e-6)
    ramp = jnp.broadcast_to(jnp.linspace(0, 1, 11)[None, None, :, None], (1, 5, 11, 1))
    # Along a ramp its slope; at the border, which is repeated, half of it.
    np.testing.assert_allclose(edges(ramp)[0, 2, 1:-1, 0], 0.1, atol=1e-4)
    np.testing.assert_allclose(edges(ramp)[0, :, 0, 0], 0.05, atol=1e-4)


@pytest.mark.parametrize("which", PARTS)
def test_the_perfect_answer_costs_nothing(batch, which, outputs):
    perfect = {**outputs[which], "alpha": batch["alpha"], "foreground": batch["foreground"]}
    perfect["error"] = np.zeros_like(batch["alpha"])
    truth = batch
    if which == "refine":
        even = np.full_like(batch["alpha"], 0.5), np.full_like(batch["foreground"], 0.25)
        truth = batch | {"alpha": even[0], "foreground": even[1]}
        perfect |= {"alpha": even[0], "foreground": even[1]}
        perfect |= {"coarse_alpha": even[0][:, :16, :24]}
        perfect |= {"coarse_foreground": even[1][:, :16, :24]}
    assert sum(value(objective(perfect, truth)).values()) < 1e-6
    slope = slopes(perfect, truth)
    assert max(np.abs(s).max() for s in slope.values()) < 1e-3 / batch["alpha"].size


@pytest.mark.parametrize("which", PARTS)
def test_rows_of_padding_change_nothing(batch, outputs, which):
    def padded(values):
        return {n: np.concatenate([v, np.full_like(v[:1], np.nan)]) for n, v in values.items()}

    more = padded(outputs[which])
    of_three = padded({name: batch[name] for name in ("alpha", "foreground")})
    of_three["mask"] = np.array([True, True, False])
    expected = value(objective(outputs[which], batch))
    assert value(objective(more, of_three)) == pytest.approx(expected)
    for name, slope in slopes(more, of_three).items():
        assert np.isfinite(slope).all(), name
        assert not slope[2].any(), name


@pytest.mark.parametrize("which", PARTS)
def test_totals_add_up_over_replicas(batch, outputs, which):
    whole = value(objective(outputs[which], batch))
    halves = [
        objective(*jax.tree.map(lambda v, i=i: v[i : i + 1], (outputs[which], batch)))
        for i in range(2)
    ]
    for name, expected in whole.items():
        totals, weights = (sum(float(half[name][i]) for half in halves) for i in range(2))
        assert totals / weights == pytest.approx(expected, rel=1e-5)


def test_the_foreground_counts_where_there_is_any(batch, outputs):
    empty = batch | {"alpha": np.zeros_like(batch["alpha"])}
    found = value(objective(outputs["refine"], empty))
    assert found["foreground"] == found["coarse_foreground"] == 0
    assert found["alpha"] > 0
