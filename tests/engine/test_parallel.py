import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmatte.engine import steps
from jaxmatte.engine.parallel import Parallel, StopSignal
from jaxmatte.errors import UserError
from tests.engine import toys

ROUNDS = 5


def one_device(rounds=ROUNDS):
    run = jax.jit(toys.step())
    now, losses = toys.new_state(), []
    for number in range(rounds):
        now, scalars = run(now, {k: jnp.asarray(v) for k, v in toys.batch(number).items()})
        losses.append(float(scalars["loss"]))
    return now, losses


def many_devices(mode, bn_axis=None, rounds=ROUNDS):
    parallel = Parallel(mode, 16)
    assert parallel.devices == 8
    run = parallel.compile_train(toys.step(bn_axis))
    now, losses = parallel.place(toys.new_state()), []
    for number in range(rounds):
        now, scalars = run(now, parallel.put(toys.batch(number)))
        losses.append(float(scalars["loss"]))
    return now, losses


@pytest.mark.parametrize(("mode", "bn_axis"), [("jit", None), ("pmap", "data")])
def test_eight_devices_equal_one_with_uneven_masks(mode, bn_axis):
    expected, expected_losses = one_device()
    found, losses = many_devices(mode, bn_axis)
    assert toys.difference(found.params, expected.params) < 1e-5
    assert toys.difference(found.batch_stats, expected.batch_stats) < 1e-5
    np.testing.assert_allclose(losses, expected_losses, atol=1e-5)
    assert int(found.step) == ROUNDS
    assert int(found.examples_seen) == ROUNDS * 16


def test_a_mean_of_means_would_be_seen():
    """The masks are uneven enough that averaging the replicas' losses fails the test above."""
    weights = toys.batch(0)
    unknown = ((weights["trimap"] == 128).sum((1, 2, 3)) * weights["mask"]).reshape(8, 2).sum(1)
    assert unknown.max() > 10 * max(unknown.min(), 1)


def test_per_replica_statistics_equal_a_plain_loop_over_the_shards():
    model, params_state = toys.Toy(), toys.new_state()
    params, stats = params_state.params, params_state.batch_stats
    opt_state = toys.OPTIMIZER.init(params)
    for number in range(ROUNDS):
        whole = steps.decode({k: jnp.asarray(v) for k, v in toys.batch(number).items()})
        shards = [{k: v[2 * i : 2 * i + 2] for k, v in whole.items()} for i in range(8)]

        def loss_of(params, stats=stats, shards=shards):
            totals, weights, new = {}, {}, []
            for shard in shards:  # each shard normalises by itself; the loss is that of all
                outputs, updates = model.apply(
                    {"params": params, "batch_stats": stats},
                    shard["image"],
                    train=True,
                    mutable=["batch_stats"],
                )
                new.append(updates["batch_stats"])
                for name, (total, weight) in toys.objective(
                    outputs, shard | {"replicas": 8}
                ).items():
                    totals[name] = totals.get(name, 0) + total
                    weights[name] = weights.get(name, 0) + weight
            mean = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *new)
            return sum(totals[name] / weights[name] for name in totals), mean

        (_, stats), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, opt_state = toys.OPTIMIZER.update(gradient, opt_state, params)
        params = optax.apply_updates(params, updates)

    found, _ = many_devices("pmap")
    assert toys.difference(found.params, params) < 1e-5
    assert toys.difference(found.batch_stats, stats) < 1e-5
    synchronised, _ = many_devices("pmap", "data")
    assert toys.difference(found.params, synchronised.params) > 1e-3  # they do differ


def test_a_batch_that_does_not_divide_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"train.batch=12 .* 8 devices.* 16"):
        Parallel("jit", 12)


def test_unknown_mode():
    with pytest.raises(UserError, match="jit, pmap"):
        Parallel("tmap")


def test_prefetch_keeps_order_and_content():
    parallel = Parallel("jit")
    batches = [toys.batch(number) for number in range(4)]
    found = list(parallel.prefetch(iter(batches)))
    for expected, batch in zip(batches, found, strict=True):
        np.testing.assert_array_equal(np.asarray(batch["image"]), expected["image"])


def test_stop_signal_is_noticed_and_the_handler_given_back():
    import os
    import signal

    former = signal.getsignal(signal.SIGTERM)
    with StopSignal(Parallel("jit")) as stop:
        assert not stop.agreed(0)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.agreed(1)
    assert signal.getsignal(signal.SIGTERM) is former
