"""Losses: value and gradient against the reference's, and the properties of the plain forms."""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmatte import losses
from jaxmatte.errors import UserError
from tests.parity.fill import picture

REFERENCE = json.loads((pathlib.Path(__file__).parent / "parity/gfm_losses.json").read_text())[
    "losses"
]


def draw(name, channels=1):
    return picture(f"gfm/loss/{name}", (2, 64, 96, channels))


def case():
    soft = draw("alpha").astype(np.float64)
    plane = draw("trimap").astype(np.float64)
    return {
        "alpha": np.round(255 * np.clip((soft - 0.35) / 0.30, 0, 1)).astype(np.float32) / 255,
        "trimap": np.where(plane < 0.4, 0, np.where(plane > 0.6, 1, 128 / 255)).astype("f4"),
        "mixed": np.round(255 * plane).astype(np.float32) / 255,
        "dilation": (soft > 0.25).astype(np.float32),
        "erosion": (soft > 0.75).astype(np.float32),
        "prediction": draw("pred"),
        "glance3": draw("glance3", 3),
        "glance2": draw("glance2", 2),
        "image": draw("img", 3),
        "foreground": draw("fg", 3),
        "background": draw("bg", 3),
    }


CASE = case()


def entropy(glance, label):
    def loss(prediction):
        classes = prediction.shape[-1]
        target = losses.glance_target(CASE[label], classes, "released")
        return losses.cross_entropy(prediction, target)

    return CASE[glance], loss


def matte(function, *others, **options):
    return CASE["prediction"], lambda p: function(p, *others, form="released", **options)


def composition(prediction):
    return losses.composition_loss(
        prediction, CASE["foreground"], CASE["background"], CASE["image"], form="released"
    )


UNKNOWN = np.asarray(losses.transition(CASE["trimap"], "released"))
RELEASED = {
    "crossentropy_3class": entropy("glance3", "trimap"),
    "crossentropy_3class_mixed_trimap": entropy("glance3", "mixed"),
    "crossentropy_2class_alpha": entropy("glance2", "alpha"),
    "crossentropy_2class_mixed_trimap": entropy("glance2", "mixed"),
    "alpha_transition": matte(losses.alpha_loss, CASE["alpha"], UNKNOWN),
    "alpha_transition_empty": matte(losses.alpha_loss, CASE["alpha"], 0 * UNKNOWN),
    "alpha_whole": matte(losses.alpha_loss, CASE["alpha"]),
    "laplacian_transition": matte(losses.laplacian_loss, CASE["alpha"], UNKNOWN),
    "laplacian_whole": matte(losses.laplacian_loss, CASE["alpha"]),
    "composition_whole": (CASE["prediction"], composition),
}


@pytest.mark.parametrize("name", RELEASED)
def test_released_value_and_gradient(name):
    prediction, loss = RELEASED[name]

    def quotient(prediction):
        total, weight = loss(prediction)
        return total / weight

    value, gradient = jax.jit(jax.value_and_grad(quotient))(prediction)
    gradient = np.asarray(gradient, np.float64)
    expected = REFERENCE[name]
    np.testing.assert_allclose(value, expected["value"], rtol=2e-6)
    # The reference took this norm in float32: it is above the largest that its own gradient, a
    # mean's, can have (1/sqrt(12288) for alpha_whole) by 8e-6 of itself.
    np.testing.assert_allclose(np.sqrt((gradient**2).sum()), expected["grad_l2"], rtol=1e-5)
    np.testing.assert_allclose(np.abs(gradient).sum(), expected["grad_abs_sum"], rtol=2e-6)


def test_released_kernel():
    kernel = losses.gaussian_kernel("released")
    np.testing.assert_allclose(kernel, REFERENCE["gauss_kernel_5x5"], atol=1e-9)


def test_released_pyramid():
    pyramid = jax.jit(lambda p: losses.laplacian_pyramid(p, form="released"))(CASE["prediction"])
    assert len(pyramid) == len(REFERENCE["laplacian_levels_of_pred"])
    for band, expected in zip(pyramid, REFERENCE["laplacian_levels_of_pred"], strict=True):
        batch, channels, height, width = expected["shape"]
        assert band.shape == (batch, height, width, channels)
        band = np.asarray(band, np.float64)
        np.testing.assert_allclose(np.abs(band).sum(), expected["abs_sum"], rtol=2e-6)
        np.testing.assert_allclose(band.sum(), expected["sum"], atol=2e-6 * expected["abs_sum"])


def fuse(rosta):
    """Collaborative matting, as the paper states it."""
    focus = CASE["prediction"]
    chosen = np.argmax(CASE["glance3" if rosta == "TT" else "glance2"], axis=-1)[..., None]
    if rosta == "TT":
        return np.select([chosen == 0, chosen == 1], [0 * focus, focus], 1.0).astype("f4")
    return np.clip(chosen + focus if rosta == "FT" else chosen - focus, 0, 1).astype("f4")


@pytest.mark.parametrize("rosta", ["TT", "FT", "BT"])
@pytest.mark.parametrize("form", ["as_coded", "as_in_paper_and_RIM"])
def test_released_step(rosta, form):
    """The four terms of a training step and their sum."""
    fused = fuse(rosta)
    np.testing.assert_allclose(
        np.abs(fused).sum(dtype=np.float64), REFERENCE["fusion"][rosta]["abs_sum"], rtol=1e-6
    )
    label, target = {
        ("TT", "as_coded"): ("trimap", CASE["alpha"]),
        ("FT", "as_coded"): ("dilation", CASE["alpha"] - CASE["erosion"]),
        ("BT", "as_coded"): ("alpha", CASE["dilation"] - CASE["alpha"]),
        ("FT", "as_in_paper_and_RIM"): ("erosion", CASE["alpha"] - CASE["erosion"]),
        ("BT", "as_in_paper_and_RIM"): ("dilation", CASE["dilation"] - CASE["alpha"]),
    }.get((rosta, form), ("trimap", CASE["alpha"]))
    prediction, glance = entropy("glance3" if rosta == "TT" else "glance2", label)
    focus, released = CASE["prediction"], {"form": "released"}
    terms = {
        "global": [glance(prediction)],
        "local": [
            losses.alpha_loss(focus, target, UNKNOWN, **released),
            losses.laplacian_loss(focus, target, UNKNOWN, **released),
        ],
        "fusion_alpha": [
            losses.alpha_loss(fused, CASE["alpha"], **released),
            losses.laplacian_loss(fused, CASE["alpha"], **released),
        ],
        "fusion_comp": [composition(fused)],
    }
    expected = REFERENCE["step"]["TT" if rosta == "TT" else f"{rosta}_{form}"]
    values = {name: sum(total / weight for total, weight in pairs) for name, pairs in terms.items()}
    for name, value in values.items():
        np.testing.assert_allclose(value, expected[name], rtol=2e-6)
    np.testing.assert_allclose(0.25 * sum(values.values()), expected["total_0.25_each"], rtol=2e-6)


def rows(selection):
    return {name: array[selection] for name, array in CASE.items()}


@functools.partial(jax.jit, static_argnames=("form", "replicas"))
def pairs(part, form, mask=None, replicas=1):
    """Every loss over some rows of the case."""
    unknown = losses.transition(part["trimap"], form)
    target = losses.glance_target(part["trimap"], 3, form)
    colours = (part["foreground"], part["background"], part["image"])
    two = (part["prediction"], part["alpha"])
    return {
        "entropy": losses.cross_entropy(part["glance3"], target, mask=mask),
        "alpha": losses.alpha_loss(*two, mask=mask, form=form),
        "alpha region": losses.alpha_loss(*two, unknown, mask=mask, form=form, replicas=replicas),
        "laplacian": losses.laplacian_loss(*two, mask=mask, form=form),
        "laplacian region": losses.laplacian_loss(*two, unknown, mask=mask, form=form),
        "composition": losses.composition_loss(two[0], *colours, mask=mask, form=form),
        "gradient": losses.gradient_loss(*two, mask=mask),
        "gradient region": losses.gradient_loss(*two, unknown, mask=mask),
    }


@pytest.mark.parametrize("form", ["plain", "released"])
def test_pairs_add_up_over_replicas(form):
    """Summed pairs of two replicas are the pair of the whole batch, the released +1 included."""
    whole = pairs(CASE, form)
    first, second = (pairs(rows(slice(i, i + 1)), form, replicas=2) for i in range(2))
    for name in whole:
        np.testing.assert_allclose(
            np.add(first[name], second[name]), np.asarray(whole[name]), rtol=2e-6, err_msg=name
        )


@pytest.mark.parametrize("form", ["plain", "released"])
def test_padded_rows_do_not_count(form):
    alone = pairs(rows(slice(0, 1)), form)
    poisoned = {name: array.copy() for name, array in CASE.items()}
    for array in poisoned.values():
        array[1] = np.nan
    masked = pairs(poisoned, form, jnp.array([True, False]))
    for name in alone:
        np.testing.assert_allclose(
            np.asarray(masked[name]), np.asarray(alone[name]), rtol=2e-6, err_msg=name
        )
    unknown = losses.transition(poisoned["trimap"], form)

    @jax.jit
    def loss(prediction):
        options = {"mask": jnp.array([True, False]), "form": form}
        total, weight = losses.alpha_loss(prediction, poisoned["alpha"], unknown, **options)
        more, pixels = losses.laplacian_loss(prediction, poisoned["alpha"], **options)
        return total / weight + more / pixels

    gradient = np.asarray(jax.grad(loss)(poisoned["prediction"]))
    assert np.isfinite(gradient).all()
    assert np.abs(gradient[0]).sum() > 0
    assert not gradient[1].any()


def test_plain_alpha_is_a_mean_over_the_region():
    alpha = jnp.zeros((1, 4, 4, 1))
    region = alpha.at[0, 0, :2].set(1.0)
    prediction = alpha.at[0, 0, 0].set(0.5).at[0, 3, 3].set(1.0)
    total, weight = losses.alpha_loss(prediction, alpha, region)
    np.testing.assert_allclose(total / weight, 0.25, atol=1e-6)
    total, weight = losses.alpha_loss(prediction, alpha, 0 * region)
    assert (total, weight) == (0, 0)


@pytest.mark.parametrize("loss", [losses.alpha_loss, losses.laplacian_loss, losses.gradient_loss])
def test_gradient_at_the_truth_is_finite_and_zero(loss):
    alpha = CASE["alpha"]
    total, gradient = jax.jit(jax.value_and_grad(lambda p: loss(p, alpha)[0]))(alpha)
    assert total <= 1.1e-6 * alpha.size
    assert not np.asarray(gradient).any()


def test_plain_laplacian_is_the_literatures():
    """The sum over levels of 2^level times the L1 norm, per pixel, from scratch in NumPy."""
    bell = np.exp(-0.5 * (np.arange(5) - 2.0) ** 2)
    kernel = np.outer(bell, bell) / bell.sum() ** 2
    np.testing.assert_allclose(losses.gaussian_kernel(), kernel, atol=1e-12)
    difference = (CASE["prediction"] - CASE["alpha"]).astype(np.float64)[0, ..., 0]
    pixels, expected = difference.size, 0.0
    for level in range(5):
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(difference, 2, "edge"), (5, 5))
        blurred = (windows * kernel).sum((-1, -2))
        expected += 2**level * np.abs(difference - blurred).sum()
        height, width = (side // 2 for side in blurred.shape)
        difference = blurred.reshape(height, 2, width, 2).mean((1, 3))
    expected += 2**5 * np.abs(difference).sum()
    loss = jax.jit(losses.laplacian_loss)
    total, weight = loss(CASE["prediction"][:1], CASE["alpha"][:1])
    np.testing.assert_allclose(total / weight, expected / pixels, rtol=1e-5)


def test_plain_composition_is_a_mean_over_pixels_and_channels():
    colours = (CASE["foreground"], CASE["background"], CASE["image"])
    plain, pixels = losses.composition_loss(CASE["prediction"], *colours)
    summed, _ = losses.composition_loss(CASE["prediction"], *colours, form="released")
    assert pixels == 2 * 64 * 96
    np.testing.assert_allclose(summed / plain, 3, rtol=1e-5)
    # Of no difference the root leaves its epsilon, the released one in 0..255 units.
    black = [0 * colour for colour in colours]
    plain, _ = losses.composition_loss(CASE["prediction"], *black)
    summed, _ = losses.composition_loss(CASE["prediction"], *black, form="released")
    np.testing.assert_allclose(plain / pixels, 1e-6, rtol=1e-5)
    np.testing.assert_allclose(summed / pixels, 3e-6 / 255, rtol=1e-5)


def test_gradient_loss_of_a_step():
    """A step one pixel high costs 1 at each of the pixels before it."""
    alpha = jnp.zeros((1, 6, 8, 1))
    total, weight = losses.gradient_loss(alpha.at[:, :, 4:].set(1.0), alpha)
    assert (total, weight) == (6, 48)


def test_transition_forms():
    values = jnp.array([0, 1 / 255, 127 / 255, 0.5, 128 / 255, 129 / 255, 1.0]).reshape(1, 1, 7, 1)
    assert losses.transition(values).ravel().tolist() == [0, 1, 1, 1, 1, 1, 0]
    assert losses.transition(values, "released").ravel().tolist() == [0, 0, 0, 1, 1, 0, 0]


def test_glance_target_forms():
    label = (jnp.array([0, 1, 2, 3, 128, 254, 255]) / 255).reshape(1, 1, 7, 1)
    assert losses.glance_target(label, 3).ravel().tolist() == [0, 1, 1, 1, 1, 1, 2]
    assert losses.glance_target(label, 3, "released").ravel().tolist() == [0, 1, 2, 1, 1, 1, 2]
    assert losses.glance_target(label, 2).ravel().tolist() == [0, 0, 0, 0, 0, 0, 1]


def test_cross_entropy_of_certain_logits_is_zero():
    target = jnp.array([[[0, 1, 2]]])
    logits = 100 * jax.nn.one_hot(target, 3)
    total, weight = losses.cross_entropy(logits, target)
    assert (total, weight) == (0, 3)


def test_mistakes_are_named():
    alpha = jnp.zeros((1, 8, 8, 1))
    with pytest.raises(UserError, match="sides of 32 pixels"):
        losses.laplacian_loss(alpha, alpha)
    with pytest.raises(UserError, match="no form 'relased'"):
        losses.alpha_loss(alpha, alpha, form="relased")
    with pytest.raises(UserError, match="4 level_weights, not 2"):
        losses.laplacian_loss(alpha, alpha, levels=3, level_weights=(1.0, 2.0))
    with pytest.raises(UserError, match="2 or 3 classes"):
        losses.glance_target(alpha, 4)
