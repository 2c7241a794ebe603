import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import common
from jaxmatte.engine import optimizer
from jaxmatte.errors import UserError

PARAMS = {
    "encoder": {"conv": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}},
    "head": {"conv": {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.ones(2)}},
}
GRADIENT = jax.tree.map(lambda leaf: 0.5 * jnp.ones_like(leaf), PARAMS)


def settings(**changes):
    config = common.base().optimizer
    config.update(changes)
    return config


def build(config, total=100):
    rate = optimizer.schedule(config, total, lambda text, field: int(text.split()[0]))
    return optimizer.build(config, PARAMS, rate)


def after(config, steps=1, gradient=GRADIENT):
    transformation, params = build(config), PARAMS
    state = transformation.init(params)
    for _ in range(steps):
        updates, state = transformation.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params


def test_plain_sgd_goes_down_the_gradient():
    moved = after(settings(name="sgd", momentum=0.0, learning_rate=0.1))
    np.testing.assert_allclose(moved["encoder"]["conv"]["kernel"], 0.95)


def test_sgd_and_adam_add_decay_to_the_gradient_and_adamw_beside_it():
    # PyTorch's SGD: p - lr (g + wd p); its AdamW: p - lr (g_hat + wd p); decay on kernels only.
    sgd = after(settings(name="sgd", momentum=0.0, learning_rate=0.1, weight_decay=0.01))
    np.testing.assert_allclose(sgd["head"]["conv"]["kernel"], 2 - 0.1 * (0.5 + 0.01 * 2), rtol=1e-6)
    np.testing.assert_allclose(sgd["head"]["conv"]["bias"], 0.95, rtol=1e-6)
    adamw = after(settings(name="adamw", learning_rate=0.1, weight_decay=0.01))
    np.testing.assert_allclose(adamw["head"]["conv"]["kernel"], 2 - 0.1 * (1 + 0.02), rtol=1e-5)
    # With its decay in the gradient, Adam's first step has length lr whatever the decay is.
    adam = after(settings(name="adam", learning_rate=0.1, weight_decay=0.01))
    np.testing.assert_allclose(adam["head"]["conv"]["kernel"], 2 - 0.1, rtol=1e-5)


def test_groups_scale_the_rate_and_the_first_match_counts():
    config = settings(
        name="sgd", momentum=0.0, learning_rate=0.1, groups=(("encoder/", 0.1), ("kernel", 10.0))
    )
    moved = after(config)
    np.testing.assert_allclose(moved["encoder"]["conv"]["kernel"], 1 - 0.005)
    np.testing.assert_allclose(moved["head"]["conv"]["kernel"], 2 - 0.5)
    np.testing.assert_allclose(moved["head"]["conv"]["bias"], 0.95)


def test_frozen_parameters_stay_and_do_not_count_in_the_clipped_norm():
    config = settings(
        name="sgd",
        momentum=0.0,
        learning_rate=1.0,
        freeze=("^encoder/",),
        clip=0.1,
        weight_decay=0.0,
        groups=(("head/.*/bias", 0.5),),
    )
    moved = after(config)
    np.testing.assert_array_equal(moved["encoder"]["conv"]["kernel"], 1.0)
    norm = np.sqrt(6 * 0.25)  # of the head alone
    np.testing.assert_allclose(moved["head"]["conv"]["kernel"], 2 - 0.5 * 0.1 / norm, rtol=1e-6)
    np.testing.assert_allclose(moved["head"]["conv"]["bias"], 1 - 0.25 * 0.1 / norm, rtol=1e-6)


def test_accumulation_moves_every_second_batch_by_the_mean():
    config = settings(name="sgd", momentum=0.0, learning_rate=0.1, accumulate=2)
    np.testing.assert_array_equal(after(config, 1)["head"]["conv"]["bias"], 1.0)
    np.testing.assert_allclose(after(config, 2)["head"]["conv"]["bias"], 0.95)


@pytest.mark.parametrize(
    ("changes", "at", "expected"),
    [
        ({}, 50, 1.0),
        ({"schedule": "cosine"}, 50, 0.5),
        ({"schedule": "cosine", "final": 0.1}, 100, 0.1),
        ({"schedule": "linear"}, 75, 0.25),
        ({"schedule": "step", "step_at": ("50 steps", "80 steps")}, 60, 0.1),
        ({"schedule": "step", "step_at": ("50 steps", "80 steps")}, 90, 0.01),
        ({"warmup": "10 steps"}, 0, 0.1),
        ({"warmup": "10 steps"}, 9, 1.0),
        ({"warmup": "10 steps", "schedule": "linear"}, 55, 0.5),
    ],
)
def test_schedules(changes, at, expected):
    config = settings(learning_rate=1.0, **changes)
    rate = optimizer.schedule(config, 100, lambda text, field: int(text.split()[0]))
    np.testing.assert_allclose(rate(at), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "rmsprop"}, "optimizer.name"),
        ({"schedule": "spiral"}, "optimizer.schedule"),
        ({"freeze": ("decoder",)}, "optimizer.freeze: no parameter"),
        ({"groups": (("(", 1.0),)}, "not a regular expression"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(UserError, match=message):
        build(settings(**changes))
