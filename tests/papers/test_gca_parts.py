"""GCA-Matting's parts: the spectral norm and the attention, against plain NumPy."""

import gzip
import json
import pathlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from jaxmatte.papers.gca import attention
from jaxmatte.papers.gca.spectral import SpectralConv, SpectralLayer
from tests.parity import fill

PARITY = pathlib.Path(__file__).parent.parent / "parity"
SCALES = json.loads(gzip.decompress((PARITY / "gca_networks.json.gz").read_bytes()))["gca"][
    "scales"
]


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def conv(transposed):
    """A small layer with its variables; the matrix of its kernel as PyTorch sees it."""
    layer = SpectralConv(5, 4 if transposed else 3, transposed=transposed)
    variables = layer.init(jax.random.key(0), jnp.zeros((1, 6, 8, 2)), train=False)
    kernel = np.asarray(variables["params"]["kernel"], np.float64)
    order = (2, 3, 0, 1) if transposed else (3, 2, 0, 1)
    matrix = kernel.transpose(order).reshape(kernel.shape[order[0]], -1)
    return layer, variables, matrix


@pytest.mark.parametrize("transposed", [False, True])
def test_sigma_is_that_of_the_vectors_as_they_are(transposed):
    layer, variables, matrix = conv(transposed)
    vectors = {"u": drawn(len(matrix)), "v": drawn(matrix.shape[1], seed=1)}
    given = {"params": variables["params"], "batch_stats": vectors}
    x = drawn(1, 6, 8, 2, seed=2)
    y, after = layer.apply(given, x, train=False, mutable="batch_stats")
    jax.tree.map(np.testing.assert_array_equal, after["batch_stats"], vectors)
    sigma = vectors["u"] @ matrix @ vectors["v"]
    doubled = {"u": 2 * vectors["u"], "v": vectors["v"]}
    half = layer.apply({**given, "batch_stats": doubled}, x, train=False)
    np.testing.assert_allclose(2 * half, y, rtol=1e-5)
    plain = np.asarray(variables["params"]["kernel"]) / sigma
    assert y.shape == ((1, 12, 16, 5) if transposed else (1, 6, 8, 5))
    np.testing.assert_allclose(y, by_hand(x, plain, transposed), rtol=0, atol=1e-4)


def by_hand(x, kernel, transposed):
    """The convolution with zeros around, or the transposed one, tap by tap."""
    height, width = x.shape[1:3]
    if transposed:
        canvas = np.zeros((1, 2 * height + 2, 2 * width + 2, kernel.shape[3]))
        for i, j in np.ndindex(4, 4):
            canvas[:, i : i + 2 * height : 2, j : j + 2 * width : 2] += x @ kernel[i, j]
        return canvas[:, 1:-1, 1:-1]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = np.ndindex(3, 3)
    return sum(padded[:, i : i + height, j : j + width] @ kernel[i, j] for i, j in taps)


@pytest.mark.parametrize("transposed", [False, True])
def test_training_takes_one_step_of_the_power_iteration(transposed):
    layer, variables, matrix = conv(transposed)
    start = drawn(len(matrix))
    given = variables | {"batch_stats": {"u": start, "v": variables["batch_stats"]["v"]}}
    x = drawn(1, 6, 8, 2, seed=2)
    y, after = layer.apply(given, x, train=True, mutable="batch_stats")
    v = matrix.T @ start
    v /= np.linalg.norm(v)
    u = matrix @ v
    u /= np.linalg.norm(u)
    np.testing.assert_allclose(after["batch_stats"]["v"], v, rtol=0, atol=1e-6)
    np.testing.assert_allclose(after["batch_stats"]["u"], u, rtol=0, atol=1e-6)
    again = layer.apply(variables | after, x, train=False)
    np.testing.assert_allclose(again, y, rtol=0, atol=1e-6)
    for _ in range(50):
        after = layer.apply(variables | after, x, train=True, mutable="batch_stats")[1]
    u, v = after["batch_stats"]["u"], after["batch_stats"]["v"]
    assert u @ matrix @ v == pytest.approx(np.linalg.svd(matrix, compute_uv=False)[0], rel=1e-5)


def test_gradients_flow_through_the_kernel_above_and_below_and_not_through_the_vectors():
    """Of sum(G W / sigma): G / sigma - sum(G W) u v' / sigma^2, with the vectors after the step."""
    layer, variables, matrix = conv(transposed=False)
    x, weigh = drawn(1, 6, 8, 2, seed=2), drawn(1, 6, 8, 5, seed=3)

    def total(params, train):
        given = {"params": params, "batch_stats": variables["batch_stats"]}
        y, after = layer.apply(given, x, train=train, mutable="batch_stats")
        return jnp.sum(weigh * y), after["batch_stats"]

    for train in (False, True):
        slope, vectors = jax.grad(total, has_aux=True)(variables["params"], train)
        u, v = (np.asarray(vectors[name], np.float64) for name in "uv")
        sigma = u @ matrix @ v
        # The gradient by the divided kernel is what a plain convolution has.
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        taps = [
            np.einsum("bhwi,bhwo->io", padded[:, i : i + 6, j : j + 8], weigh)
            for i, j in np.ndindex(3, 3)
        ]
        above = np.stack(taps).reshape(3, 3, 2, 5).transpose(3, 2, 0, 1).reshape(5, -1)
        expected = above / sigma - (above * matrix).sum() * np.outer(u, v) / sigma**2
        found = np.asarray(slope["kernel"]).transpose(3, 2, 0, 1).reshape(5, -1)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_fresh_layers_have_a_sigma_to_divide_by():
    for seed in range(8):
        layer = SpectralConv(16)
        variables = layer.init(jax.random.key(seed), jnp.zeros((1, 4, 4, 8)), train=False)
        kernel = np.asarray(variables["params"]["kernel"])
        assert np.abs(kernel).max() <= 72**-0.5
        matrix = kernel.transpose(3, 2, 0, 1).reshape(16, -1)
        u, v = variables["batch_stats"]["u"], variables["batch_stats"]["v"]
        np.testing.assert_allclose([np.linalg.norm(u), np.linalg.norm(v)], 1, rtol=1e-6)
        largest = np.linalg.svd(matrix, compute_uv=False)[0]
        assert 0.5 * largest < u @ matrix @ v <= largest * (1 + 1e-6)


def test_replicas_share_statistics_and_keep_the_same_vectors():
    x = drawn(4, 6, 8, 2)
    whole = SpectralLayer(5, activation_first=True)
    shared = SpectralLayer(5, activation_first=True, bn_axis="data")
    variables = whole.init(jax.random.key(0), x, train=False)
    y, after = whole.apply(variables, x, train=True, mutable="batch_stats")
    each, found = jax.vmap(
        lambda part: shared.apply(variables, part, train=True, mutable="batch_stats"),
        axis_name="data",
    )(x.reshape(2, 2, 6, 8, 2))
    np.testing.assert_allclose(each.reshape(y.shape), y, rtol=0, atol=1e-5)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(after), strict=True):
        np.testing.assert_allclose(one[0], other, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(one[0], one[1])


# The attention.


@partial(jax.jit, static_argnames="chunk")
def attended(features, x, unknown, chunk):
    queries = attention.patches_3(features)
    values = attention.patches_4(x)
    handed, best = attention.attend(queries, attention.sources(unknown), values, chunk)
    batch, height, width = features.shape[:3]
    folded = attention.folded(handed.reshape(batch, height, width, 2, 2, 2, 2, x.shape[-1]))
    return folded, best


def attended_by_hand(features, x, unknown):
    """One picture, place by place: [h, w, D], [2 h, 2 w, C], [h, w] -> [2 h, 2 w, C], best."""
    height, width = features.shape[:2]
    padded = [
        np.pad(p.astype(np.float64), ((1, 1), (1, 1), (0, 0)), "reflect") for p in (features, x)
    ]
    spots = list(np.ndindex(height, width))
    keys = [padded[0][i : i + 3, j : j + 3] for i, j in spots]
    patches = [padded[1][2 * i : 2 * i + 4, 2 * j : 2 * j + 4] for i, j in spots]
    near = np.pad(unknown, 1, "reflect")
    inside = [near[i : i + 3, j : j + 3].any() for i, j in spots]
    share = unknown.mean()
    with np.errstate(divide="ignore"):
        of_unknown, of_known = np.clip(np.sqrt([share / (1 - share), (1 - share) / share]), 0.1, 10)
    canvas, best = np.zeros((2 * height + 2, 2 * width + 2, x.shape[-1])), []
    for place, (i, j) in enumerate(spots):
        lengths = [max(np.linalg.norm(key), 1e-4) for key in keys]
        scores = np.array([np.sum(keys[place] * key) for key in keys]) / lengths
        scores *= np.where(inside, of_unknown, of_known)
        scores[place] -= 1e4 * inside[place]
        weights = np.exp(scores - scores.max())
        patch = np.tensordot(weights / weights.sum(), np.stack(patches), 1)
        canvas[2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += patch / 4
        best.append(scores.argmax())
    return canvas[1:-1, 1:-1], best


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("chunk", [0, 7])
def test_attention_is_a_softmax_over_all_sources(chunk, share):
    features, x = drawn(2, 4, 5, 6), drawn(2, 8, 10, 3, seed=1)
    unknown = np.random.default_rng(2).random((2, 4, 5)) < share
    found, best = attended(jnp.asarray(features), jnp.asarray(x), jnp.asarray(unknown), chunk)
    for picture in (0, 1):
        expected, sources = attended_by_hand(features[picture], x[picture], unknown[picture])
        np.testing.assert_allclose(found[picture], expected, rtol=0, atol=2e-6)
        assert best[picture].tolist() == sources


def test_blocks_give_the_same_gradients_and_flat_patches_finite_ones():
    features, x = drawn(1, 4, 6, 5), drawn(1, 8, 12, 2, seed=1)
    features[:, :, :3] = 0  # patches without any contrast
    unknown = jnp.asarray(np.random.default_rng(2).random((1, 4, 6)) < 0.5)
    weigh = drawn(1, 8, 12, 2, seed=3)

    def total(features, x, chunk):
        return jnp.sum(weigh * attended(features, x, unknown, chunk)[0])

    slope = jax.jit(jax.grad(total, (0, 1)), static_argnums=2)
    plain, blocked = slope(features, x, 0), slope(features, x, 5)
    assert all(np.isfinite(part).all() for part in plain)
    for one, other in zip(blocked, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())


def largest(jaxpr):
    """The most numbers in any array that a program makes."""
    sizes = [v.aval.size for e in jaxpr.eqns for v in e.outvars]
    inner = [largest(j) for e in jaxpr.eqns for j in core.jaxprs_in_params(e.params)]
    return max(sizes + inner)


def test_blocks_make_no_array_of_all_pairs():
    """A picture of 2048 x 2048, forward and backward."""
    places, chunk, depth = 128 * 128, 1024, 64
    given = [
        jax.ShapeDtypeStruct((1, 128, 128, 16), jnp.float32),
        jax.ShapeDtypeStruct((1, 256, 256, depth), jnp.float32),
        jax.ShapeDtypeStruct((1, 128, 128), bool),
    ]

    def made(chunk):
        total = lambda f, x, u: attended(f, x, u, chunk)[0].sum()  # noqa: E731
        return largest(jax.make_jaxpr(jax.grad(total, (0, 1)))(*given).jaxpr)

    assert made(0) >= places**2
    assert made(chunk) <= max(places * chunk, 16 * depth * places)


@pytest.mark.parametrize("case", SCALES)
def test_factors_are_the_published_ones(case):
    batch, height, width = (2, 128, 160) if case[0] == "b" else (1, 64, 96)
    waves = fill.picture("gca/trimap", (batch, height, width, 1))[:, ::16, ::16, 0] * 255
    unknown = {
        "all_unknown": np.ones_like(waves, bool),
        "none_unknown": np.zeros_like(waves, bool),
        "all_foreground": np.zeros_like(waves, bool),
    }.get(case[2:], (waves >= 85) & (waves < 170))
    about = attention.sources(jnp.asarray(unknown))
    for picture, (of_unknown, of_known) in enumerate(SCALES[case]):
        wanted = np.where(about.unknown[picture], of_unknown, of_known)
        np.testing.assert_allclose(about.scale[picture], wanted, rtol=1e-6)
