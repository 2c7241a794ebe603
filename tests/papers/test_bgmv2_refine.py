"""BGMv2's refiner: every mode against the published code, cut out against computed densely."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from jaxmatte import papers
from jaxmatte.papers.bgmv2 import refine
from tests.parity import bgmv2 as parity

CASES = [case for case in parity.CASES if case.startswith("refine")]
# Of another size, another scale of the base network, or another encoder.
ALONE = [c for c in CASES if "resnet" in c or c.endswith(("batch2_odd", "scale05", "scale0125"))]
CHANNELS = 8  # of the hidden maps of the small refiners below


def answers(cases):
    """The models' outputs for cases of one encoder, one size and one scale, by one program.

    So the base network, the same in all of them, is compiled once.
    """
    models = {case: papers.build("bgmv2", **parity.CASES[case]["fields"]) for case in cases}
    for case in cases:
        if models[case].refine == "sampling":
            models[f"{case}, dense"] = dataclasses.replace(models[case], gather=False)
    given = {name: parity.variables(model, of(name)) for name, model in models.items()}
    shared = given[cases[0]]

    def run(shared, refiners, image, plate):
        found = {}
        for name, model in models.items():
            whole = {kind: of | {"refiner": refiners[name][kind]} for kind, of in shared.items()}
            found[name] = model.apply(whole, image, plate, train=False)
        return found

    refiners = {
        name: {kind: part["refiner"] for kind, part in variables.items()}
        for name, variables in given.items()
    }
    return jax.jit(run)(shared, refiners, *parity.pictures(cases[0]))


def of(name):
    return name.partition(",")[0]


@pytest.mark.parametrize(
    "cases",
    [
        [case for case in CASES if "mobilenet" in case and case not in ALONE],
        *(pytest.param([case], id=case, marks=pytest.mark.slow) for case in ALONE),
    ],
)
def test_outputs_equal_the_published_networks(cases):
    found = answers(cases)
    assert {of(name) for name in found} == {*cases}
    for name, outputs in found.items():
        expected, about = parity.wanted(of(name)), parity.CASES[of(name)]
        assert {*expected} == {*outputs} - {"error"}
        np.testing.assert_array_equal(outputs["refined"], expected["refined"])
        assert outputs["refined"].sum((1, 2, 3)).tolist() == about["refined"]
        for output in {*expected} - {"refined"}:
            values = parity.thinned(output, outputs[output])
            np.testing.assert_allclose(
                values, expected[output], rtol=0, atol=2e-5, err_msg=f"{name}: {output}"
            )
    for name in (name for name in found if name != of(name)):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5),
            found[name],
            found[of(name)],
        )


def refiner(**fields):
    """A small refiner."""
    usual = {
        "mode": "sampling",
        "sample_pixels": 16 * 9,
        "threshold": 0.5,
        "kernel": 3,
        "prevent_oversampling": True,
        "gather": True,
        "dtype": jnp.float32,
        "bn_axis": None,
    }
    return refine.Refiner(**(usual | fields))


def given(cells=(5, 6), batch=2, scale=1, seed=0):
    """Random pictures, and what a base network might say of them at `scale` pixels a cell."""
    keys = jax.random.split(jax.random.key(seed), 5)
    small = (batch, scale * cells[0], scale * cells[1])
    draw = lambda key, *shape: jax.random.uniform(key, shape)  # noqa: E731
    coarse = refine.Coarse(
        alpha=draw(keys[0], *small, 1),
        residual=draw(keys[1], *small, 3) - 0.5,
        error=draw(keys[2], *small, 1),
        hidden=draw(keys[3], *small, CHANNELS),
    )
    return draw(keys[4], batch, 4 * cells[0], 4 * cells[1], 6), coarse


@cache
def start(kernel=3):
    """Variables that are nowhere 0 or 1."""
    module, rng = refiner(kernel=kernel), np.random.default_rng(3)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *given(), train=False))
    least = {"params": -0.1, "batch_stats": 0.2}  # variances are above 0
    draw = lambda s, least: jnp.asarray(least + 0.4 * rng.random(s.shape, np.float32))  # noqa: E731
    return {k: jax.tree.map(lambda s, k=k: draw(s, least[k]), of) for k, of in shapes.items()}


def answer(module, variables, picture, coarse):
    """Outputs, not in training."""
    return jax.jit(lambda *of: module.apply(*of, train=False))(variables, picture, coarse)


def trained(module, variables, picture, coarse):
    """Outputs, new statistics and gradients of a training step of some loss."""

    def loss(params, picture, coarse):
        given = {"params": params, "batch_stats": variables["batch_stats"]}
        outputs, updated = module.apply(given, picture, coarse, train=True, mutable="batch_stats")
        return jnp.square(outputs[0]).sum() + jnp.sin(outputs[1]).sum(), (outputs, updated)

    step = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
    slopes, (outputs, updated) = step(variables["params"], picture, coarse)
    return outputs, updated["batch_stats"], slopes


def close(found, expected, tolerance=1e-5):
    def compare(a, b):
        assert np.isfinite(b).all()
        atol = tolerance * max(1.0, float(jnp.abs(b).max()))
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)

    jax.tree.map(compare, found, expected)


@pytest.mark.parametrize("kernel", [3, 1])
@pytest.mark.parametrize("train", [False, True])
def test_cut_out_and_dense_agree(kernel, train):
    """In training too: outputs, running statistics and all gradients."""
    picture, coarse = given()
    # Two of the nine cells of the second picture only fill up.
    error = coarse.error.at[1].set(0).at[1, 1:3, 2:5].set(coarse.error[1, 1:3, 2:5])
    coarse = coarse._replace(error=error.at[1, 4, 5].set(0.5))
    gathered, dense = (refiner(kernel=kernel, gather=gather) for gather in (True, False))
    variables = start(kernel)
    if train:
        found, expected = (trained(m, variables, picture, coarse) for m in (gathered, dense))
    else:
        found, expected = (
            answer(module, variables, picture, coarse) for module in (gathered, dense)
        )
        assert found[2].sum((1, 2, 3)).tolist() == [9, 7]
    close(found, expected, 1e-4 if train else 1e-5)  # normalisation enlarges rounding


def test_statistics_are_those_of_the_chosen_patches():
    """The first layer's, from patches cut out by hand, as often as they overlap."""
    picture, coarse = given()
    module = refiner()
    variables = start()
    _, statistics, _ = trained(module, variables, picture, coarse)
    _, _, refined = answer(module, variables, picture, coarse)
    halves = (picture.shape[1] // 2, picture.shape[2] // 2)
    maps = [coarse.hidden, coarse.alpha, coarse.residual]
    low = jnp.concatenate([*(refine.fit(m, halves) for m in maps), refine.fit(picture, halves)], -1)
    low = np.pad(low, ((0, 0), (3, 3), (3, 3), (0, 0)))
    places = np.argwhere(np.asarray(refined)[..., 0])
    patches = np.stack([low[b, 2 * i : 2 * i + 8, 2 * j : 2 * j + 8] for b, i, j in places])
    windows = sliding_window_view(patches, (3, 3), (1, 2))
    kernel = variables["params"]["layer1"]["conv"]["kernel"]
    values = np.einsum("nhwcij,ijco->nhwo", windows, kernel).reshape(-1, kernel.shape[-1])
    before, after = variables["batch_stats"]["layer1"]["norm"], statistics["layer1"]["norm"]
    mean = 0.9 * before["mean"] + 0.1 * values.mean(0)
    np.testing.assert_allclose(after["mean"], mean, rtol=1e-4)
    var = 0.9 * before["var"] + 0.1 * values.var(0, ddof=1)
    np.testing.assert_allclose(after["var"], var, rtol=1e-4)


def test_a_threshold_in_training_is_like_sampling_of_the_same_cells():
    picture, coarse = given()
    order = jnp.sort(coarse.error.reshape(2, -1), axis=1)[:, ::-1]
    coarse = coarse._replace(error=coarse.error.at[1].add(order[0, 9] - order[1, 9]))
    sampling = refiner(sample_pixels=16 * 9)
    thresholding = refiner(mode="thresholding", threshold=float(order[0, 9]) + 1e-4)
    variables = start()
    found, expected = (trained(m, variables, picture, coarse) for m in (thresholding, sampling))
    assert found[0][2].sum() == 18
    close(found, expected, 1e-4)


@pytest.mark.parametrize("mode", ["sampling", "thresholding"])
def test_where_nothing_is_chosen_the_coarse_answer_is_enlarged(mode):
    picture, coarse = given()
    coarse = coarse._replace(error=jnp.zeros_like(coarse.error))
    module = refiner(mode=mode)
    variables = start()
    outputs, statistics, slopes = trained(module, variables, picture, coarse)
    np.testing.assert_array_equal(outputs[0], refine.fit(coarse.alpha, (20, 24)))
    assert not outputs[2].any()
    close(statistics, variables["batch_stats"], 0)  # nothing was seen
    assert not any(np.any(slope) for slope in jax.tree.leaves(slopes[0]))
    assert all(np.isfinite(slope).all() for slope in jax.tree.leaves(slopes))


def test_everything_is_what_full_gives():
    """More cells asked for than there are; and none kept back for an error of 0."""
    picture, coarse = given()
    everything = refiner(mode="full")
    variables = start()
    expected = answer(everything, variables, picture, coarse)
    found = answer(refiner(sample_pixels=80_000), variables, picture, coarse)
    close(found, expected)
    coarse = coarse._replace(error=jnp.zeros_like(coarse.error))
    everywhere = refiner(sample_pixels=80_000, prevent_oversampling=False)
    found = answer(everywhere, variables, picture, coarse)
    close(found, expected)


def test_of_equal_errors_the_first_cells_are_taken():
    picture, coarse = given()
    module = refiner(sample_pixels=16 * 8)
    variables = start()
    coarse = coarse._replace(error=jnp.ones_like(coarse.error))
    refined = answer(module, variables, picture, coarse)[2]
    assert refined[0, :2, :, 0].tolist() == [[1.0] * 6, [1.0] * 2 + [0.0] * 4]
    assert refined.sum() == 16


@pytest.mark.parametrize("scale", [1, 2])
def test_scales_of_the_base_network(scale):
    picture, coarse = given(scale=scale)
    gathered, dense = (refiner(gather=gather) for gather in (True, False))
    variables = start()
    found, expected = (answer(module, variables, picture, coarse) for module in (gathered, dense))
    close(found, expected)


def test_one_program_for_every_frame():
    """What is chosen changes from frame to frame; no shape does."""
    for mode in ("sampling", "thresholding"):
        traces = []
        module = refiner(mode=mode)
        variables = start()

        @jax.jit
        def run(picture, coarse, module=module, variables=variables, traces=traces):
            traces.append(1)
            return module.apply(variables, picture, coarse, train=False)[2]

        chosen = [np.asarray(run(*given(seed=seed))) for seed in range(3)]
        assert len(traces) == 1
        assert (chosen[0] != chosen[1]).any()
        assert (chosen[1] != chosen[2]).any()


def test_replicas_share_their_statistics():
    """Also where they have chosen different numbers of patches."""
    picture, coarse = given()
    coarse = coarse._replace(error=coarse.error.at[1, 1:].set(0))
    alone, shared = (refiner(bn_axis=axis) for axis in (None, "data"))
    variables = start()

    def run(module):
        return lambda p, c: module.apply(variables, p, c, train=True, mutable="batch_stats")

    expected, statistics = jax.jit(run(alone))(picture, coarse)
    split = lambda x: x[:, None]  # noqa: E731
    replicas = jax.jit(jax.vmap(run(shared), axis_name="data"))
    found, of_each = replicas(split(picture), jax.tree.map(split, coarse))
    close(jax.tree.map(lambda x: x[:, 0], found), expected)
    for replica in range(2):
        close(jax.tree.map(lambda x, r=replica: x[r], of_each), statistics)
