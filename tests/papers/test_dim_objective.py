"""What Deep Image Matting minimises, against the ports' losses."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmatte.errors import UserError
from jaxmatte.papers import dim
from tests.parity import fill

PARITY = pathlib.Path(__file__).parent.parent / "parity"
NUMBERS = json.loads((PARITY / "dim_losses.json").read_text())
CASES = [(form, stage) for form in ("mmagic", "hct") for stage in dim.STAGES] + [("foamliu", 0)]


def picture(name, channels=1):
    return fill.picture(f"dim/loss/{name}", (2, 64, 96, channels))


@pytest.fixture(name="batch", scope="module")
def _batch():
    alpha = np.clip(2 * picture("alpha") - 0.5, 0, 1)
    foreground, background = picture("fg", 3), picture("bg", 3)
    level = 255 * fill.picture("dim/trimap", (2, 64, 96, 1))
    return {
        "alpha": alpha,
        "foreground": foreground,
        "background": background,
        "image": foreground * alpha + background * (1 - alpha),
        "trimap": np.digitize(level, [85, 170]).astype(np.float32) / 2,
        "mask": np.ones(2, bool),
    }


@pytest.fixture(name="outputs", scope="module")
def _outputs():
    coarse = picture("pred")
    return {"alpha": picture("refined"), "coarse_alpha": coarse, "raw_alpha": coarse}


def value(terms):
    return {name: float(total) / float(weight) for name, (total, weight) in terms.items()}


def slopes(outputs, batch, **options):
    def loss(outputs):
        terms = dim.objective(outputs, batch, **options)
        return sum(total / weight for total, weight in terms.values())

    return jax.grad(loss)({name: jnp.asarray(v) for name, v in outputs.items()})


def test_losses_as_mmagic_has_them(batch, outputs):
    assert (batch["trimap"] == 0.5).sum() == NUMBERS["unknown_pixels"]
    found = value(dim.objective(outputs, batch, form="mmagic", stage=3))
    assert found == pytest.approx(
        {
            "alpha": NUMBERS["mmagic_loss_alpha"],
            "composition": NUMBERS["mmagic_loss_comp"],
            "refined": NUMBERS["mmagic_loss_refine"],
        },
        rel=1e-6,
    )
    assert sum(found.values()) == pytest.approx(NUMBERS["mmagic_stage3_total"], rel=1e-6)
    first = value(dim.objective(outputs, batch))
    assert sum(first.values()) == pytest.approx(NUMBERS["mmagic_stage1_total"], rel=1e-6)


def test_losses_as_hct_has_them(batch, outputs):
    assert value(dim.objective(outputs, batch, form="hct", stage=0)) == pytest.approx(
        {"alpha": NUMBERS["hct_alpha"]}, rel=1e-6
    )
    found = value(dim.objective(outputs, batch, form="hct", stage=1))
    assert 2 * found["composition"] == pytest.approx(NUMBERS["hct_comp"], rel=1e-6)
    assert sum(found.values()) == pytest.approx(NUMBERS["hct_stage1_total"], rel=1e-6)
    assert value(dim.objective(outputs, batch, form="hct", stage=2)) == pytest.approx(
        {"refined": NUMBERS["hct_refine"]}, rel=1e-6
    )
    assert {*dim.objective(outputs, batch, form="hct", stage=3)} == {*found, "refined"}


def test_the_loss_as_foamliu_has_it(batch, outputs):
    expected = {"alpha": NUMBERS["foamliu_alpha"]}
    for stage in (0, 1):
        terms = dim.objective(outputs, batch, form="foamliu", stage=stage)
        assert value(terms) == pytest.approx(expected, rel=3e-7)
    # Its known pixels add 1e-6 each, which no other form does: 2e-6 of the whole.
    assert value(dim.objective(outputs, batch, stage=0))["alpha"] < expected["alpha"] - 4e-7


@pytest.mark.parametrize(("form", "stage"), CASES)
def test_gradients_are_the_formulas(batch, outputs, form, stage):
    """The derivatives written out, in double precision; nothing outside of the unknown."""
    added = {"mmagic": 0, "hct": 1, "foamliu": 1e-6}[form]
    given = {name: np.float64(v) for name, v in batch.items()}
    refined, coarse = (np.float64(outputs[name]) for name in ("alpha", "coarse_alpha"))
    unknown = given["trimap"] == 0.5
    count = unknown.sum() + added

    def root(difference):
        return difference / np.sqrt(difference**2 + 1e-12)

    def alpha(matte):
        return np.where(unknown, root(matte - given["alpha"]), 0) / count

    layers = given["foreground"] - given["background"]
    mixed = coarse * given["foreground"] + (1 - coarse) * given["background"]
    scale = 255 if form == "hct" else 1
    slope = (root(scale * (mixed - given["image"])) * layers).mean(-1, keepdims=True)
    composed = np.where(unknown, slope, 0) / count
    expected = {
        0: alpha(coarse),
        1: 0.5 * alpha(coarse) + 0.5 * composed,
        2: np.zeros_like(coarse),
        3: 0.5 * alpha(coarse) + 0.5 * composed,
    }
    found = slopes(outputs, batch, form=form, stage=stage)
    largest = 1 / count
    np.testing.assert_allclose(found["coarse_alpha"], expected[stage], rtol=0, atol=1e-5 * largest)
    wanted = alpha(refined) if stage >= 2 else np.zeros_like(refined)
    np.testing.assert_allclose(found["alpha"], wanted, rtol=0, atol=1e-5 * largest)


@pytest.mark.parametrize(("form", "stage"), CASES)
def test_padded_rows_count_nowhere(batch, outputs, form, stage):
    alone_batch = {name: v[:1] for name, v in batch.items()}
    alone = value(
        dim.objective({n: v[:1] for n, v in outputs.items()}, alone_batch, form=form, stage=stage)
    )
    masked = batch | {"mask": np.array([True, False])}
    wrong = {name: v.copy() for name, v in outputs.items()}
    for array in wrong.values():
        array[1] = np.nan
    masked |= {"alpha": np.concatenate([batch["alpha"][:1], np.full((1, 64, 96, 1), np.nan)])}
    assert value(dim.objective(wrong, masked, form=form, stage=stage)) == pytest.approx(alone)
    for slope in slopes(wrong, masked, form=form, stage=stage).values():
        assert np.isfinite(slope).all()
        assert not slope[1].any()


def test_constants_belong_once_to_all_replicas(batch, outputs):
    """Halves of a batch, summed over two replicas, are the batch."""
    for form in dim.FORMS:
        stage = 0 if form == "foamliu" else 3
        whole = value(dim.objective(outputs, batch, form=form, stage=stage))
        halves = [
            dim.objective(
                {n: v[i : i + 1] for n, v in outputs.items()},
                {n: v[i : i + 1] for n, v in batch.items()} | {"replicas": 2},
                form=form,
                stage=stage,
            )
            for i in range(2)
        ]
        for name, expected in whole.items():
            total, weight = (sum(float(half[name][k]) for half in halves) for k in (0, 1))
            assert total / weight == pytest.approx(expected, rel=2e-6)


def test_nothing_unknown_is_no_loss(batch, outputs):
    known = batch | {"trimap": np.ones_like(batch["trimap"])}
    for form in ("mmagic", "hct"):
        for total, weight in dim.objective(outputs, known, form=form, stage=3).values():
            assert float(total) == 0
            assert float(weight) == (form == "hct")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"form": "paddle"}, "form='paddle' must be one of mmagic, hct, foamliu"),
        ({"stage": 4}, "stage=4 must be 0, 1, 2 or 3"),
        ({"form": "foamliu", "stage": 2}, "it has no refinement"),
    ],
)
def test_mistakes_are_named(batch, outputs, options, words):
    with pytest.raises(UserError, match=words):
        dim.objective(outputs, batch, **options)
