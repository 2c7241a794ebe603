import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import common
from jaxmatte.engine import optimizer, state
from jaxmatte.engine.checkpoint import Checkpoints, Position
from jaxmatte.engine.parallel import Parallel
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


def test_clipping_by_the_running_norm():
    """The first gradient passes and begins the norm; each later one enters it unclipped."""
    config = settings(name="sgd", momentum=0.0, learning_rate=1.0, clip_running=2.0)
    transformation = build(config)
    state, running = transformation.init(PARAMS), 0.0
    one = float(optax.tree.norm(GRADIENT))
    for size in (3.0, 1.0, 100.0, 0.5, 5.9, 6.7):
        gradient = jax.tree.map(lambda leaf, s=size: s * leaf, GRADIENT)
        updates, state = transformation.update(gradient, state, PARAMS)
        limit = 2 * running if running else np.inf
        running = 0.999 * running + 0.001 * size * one if running else size * one
        moved = float(optax.tree.norm(updates))
        assert moved == pytest.approx(min(size * one, limit), rel=1e-5)
        (kept,) = (s for s in jax.tree.leaves(state, is_leaf=is_running) if is_running(s))
        assert float(kept.norm) == pytest.approx(running, rel=1e-5)
    directions = jax.tree.map(lambda update, leaf: -update / leaf, updates, GRADIENT)
    shares = np.concatenate([np.ravel(part) for part in jax.tree.leaves(directions)])
    np.testing.assert_allclose(shares, shares[0], rtol=1e-5)


def is_running(node):
    return isinstance(node, optimizer.RunningNorm)


def test_the_running_norm_is_saved_with_the_optimizer(tmp_path):
    transformation = build(settings(clip_running=2.0))
    parallel = Parallel("jit")
    variables = {"params": PARAMS, "batch_stats": {}}

    def start():
        return state.from_variables(variables, transformation, jax.random.key(0), averaged=False)

    before = start()
    _, changed = transformation.update(GRADIENT, before.opt_state, PARAMS)
    saved = parallel.place(before.replace(opt_state=changed))
    with Checkpoints(tmp_path, common.base().checkpoint, parallel) as checkpoints:
        checkpoints.save(1, saved, Position(8, ""), {})
        checkpoints.wait()
        found, _ = checkpoints.restore(1, parallel.abstract(jax.eval_shape(start)))
    (kept,) = (s for s in jax.tree.leaves(found.opt_state, is_leaf=is_running) if is_running(s))
    assert float(kept.norm) == pytest.approx(float(optax.tree.norm(GRADIENT)))


def test_the_running_norm_is_of_what_is_trained_and_not_of_zeros():
    config = settings(
        name="sgd", momentum=0.0, learning_rate=1.0, clip_running=2.0, freeze=("^encoder/",)
    )
    transformation = build(config)
    state = transformation.init(PARAMS)
    norms = []
    for size in (0.0, 1.0, 10.0):
        gradient = jax.tree.map(lambda leaf, s=size: s * leaf, GRADIENT)
        updates, state = transformation.update(gradient, state, PARAMS)
        assert not updates["encoder"]["conv"]["kernel"].any()
        norms.append(float(optax.tree.norm(updates["head"])))
    # A gradient of 0 does not begin it: nothing would ever move.
    head = float(optax.tree.norm(GRADIENT["head"]))
    np.testing.assert_allclose(norms, [0.0, head, 2 * head], rtol=1e-6)


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
        ({"schedule": "polynomial"}, 0, 1.0),
        ({"schedule": "polynomial", "power": 2.0}, 50, 0.25),
        ({"schedule": "polynomial", "power": 1.0, "final": 0.2}, 50, 0.6),
        ({"schedule": "polynomial", "final": 0.1}, 100, 0.1),
        ({"schedule": "polynomial", "final": 0.1}, 130, 0.1),
        ({"warmup": "20 steps", "schedule": "polynomial", "power": 1.0}, 60, 0.5),
        ({"warmup": "10 steps", "warmup_from": 0.2}, 0, 0.2),
        ({"warmup": "10 steps", "warmup_from": 0.2}, 5, 0.6),
        ({"warmup": "10 steps", "warmup_from": 0.2}, 10, 1.0),
        ({"warmup": "10 steps", "warmup_from": 0.01, "warmup_shape": "exponential"}, 0, 0.01),
        ({"warmup": "10 steps", "warmup_from": 0.01, "warmup_shape": "exponential"}, 5, 0.1),
        ({"warmup": "10 steps", "warmup_from": 0.01, "warmup_shape": "exponential"}, 10, 1.0),
        ({"warmup_from": 0.2}, 0, 1.0),  # without a warm-up
    ],
)
def test_schedules(changes, at, expected):
    np.testing.assert_allclose(rates(100, **changes)(at), expected, atol=1e-6)


def rates(total, **changes):
    config = settings(**{"learning_rate": 1.0} | changes)
    return optimizer.schedule(config, total, lambda text, field: int(text.split()[0]))


def test_bisenetv2s_schedule_as_its_authors_program_prints_it():
    rate = rates(
        150_000,
        schedule="polynomial",
        power=0.9,
        warmup="1000 steps",
        warmup_shape="exponential",
        warmup_from=0.1,
    )
    expected = {
        0: 0.1,
        1: 0.10023052380778998,
        500: 0.31622776601683794,
        999: 0.9977000638225533,
        1000: 1.0,
        1001: 0.9999939597295167,
        50_000: 0.6984452343850077,
        75_000: 0.5391225474428722,
        149_999: 2.208677761557593e-05,
    }
    given = [float(jax.jit(rate)(jnp.int32(at))) for at in expected]
    np.testing.assert_allclose(given, list(expected.values()), rtol=1e-6)


def test_ppmattings_schedule_from_its_formula():
    plain = rates(300_000, learning_rate=0.01, schedule="polynomial")
    warmed = rates(
        300_000,
        learning_rate=0.01,
        schedule="polynomial",
        warmup="1000 steps",
        warmup_from=1e-3,
    )
    for at in (0, 1, 150_000, 299_999):
        np.testing.assert_allclose(plain(at), 0.01 * (1 - at / 300_000) ** 0.9, rtol=1e-5)
    for at in (0, 1, 500, 999):
        np.testing.assert_allclose(warmed(at), 1e-5 + (0.01 - 1e-5) * at / 1000, rtol=1e-5)
    for at in (1000, 150_000, 299_999):
        after_warmup = 1 - (at - 1000) / 299_000
        np.testing.assert_allclose(warmed(at), 0.01 * after_warmup**0.9, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "rmsprop"}, "optimizer.name"),
        ({"schedule": "spiral"}, "optimizer.schedule='spiral'; there are: .*polynomial"),
        ({"schedule": "polynomial", "power": 0.0}, "optimizer.power=0.0"),
        ({"warmup_shape": "square"}, "optimizer.warmup_shape='square'; there are: linear, exp"),
        ({"warmup_shape": "exponential"}, "optimizer.warmup_from=0"),
        ({"warmup_from": 1.5}, "optimizer.warmup_from=1.5"),
        ({"clip_running": 0.5}, "optimizer.clip_running=0.5: give 1 or more"),
        ({"freeze": ("decoder",)}, "optimizer.freeze: no parameter"),
        ({"groups": (("(", 1.0),)}, "not a regular expression"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(UserError, match=message):
        build(settings(**changes))
