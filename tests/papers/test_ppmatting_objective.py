"""What PP-Matting and its siblings minimise, against the published code's losses."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmatte.errors import UserError
from jaxmatte.papers import ppmatting
from tests.parity import fill

REFERENCE = json.loads(
    (pathlib.Path(__file__).parent.parent / "parity/ppmatting_losses.json").read_text()
)["losses"]
SHAPE = (2, 48, 64)


def picture(name, channels=1, shape=SHAPE):
    return fill.picture(f"ppmatting/loss/{name}", (*shape, channels)).astype(np.float64)


@pytest.fixture(name="batch", scope="module")
def _batch():
    alpha = np.clip(1.6 * picture("alpha") - 0.3, 0, 1).astype(np.float32)
    return {
        "alpha": alpha,
        "trimap": np.where(alpha <= 0.1, 0, np.where(alpha >= 0.9, 1, 0.5)).astype(np.float32),
        "foreground": picture("fg", 3).astype(np.float32),
        "background": picture("bg", 3).astype(np.float32),
    }


@pytest.fixture(name="parts", scope="module")
def _parts():
    semantic = np.exp(6 * picture("semantic", 3))
    detail = (0.02 + 0.96 * picture("detail")).astype(np.float32)
    return (semantic / semantic.sum(-1, keepdims=True)).astype(np.float32), detail


def outputs(semantic, detail):
    return {"semantic": semantic, "detail": detail, "alpha": ppmatting.fuse(semantic, detail)}


def values(terms):
    return {name: float(total) / float(weight) for name, (total, weight) in terms.items()}


def test_the_three_parts(batch, parts):
    found, expected = values(ppmatting.objective(outputs(*parts), batch)), REFERENCE["ppmatting"]
    for name, value in found.items():
        np.testing.assert_allclose(4 * value, expected["numpy_float64"][name], rtol=1e-6)
    np.testing.assert_allclose(sum(found.values()), expected["numpy_float64"]["all"], rtol=1e-6)
    np.testing.assert_allclose(sum(found.values()), expected["paddle_float32"]["all"], rtol=2e-6)


def test_the_paper_weighs_each_part_1(batch, parts):
    released = values(ppmatting.objective(outputs(*parts), batch))
    paper = values(ppmatting.objective(outputs(*parts), batch, form="paper"))
    for name, value in released.items():
        np.testing.assert_allclose(paper[name], 4 * value, rtol=1e-6)


def test_without_a_transition_the_details_cost_nothing(batch, parts):
    known = batch | {"trimap": np.where(batch["trimap"] == 0.5, 0, batch["trimap"])}
    found = values(ppmatting.objective(outputs(*parts), known))
    expected = REFERENCE["ppmatting_without_transition"]["numpy_float64"]
    assert found["detail_alpha"] == found["detail_gradient"] == 0
    np.testing.assert_allclose(sum(found.values()), expected["all"], rtol=1e-6)


def test_gradients(batch, parts):
    @jax.jit
    def gradients(semantic, detail):
        def loss(*parts):
            terms = ppmatting.objective(outputs(*parts), batch)
            return sum(total / weight for total, weight in terms.values())

        return jax.grad(loss, argnums=(0, 1))(semantic, detail)

    for found, expected in zip(
        gradients(*parts), REFERENCE["ppmatting"]["gradient_of_all"].values(), strict=True
    ):
        found = np.asarray(found, np.float64)
        np.testing.assert_allclose(np.linalg.norm(found), expected["l2"], rtol=1e-5)
        np.testing.assert_allclose(found.sum(), expected["sum"], rtol=1e-5)
        np.testing.assert_allclose(np.abs(found).max(), expected["max"], rtol=1e-5)
        for channel in range(found.shape[-1]):
            of_channel = np.abs(found[..., channel]).sum()
            np.testing.assert_allclose(
                of_channel, expected[f"abs_sum_channel_{channel}"], rtol=1e-5
            )


def test_a_perfect_answer_still_costs_the_roots(batch):
    classes = np.where(batch["trimap"] == 1, 0, np.where(batch["trimap"] == 0.5, 1, 2))[..., 0]
    perfect = outputs(np.eye(3, dtype=np.float32)[classes], batch["alpha"])
    perfect["alpha"] = batch["alpha"]
    found = values(ppmatting.objective(perfect, batch, form="paper"))
    assert abs(found.pop("semantic")) < 2e-6
    for name in ("detail_alpha", "fusion_alpha", "fusion_composition"):
        np.testing.assert_allclose(found.pop(name), 1e-3, rtol=1e-3)
    assert all(value == 0 for value in found.values())


def sibling(name, parts):
    """Stand-ins for the outputs of the siblings' networks."""
    semantic, detail = parts
    if name == "v2":
        eighth = 0.02 + 0.96 * picture("alpha_8x", shape=(2, 6, 8))
        return {"alpha": detail, "auxiliary": eighth.astype(np.float32)}
    quarters = {"semantic": semantic, "detail": detail, "error": 1 - detail}
    quarters = {name: values[:, ::4, ::4] for name, values in quarters.items()}
    coarse = np.asarray(ppmatting.fuse(quarters["semantic"], quarters["detail"]))
    return {**quarters, "coarse_alpha": coarse, "alpha": detail}


def test_the_loss_of_v2(batch, parts):
    found = values(ppmatting.objective(sibling("v2", parts), batch))
    expected = REFERENCE["ppmattingv2"]["numpy_float64"]
    sums = {
        "alpha_mrsd": found["alpha"] + found["alpha_transition"],
        "alpha_grad": found["gradient"] + found["gradient_transition"],
        "alpha_8x_mrsd": found["auxiliary_alpha"],
        "alpha_8x_grad": found["auxiliary_gradient"],
        "all": sum(found.values()),
    }
    for name, value in sums.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-6, err_msg=name)


def test_the_loss_of_human_matting(batch, parts):
    """By its formula, in NumPy."""
    given = sibling("human", parts)
    found = values(ppmatting.objective(given, batch))

    def halves(x):  # of four pixels a side the middle two
        return (x[:, 1::4] + x[:, 2::4]) / 2

    alpha, trimap = batch["alpha"], batch["trimap"][:, ::4, ::4]
    small = halves(halves(alpha).transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)
    classes = np.where(trimap == 1, 0, np.where(trimap == 0.5, 1, 2))
    likely = np.take_along_axis(given["semantic"], classes, -1)
    region = trimap == 0.5
    root = lambda d: np.sqrt(d**2 + 1e-6)  # noqa: E731
    wide = jax.image.resize  # enlarging, it is plain bilinear
    coarse = np.asarray(wide(given["coarse_alpha"], alpha.shape, "linear"))
    error = np.asarray(wide(given["error"], alpha.shape, "linear"))
    expected = {
        "semantic": 0.25 * -np.log(likely + 1e-6).mean(),
        "detail": 0.25 * root(given["detail"] - small)[region].sum() / (region.sum() + 1e-6),
        "fusion": 0.25 * root(given["coarse_alpha"] - small).mean(),
        "error": np.square(error - np.abs(coarse - alpha)).mean(),
        "refined": np.abs(given["alpha"] - alpha).mean(),
    }
    assert {*found} == {*expected}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("kind", ["hrnet", "v2", "human"])
def test_rows_of_padding_change_nothing(batch, parts, kind):
    given = outputs(*parts) if kind == "hrnet" else sibling(kind, parts)
    more = {k: np.concatenate([v, np.full_like(v[:1], np.nan)]) for k, v in given.items()}
    padded = {k: np.concatenate([v, np.full_like(v[:1], np.nan)]) for k, v in batch.items()}
    padded["mask"] = np.array([True, True, False])
    expected, found = (
        values(ppmatting.objective(*pair)) for pair in ((given, batch), (more, padded))
    )
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)

    def loss(parts):
        terms = ppmatting.objective(parts, padded)
        return sum(total / weight for total, weight in terms.values())

    for gradient in jax.grad(loss)({k: jnp.asarray(v) for k, v in more.items()}).values():
        assert np.isfinite(gradient).all()
        assert not gradient[2].any()


def test_replicas_together_divide_once(batch, parts):
    whole = ppmatting.objective(outputs(*parts), batch)
    halves = [
        ppmatting.objective(
            outputs(*(part[i : i + 1] for part in parts)),
            {name: plane[i : i + 1] for name, plane in batch.items()} | {"replicas": 2},
        )
        for i in range(2)
    ]
    for name, (total, weight) in whole.items():
        np.testing.assert_allclose(total, sum(half[name][0] for half in halves), rtol=1e-5)
        np.testing.assert_allclose(weight, sum(half[name][1] for half in halves), rtol=1e-6)


def test_mistakes_are_named(batch, parts):
    with pytest.raises(UserError, match="released, paper"):
        ppmatting.objective(outputs(*parts), batch, form="plain")
    with pytest.raises(UserError, match="HRNet's networks alone"):
        ppmatting.objective(sibling("v2", parts), batch, form="paper")
