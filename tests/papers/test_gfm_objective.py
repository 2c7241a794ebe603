"""What GFM minimises, against the totals of the published training code."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmatte.errors import UserError
from jaxmatte.papers import gfm
from tests.parity import fill

REFERENCE = json.loads(
    (pathlib.Path(__file__).parent.parent / "parity/gfm_losses.json").read_text()
)["losses"]["step"]
SHAPE = (2, 64, 96, 1)


def picture(name, channels=1):
    return fill.picture(f"gfm/loss/{name}", (*SHAPE[:3], channels))


@pytest.fixture(name="batch", scope="module")
def _batch():
    waves, trimap = picture("alpha"), picture("trimap")
    alpha = np.round(255 * np.clip((waves.astype(np.float64) - 0.35) / 0.30, 0, 1)) / 255
    return {
        "alpha": alpha.astype(np.float32),
        "trimap": np.where(trimap < 0.4, 0, np.where(trimap > 0.6, 1, 0.5)).astype(np.float32),
        "dilation": (waves > 0.25).astype(np.float32),
        "erosion": (waves > 0.75).astype(np.float32),
        "image": picture("img", 3),
        "foreground": picture("fg", 3),
        "background": picture("bg", 3),
        "mask": np.ones(2, bool),
    }


@pytest.fixture(name="outputs", scope="module")
def _outputs():
    """Stand-ins for the network's outputs, of all three modes."""
    focus, outputs = picture("pred"), {}
    for mode, classes in gfm.CLASSES.items():
        glance = picture(f"glance{classes}", classes)
        outputs[mode] = {
            "glance": glance,
            "focus": focus,
            "glance_logits": np.log(glance / (1 - glance + 1e-6) + 1e-6),
            "alpha": np.asarray(gfm.collaborative_matting(mode, glance, focus)),
        }
    return outputs


def value(terms):
    return {name: float(total) / float(weight) for name, (total, weight) in terms.items()}


CASES = [
    ("TT", "paper", "TT"),
    ("FT", "released", "FT_as_coded"),
    ("FT", "paper", "FT_as_in_paper_and_RIM"),
    ("BT", "released", "BT_as_coded"),
    ("BT", "paper", "BT_as_in_paper_and_RIM"),
]


@pytest.mark.parametrize(("rosta", "targets", "case"), CASES)
def test_totals_of_a_step(batch, outputs, rosta, targets, case):
    terms = gfm.objective(outputs[rosta], batch, rosta=rosta, form="released", targets=targets)
    found, expected = value(terms), REFERENCE[case]
    parts = {
        "global": found["glance"],
        "local": found["focus_alpha"] + found["focus_laplacian"],
        "fusion_alpha": found["alpha"] + found["laplacian"],
        "fusion_comp": found["composition"],
    }
    for name, part in parts.items():
        # The stand-ins are drawn as pictures in 0..1, the reference's in 0..255: 2e-6 is float32.
        np.testing.assert_allclose(part / 0.25, expected[name], rtol=5e-6, err_msg=name)
    np.testing.assert_allclose(sum(found.values()), expected["total_0.25_each"], rtol=5e-6)


def integrated(outputs):
    merged = {"rim": outputs["TT"]["focus"], "alpha": outputs["TT"]["focus"]}
    for mode, parts in outputs.items():
        merged |= {
            f"{name}_{mode.lower()}": part for name, part in parts.items() if name != "alpha"
        }
        merged[f"fusion_{mode.lower()}"] = parts["alpha"]
    return merged


def test_rim_sums_its_modes_and_its_own_output_unweighted(batch, outputs):
    found = value(gfm.objective(integrated(outputs), batch, rosta="RIM", form="released"))
    for mode, case in (
        ("tt", "TT"),
        ("ft", "FT_as_in_paper_and_RIM"),
        ("bt", "BT_as_in_paper_and_RIM"),
    ):
        of_mode = {name: v for name, v in found.items() if name.endswith(f"_{mode}")}
        parts = [REFERENCE[case][n] for n in ("global", "local", "fusion_alpha", "fusion_comp")]
        np.testing.assert_allclose(sum(of_mode.values()), sum(parts), rtol=5e-6)
    assert {name for name in found if name.endswith("_rim")} == {
        "alpha_rim",
        "laplacian_rim",
        "composition_rim",
    }


def test_the_released_rim_trains_bt_on_the_prediction_of_ft(batch, outputs):
    merged = integrated(outputs)
    paper = value(gfm.objective(merged, batch, rosta="RIM"))
    released = value(gfm.objective(merged, batch, rosta="RIM", targets="released"))
    changed = {name for name in paper if abs(paper[name] - released[name]) > 1e-6}
    assert changed
    assert all(name.endswith("_bt") for name in changed)
    np.testing.assert_allclose(released["alpha_bt"], paper["alpha_ft"], rtol=1e-6)


@pytest.mark.parametrize("rosta", gfm.CLASSES)
def test_the_perfect_answer_costs_next_to_nothing_in_the_plain_form(batch, rosta):
    alpha = batch["alpha"]
    label, focus = gfm.rosta_targets(rosta, batch)
    classes = (
        (label[..., 0] > 0).astype(int) + (label[..., 0] >= 1)
        if rosta == "TT"
        else (label[..., 0] >= 1).astype(int)
    )
    logits = 40.0 * (jax.nn.one_hot(classes, gfm.CLASSES[rosta]) - 0.5)
    perfect = {
        "alpha": alpha,
        "focus": focus,
        "glance": jax.nn.sigmoid(logits),
        "glance_logits": logits,
    }
    mixed = alpha * batch["foreground"] + (1 - alpha) * batch["background"]
    terms = gfm.objective(perfect, batch | {"image": mixed}, rosta=rosta, form="plain")
    assert sum(value(terms).values()) < 1e-5


def test_rows_of_padding_change_nothing(batch, outputs):
    padded = {
        k: np.concatenate([v, np.full_like(v[:1], v.dtype.type(0))]) for k, v in batch.items()
    }
    more = {k: np.concatenate([v, np.full_like(v[:1], np.nan)]) for k, v in outputs["BT"].items()}
    padded["mask"] = np.array([True, True, False])
    for form in ("plain", "released"):
        expected = value(gfm.objective(outputs["BT"], batch, rosta="BT", form=form))
        found = value(gfm.objective(more, padded, rosta="BT", form=form))
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)


def test_the_fusion_teaches_the_focus_only_where_the_glance_is_unsure(batch, outputs):
    given = {name: jnp.asarray(v) for name, v in outputs["TT"].items()}

    def loss(glance, focus):
        alpha = gfm.collaborative_matting("TT", glance, focus)
        terms = gfm.objective(given | {"alpha": alpha}, batch, rosta="TT")
        return sum(terms[n][0] / terms[n][1] for n in ("alpha", "laplacian", "composition"))

    to_glance, to_focus = jax.grad(loss, argnums=(0, 1))(given["glance"], given["focus"])
    assert not to_glance.any()
    unsure = given["glance"].argmax(-1) == 1
    assert not to_focus[..., 0][~unsure].any()
    assert to_focus[..., 0][unsure].any()


def test_mistakes_are_named(batch, outputs):
    without = {name: v for name, v in batch.items() if name not in ("dilation", "erosion")}
    with pytest.raises(UserError, match=r"data.labels.bands=True"):
        gfm.objective(outputs["FT"], without, rosta="FT")
    with pytest.raises(UserError, match="paper, released"):
        gfm.objective(outputs["TT"], batch, rosta="TT", targets="papr")
