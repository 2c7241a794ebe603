"""A step beside the plain one: statistics that stay, and a frozen copy to compare with."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmatte.engine import state, steps
from jaxmatte.engine.parallel import Parallel
from jaxmatte.errors import UserError
from tests.engine import toys


def distance(outputs, batch):
    """Draws the student towards the true alpha, and keeps it near the frozen copy."""
    alpha, taught = outputs["alpha"], batch["teacher"]["alpha"]
    count = jnp.float32(alpha.size)
    return {
        "truth": (jnp.sum(jnp.square(alpha - batch["alpha"])), count),
        "teacher": (jnp.sum(jnp.square(alpha - taught)), count),
    }


def step_of(every, statistics="running", objective=distance):
    return functools.partial(
        steps.train_step,
        model=toys.Toy(),
        objective=objective,
        optimizer=toys.OPTIMIZER,
        statistics=statistics,
        teacher_every=every,
    )


def taught_state():
    return state.create(toys.Toy(), toys.OPTIMIZER, jax.random.key(1), False, taught=True)


def alpha_of(variables, batch):
    return toys.Toy().apply(variables, batch["image"], train=False)["alpha"]


def test_the_frozen_copy_is_taken_anew_every_so_many_steps():
    step, now, batch = jax.jit(step_of(every=3)), taught_state(), toys.batch(0)
    copy = None
    for number in range(7):
        before = now.variables
        copy = before if number % 3 == 0 else copy
        expected = jnp.mean(jnp.square(alpha_of(before, batch) - alpha_of(copy, batch)))
        now, scalars = step(now, batch)
        np.testing.assert_allclose(scalars["teacher"], expected, rtol=1e-5, atol=1e-9)
        assert (scalars["teacher"] == 0) == (number % 3 == 0)
        assert toys.difference(now.teacher, copy) == 0
        assert toys.difference(now.params, before["params"]) > 0


def test_the_frozen_copy_survives_a_restart_in_between():
    step, batch = jax.jit(step_of(every=3)), toys.batch(0)
    now = taught_state()
    for _ in range(2):
        now, _ = step(now, batch)
    # What a checkpoint holds is the whole tree, so going on from it is going on.
    again = jax.tree.unflatten(
        jax.tree.structure(now), [leaf.copy() for leaf in jax.tree.leaves(now)]
    )
    one, other = step(now, batch)[0], step(again, batch)[0]
    assert toys.difference(one.params, other.params) == 0
    assert toys.difference(one.teacher, other.teacher) == 0


def test_no_gradient_reaches_the_frozen_copy():
    """With every=1 student and copy are one: their distance has no gradient, only truth draws."""
    batch = toys.batch(1)
    alone, _ = jax.jit(step_of(1, objective=lambda o, b: {"truth": distance(o, b)["truth"]}))(
        taught_state(), batch
    )
    both, _ = jax.jit(step_of(1))(taught_state(), batch)
    assert toys.difference(alone.params, both.params) == 0


def test_running_statistics_stay_and_take_a_batch_of_one_value():
    batch = {name: value[:1] for name, value in toys.batch(2, side=1).items()}
    now = taught_state()
    with pytest.raises(UserError, match="a batch of one picture cannot train norm"):
        jax.eval_shape(step_of(1, statistics="batch"), now, batch)
    after, scalars = jax.jit(step_of(1))(now, batch)
    assert toys.difference(after.batch_stats, now.batch_stats) == 0
    assert toys.difference(after.params["norm"], now.params["norm"]) > 0
    assert np.isfinite(scalars["loss"])


def test_the_frozen_copy_under_pmap_equals_jit():
    batch, found = toys.batch(3), []
    for mode in ("jit", "pmap"):
        parallel = Parallel(mode, 16)
        step = parallel.compile_train(step_of(every=2))
        now = parallel.place(taught_state())
        for _ in range(3):
            now, _ = step(now, parallel.put(batch))
        found.append(parallel.to_host((now.variables, now.teacher)))
    assert toys.difference(*found) < 1e-5


def test_an_objective_without_a_frozen_copy_gets_none():
    def none_given(outputs, batch):
        assert "teacher" not in batch
        return {"one": (jnp.sum(outputs["alpha"]), jnp.float32(1))}

    now = toys.new_state()
    assert now.teacher is None
    jax.eval_shape(step_of(0, objective=none_given), now, toys.batch(0))
