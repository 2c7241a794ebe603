"""What BiSeNet V2 minimises, against the published code's numbers; and that it is never NaN."""

import gzip
import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import bisenetv2 as configs
from jaxmatte import papers, weights
from jaxmatte.engine import optimizer
from jaxmatte.errors import UserError
from jaxmatte.papers import bisenetv2
from jaxmatte.papers.bisenetv2 import learning
from jaxmatte.papers.contract import abstract_variables
from tests.papers import test_bisenetv2 as networks
from tests.parity import fill

PARITY = pathlib.Path(__file__).parent.parent / "parity"
LOSSES = json.loads(gzip.decompress((PARITY / "bisenetv2.json.gz").read_bytes()))["losses"]
ARRAYS = np.load(PARITY / "bisenetv2.npz")
LABEL = jnp.asarray(ARRAYS["labels"].astype(np.int32))[..., None]


def logits(case):
    """6 (picture - 0.5), and 5 or 14 more for the true class."""
    values = 6 * (fill.picture("bisenetv2/loss/logits", (2, 32, 48, 19)).astype(np.float64) - 0.5)
    chosen = np.asarray(LABEL) == np.arange(19)
    return jnp.asarray(values + {"hard": 0, "mixed": 5, "easy": 14}[case] * chosen, jnp.float32)


def mean(values, label, mask=None, **options):
    batch = {"label": label} if mask is None else {"label": label, "mask": mask}
    total, weight = bisenetv2.objective({"logits": values, "auxiliary": ()}, batch, **options)[
        "main"
    ]
    return total / jnp.maximum(weight, 1e-9)


@pytest.mark.parametrize("case", ["hard", "mixed", "easy"])
def test_hard_examples_are_the_published_ones(case):
    value, gradient = jax.value_and_grad(mean)(logits(case), LABEL)
    np.testing.assert_allclose(value, LOSSES[f"ohem_{case}"]["value"], rtol=1e-4)
    expected = ARRAYS[f"gradient_{case}"]
    error = np.abs(np.asarray(gradient)[:, ::3, ::3] - expected).max()
    assert error <= 1e-3 * np.abs(expected).max()
    plain = mean(logits(case), LABEL, form="cross_entropy")
    rtol = 2e-3 if case == "easy" else 1e-5  # of losses of 1e-5, float32 keeps three digits
    np.testing.assert_allclose(plain, LOSSES[f"cross_entropy_mean_valid_{case}"], rtol=rtol)


def test_the_least_number_is_chosen_exactly():
    rng = np.random.default_rng(0)
    # Few values, so that many are equal at the border.
    entropy = jnp.asarray(rng.integers(0, 9, (2, 24, 24)) / 64, jnp.float32)
    valid = jnp.asarray(rng.random((2, 24, 24)) < 0.7)
    chosen = learning.ohem(entropy, valid)
    least = int(valid.sum()) // 16
    ordered = np.sort(np.asarray(entropy)[np.asarray(valid)])[::-1]
    np.testing.assert_allclose(chosen.sum(), least, rtol=1e-5)
    np.testing.assert_allclose((chosen * entropy).sum(), ordered[:least].sum(), rtol=1e-4)
    for k in (1, 7, least, ordered.size):
        assert learning.kth_greatest(jnp.asarray(ordered), jnp.int32(k)) == ordered[k - 1]


@pytest.mark.parametrize("form", learning.FORMS)
def test_what_is_no_class_counts_for_nothing(form):
    values = logits("mixed")
    gradient = jax.grad(lambda v, label, mask: mean(v, label, mask, form=form))
    keep = jnp.ones(2, bool)
    for nothing in (255, -1, 19, 127):
        label = jnp.full_like(LABEL, nothing)
        total, weight = bisenetv2.objective(
            {"logits": values, "auxiliary": ()}, {"label": label}, form=form
        )["main"]
        assert total == weight == 0
        assert not gradient(values, label, keep).any()
    # A row of padding counts neither, even with NaN in it.
    padded = values.at[1].set(jnp.nan)
    mask = jnp.asarray([True, False])
    np.testing.assert_allclose(
        mean(padded, LABEL, mask, form=form), mean(values[:1], LABEL[:1], form=form), rtol=1e-4
    )
    found = gradient(padded, LABEL, mask)
    assert np.isfinite(found).all()
    assert found[0].any()
    assert not found[1].any()


def test_every_head_counts_once_and_classes_by_their_weight():
    values = logits("hard")
    outputs = {"logits": values, "auxiliary": (2 * values, values, values, 0 * values)}
    terms = bisenetv2.objective(outputs, {"label": LABEL})
    assert tuple(terms) == learning.TERMS
    total, weight = terms["stage5"]
    np.testing.assert_allclose(total / weight, np.log(19), rtol=1e-4)
    only = [0.0] * 19
    only[3] = 2.0
    weighted = mean(values, LABEL, form="cross_entropy", class_weights=tuple(only))
    third = mean(values, jnp.where(LABEL == 3, 3, 255), form="cross_entropy")
    np.testing.assert_allclose(weighted, third, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "batch", "words"),
    [
        ({"form": "focal"}, {"label": LABEL}, "ohem, cross_entropy"),
        ({"threshold": 1.0}, {"label": LABEL}, "threshold=1.0"),
        ({"class_weights": (1.0, 2.0)}, {"label": LABEL}, "2 numbers for 19 classes"),
        ({}, {}, "data.route"),
    ],
)
def test_mistakes_are_named(options, batch, words):
    with pytest.raises(UserError, match=words):
        bisenetv2.objective({"logits": logits("hard"), "auxiliary": ()}, batch, **options)


def test_the_heads_learn_ten_times_faster_and_kernels_alone_decay():
    config = configs.get_config("track=cityscapes")
    ((pattern, factor),) = config.optimizer.groups
    assert factor == 10
    variables = abstract_variables(papers.build("bisenetv2", **config.model))
    for path, entry in variables.items():
        if path[0] == "params":
            name = "/".join(path[1:])
            assert bool(re.search(pattern, name)) == (path[1][:4] in ("head", "auxi"))
            assert bool(re.search(config.optimizer.decay_pattern, name)) == (len(entry.shape) == 4)


def test_the_rate_is_the_codes():
    config = configs.get_config("track=cityscapes").optimizer
    rate = optimizer.schedule(config, 150_000, lambda text, _: int(text.split()[0]))
    for step, ratio in LOSSES["lr_ratio"].items():
        np.testing.assert_allclose(rate(jnp.int32(step)), 5e-3 * ratio, rtol=2e-5, err_msg=step)


@pytest.mark.slow
def test_a_whole_training_step_is_the_codes():
    model = networks.build("coincheung_3", dropout=0.0)
    variables = weights.convert(networks.state("coincheung_3"), model)
    image = fill.picture("bisenetv2/train_input", (2, 64, 96, 3))
    label = jnp.asarray(ARRAYS["train_labels"].astype(np.int32))[..., None]

    def loss(params):
        outputs, _ = model.apply(
            {**variables, "params": params}, image, train=True, mutable=["batch_stats"]
        )
        terms = papers.module("bisenetv2").objective(outputs, {"label": label})
        found = {name: total / weight for name, (total, weight) in terms.items()}
        return sum(found.values()), found

    gradient, terms = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    expected = LOSSES["network_step"]["float64"]
    for ours, theirs in zip(learning.TERMS, ("logits", *networks.AUXILIARY), strict=True):
        np.testing.assert_allclose(terms[ours], expected["terms"][theirs], rtol=1e-4)
    entries = bisenetv2.official(model).entries
    for name, norm in expected["grad_l2_norm"].items():
        found = gradient
        for part in entries[name].path[1:]:
            found = found[part]
        # Float32 is noisy before the context's norm, which sees two values a channel.
        rtol = 0.1 if name.startswith("segment") else 3e-3
        np.testing.assert_allclose(np.linalg.norm(found), norm, rtol=rtol, err_msg=name)
