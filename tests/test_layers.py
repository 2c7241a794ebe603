"""The shared layers against their definitions, written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmatte import layers
from jaxmatte.errors import UserError


def uniform(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def direct_convolution(x, kernel, stride, dilation):
    """PyTorch's cross-correlation of [B, H, W, C] by HWIO, as plain sums in float64."""
    size = kernel.shape[0]
    pad = (size - 1) // 2 * dilation
    reach = dilation * (size - 1)
    x = np.pad(x.astype(np.float64), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    rows = range(0, x.shape[1] - reach, stride)
    columns = range(0, x.shape[2] - reach, stride)
    out = np.zeros((x.shape[0], len(rows), len(columns), kernel.shape[-1]))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            window = x[:, row : row + reach + 1 : dilation, column : column + reach + 1 : dilation]
            out[:, i, j] = np.einsum("bhwc,hwco->bo", window, kernel)
    return out


@pytest.mark.parametrize(
    ("size", "stride", "dilation"), [(3, 1, 1), (3, 2, 1), (7, 2, 1), (1, 2, 1), (3, 1, 2)]
)
def test_convolution_pads_as_pytorch(size, stride, dilation):
    x = uniform(2, 8, 10, 3)
    conv = layers.Conv(4, size, stride, dilation)
    variables = conv.init(jax.random.key(0), x)
    params = variables["params"]
    expected = direct_convolution(x, np.asarray(params["kernel"]), stride, dilation)
    ours = conv.apply(variables, x)
    np.testing.assert_allclose(ours, expected + np.asarray(params["bias"]), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (5, 2), (1, 2), (2, 1)])
@pytest.mark.parametrize("shape", [(8, 10), (7, 9)])
def test_same_padding_puts_the_odd_zero_last(size, stride, shape):
    x = uniform(1, *shape, 2)
    conv = layers.Conv(3, size, stride, use_bias=False, padding="same")
    variables = conv.init(jax.random.key(0), x)
    edges = []
    for length in shape:
        total = max((-(-length // stride) - 1) * stride + size - length, 0)
        edges.append((total // 2, total - total // 2))
    padded = np.pad(x, ((0, 0), *edges, (0, 0)))
    plain = layers.Conv(3, size, stride, use_bias=False, padding="valid")
    ours = conv.apply(variables, x)
    assert ours.shape[1:3] == tuple(-(-length // stride) for length in shape)
    np.testing.assert_allclose(ours, plain.apply(variables, padded), rtol=0, atol=1e-6)


@pytest.mark.parametrize("groups", [2, 6])
def test_groups_are_convolutions_of_their_own(groups):
    x = uniform(2, 6, 7, 6)
    conv = layers.Conv(12, 3, groups=groups)
    variables = conv.init(jax.random.key(0), x)
    kernel, bias = (np.asarray(variables["params"][name]) for name in ("kernel", "bias"))
    assert kernel.shape == (3, 3, 6 // groups, 12)
    bound = (9 * 6 / groups) ** -0.5  # of the inputs that an output sees
    assert 0.8 * bound < np.abs(kernel).max() <= bound
    parts = [
        direct_convolution(part, block, 1, 1)
        for part, block in zip(np.split(x, groups, 3), np.split(kernel, groups, 3), strict=True)
    ]
    expected = np.concatenate(parts, axis=-1) + bias
    np.testing.assert_allclose(conv.apply(variables, x), expected, rtol=0, atol=1e-5)


def test_convolution_starts_as_pytorch():
    params = layers.Conv(64, 3).init(jax.random.key(0), uniform(1, 4, 4, 32))["params"]
    bound = (3 * 3 * 32) ** -0.5
    for value in params.values():
        assert 0.9 * bound < np.abs(value).max() <= bound
    kernel = np.asarray(params["kernel"])
    np.testing.assert_allclose(kernel.std(), bound / 3**0.5, rtol=0.03)
    he = layers.Conv(64, 3, use_bias=False, kernel_init=layers.kaiming_normal_fan_out)
    params = he.init(jax.random.key(0), uniform(1, 4, 4, 32))["params"]
    assert set(params) == {"kernel"}
    np.testing.assert_allclose(np.std(params["kernel"]), (2 / (9 * 64)) ** 0.5, rtol=0.03)


def test_batch_norm_normalises_by_biased_and_remembers_unbiased_variance():
    # A mean far above the deviation, where a one-pass variance has no digits left.
    x = 300.0 + 0.05 * uniform(2, 3, 4, 5)
    norm = layers.BatchNorm()
    variables = norm.init(jax.random.key(0), x, train=True)
    assert set(variables["params"]) == {"scale", "bias"}
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], 0)
    y, updated = norm.apply(variables, x, train=True, mutable="batch_stats")
    exact = x.astype(np.float64)
    mean, var = exact.mean((0, 1, 2)), exact.var((0, 1, 2))
    expected = (exact - mean) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-3)
    stats = updated["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-6)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * var * 24 / 23, rtol=1e-6)


def test_batch_norm_of_paddle_remembers_the_biased_variance():
    x = uniform(2, 3, 4, 5)
    norm = layers.BatchNorm(unbiased=False)
    variables = norm.init(jax.random.key(0), x, train=True)
    _, updated = norm.apply(variables, x, train=True, mutable="batch_stats")
    expected = 0.9 + 0.1 * x.astype(np.float64).var((0, 1, 2))
    np.testing.assert_allclose(updated["batch_stats"]["var"], expected, rtol=1e-6)


def test_batch_norm_refuses_to_train_on_a_single_value():
    norm = layers.ConvNormRelu(2, 1, name="gap")
    one = uniform(1, 1, 1, 3)
    variables = norm.init(jax.random.key(0), one, train=True)
    norm.apply(variables, one, train=False)
    with pytest.raises(UserError, match="a batch of one picture cannot train norm"):
        norm.apply(variables, one, train=True, mutable="batch_stats")
    norm.apply(variables, uniform(2, 1, 1, 3), train=True, mutable="batch_stats")


def test_batch_norm_in_use_reads_the_running_statistics():
    x = uniform(2, 3, 4, 2)
    params = {"scale": jnp.array([2.0, 0.5]), "bias": jnp.array([1.0, -1.0])}
    stats = {"mean": jnp.array([0.3, -0.2]), "var": jnp.array([4.0, 0.25])}
    y = layers.BatchNorm().apply({"params": params, "batch_stats": stats}, x, train=False)
    expected = (x - [0.3, -0.2]) / np.sqrt([4.00001, 0.25001]) * [2, 0.5] + [1, -1]
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-6)


def test_batch_norm_keeps_float32_statistics_under_bfloat16():
    x = jnp.asarray(100.0 + uniform(2, 8, 8, 3), jnp.bfloat16)
    norm = layers.BatchNorm(dtype=jnp.bfloat16)
    variables = norm.init(jax.random.key(0), x, train=True)
    y, updated = norm.apply(variables, x, train=True, mutable="batch_stats")
    assert y.dtype == jnp.bfloat16
    stats = updated["batch_stats"]
    assert stats["var"].dtype == jnp.float32
    mean = np.asarray(x, np.float64).mean((0, 1, 2))
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-6)


def test_batch_norm_shares_statistics_and_gradients_over_an_axis():
    x = uniform(8, 3, 3, 4) + np.arange(8).reshape(8, 1, 1, 1)
    weight = uniform(8, 3, 3, 4, seed=1)
    alone, shared = layers.BatchNorm(), layers.BatchNorm(axis_name="replica")
    variables = alone.init(jax.random.key(0), x, train=True)

    def loss(norm, x, weight):
        y, updated = norm.apply(variables, x, train=True, mutable="batch_stats")
        return (y * weight).sum(), updated

    gradient, stats = jax.grad(lambda x: loss(alone, x, weight), has_aux=True)(x)
    split = jax.pmap(
        lambda x, w: jax.grad(lambda x: loss(shared, x, w), has_aux=True)(x), axis_name="replica"
    )
    parts, part_stats = split(x.reshape(4, 2, 3, 3, 4), weight.reshape(4, 2, 3, 3, 4))
    np.testing.assert_allclose(np.reshape(parts, x.shape), gradient, rtol=0, atol=2e-6)
    for ours, whole in zip(jax.tree.leaves(part_stats), jax.tree.leaves(stats), strict=True):
        for replica in ours:
            np.testing.assert_allclose(replica, whole, rtol=1e-5)


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_upsampling_equals_the_resize_matrices(factor):
    x = jnp.asarray(uniform(2, 5, 3, 4))
    shape = (5 * factor, 3 * factor)
    weight = jnp.asarray(uniform(2, *shape, 4, seed=1))

    def both(function):
        value, pull = jax.vjp(function, x)
        return value, pull(weight)[0]

    value, gradient = both(lambda x: layers.upsample(x, factor))
    expected, expected_gradient = both(lambda x: layers.resize(x, shape))
    np.testing.assert_allclose(value, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=0, atol=1e-6 * factor**2)


def test_upsampling_a_single_pixel_repeats_it():
    x = jnp.full((1, 1, 1, 2), 0.7)
    np.testing.assert_allclose(layers.upsample(x, 2), jnp.full((1, 2, 2, 2), 0.7), rtol=1e-6)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("size", "window", "stride", "padding"),
    [(7, 2, 2, 0), (8, 3, 2, 1), (9, 3, 2, 1), (5, 3, 3, 1)],
)
def test_max_pool_follows_pytorchs_rule(size, window, stride, padding, ceil_mode):
    x = uniform(1, size, size, 2) - 5.0  # all negative: a padding of zeros would win
    starts = [s - padding for s in range(0, size + 2 * padding, stride)]
    if ceil_mode:
        # A window may hang over the right, but must start within the picture or left padding.
        last = -(-(size + 2 * padding - window) // stride)
        starts = [s for s in starts[: last + 1] if s < size]
    else:
        starts = [s for s in starts if s + window <= size + padding]
    expected = [
        [x[:, max(i, 0) : i + window, max(j, 0) : j + window].max((1, 2)) for j in starts]
        for i in starts
    ]
    pooled = layers.max_pool(x, window, stride, padding, ceil_mode)
    np.testing.assert_array_equal(pooled, np.stack([np.stack(r, 1) for r in expected], 1))


def test_pools_average():
    x = uniform(1, 5, 6, 2)
    expected = x[:, :4].reshape(1, 2, 2, 3, 2, 2).mean((2, 4))
    np.testing.assert_allclose(layers.average_pool(x, 2), expected, rtol=0, atol=1e-6)
    pooled = layers.adaptive_average_pool(jnp.asarray(x), 3)
    assert pooled.shape == (1, 3, 3, 2)
    np.testing.assert_allclose(pooled[:, 1, 1], x[:, 1:4, 2:4].mean((1, 2)), rtol=0, atol=1e-6)


def test_squeeze_excite_scales_channels():
    x = uniform(2, 3, 3, 8)
    module = layers.SqueezeExcite(reduction=4)
    variables = module.init(jax.random.key(0), x)
    params = {name: np.asarray(p["kernel"]) for name, p in variables["params"].items()}
    assert {name: kernel.shape for name, kernel in params.items()} == {
        "reduce": (8, 2),
        "expand": (2, 8),
    }
    hidden = np.maximum(x.mean((1, 2)) @ params["reduce"], 0)
    weight = 1 / (1 + np.exp(-hidden @ params["expand"]))
    expected = x * weight[:, None, None]
    np.testing.assert_allclose(module.apply(variables, x), expected, rtol=0, atol=1e-5)


def test_scaled_rounds_to_eights():
    assert [layers.scaled(64, w) for w in (1.0, 0.5, 0.2, 0.01)] == [64, 32, 16, 8]
    assert layers.scaled(3, 1.0) == 3


@pytest.mark.parametrize("factor", [2, 4, 16])
def test_downsampling_equals_the_resize_matrices(factor):
    x = jnp.asarray(uniform(2, 2 * factor, 3 * factor, 2))
    expected = layers.resize(x, (2, 3))
    np.testing.assert_allclose(layers.downsample(x, factor), expected, rtol=0, atol=1e-6)
    with pytest.raises(UserError, match="cannot be reduced"):
        layers.downsample(x[:, 1:], factor)


def test_nearest_upsampling_repeats():
    x = jnp.arange(6.0).reshape(1, 2, 3, 1)
    expected = np.kron(np.asarray(x)[0, :, :, 0], np.ones((4, 4)))
    np.testing.assert_array_equal(layers.upsample_nearest(x, 4)[0, :, :, 0], expected)


@pytest.mark.parametrize("count_padding", [True, False])
def test_average_pooling_with_padding(count_padding):
    x = uniform(1, 7, 6, 2)
    ours = layers.average_pool(jnp.asarray(x), 3, 2, 1, count_padding)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    inside = np.pad(np.ones((7, 6)), 1)
    assert ours.shape == (1, 4, 3, 2)
    for i, j in np.ndindex(4, 3):
        window = np.s_[2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        number = 9 if count_padding else inside[window].sum()
        expected = padded[0][window].sum((0, 1)) / number
        np.testing.assert_allclose(ours[0, i, j], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["bilinear", "align_corners"])
def test_large_resizes_need_no_matrix(method, monkeypatch):
    x = jnp.asarray(uniform(1, 40, 30, 2))
    by_matrix = layers.resize(x, (25, 71), method)
    monkeypatch.setattr(layers, "_LARGE", 0)
    monkeypatch.setattr(layers.resampling, "matrix", None)  # it is not asked for
    np.testing.assert_allclose(layers.resize(x, (25, 71), method), by_matrix, rtol=0, atol=1e-6)
