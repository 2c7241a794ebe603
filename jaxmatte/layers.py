"""The small layers that several papers share, with the reference frameworks' exact semantics.

Everything is NHWC; parameters and statistics are float32, `dtype` is what a layer computes in.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.nn.initializers import Initializer, variance_scaling

from jaxmatte import resampling

Dtype = jnp.dtype | type | str

# He et al. 2015 as torchvision's ResNet uses it: normal, variance 2 / (outputs * kernel area).
kaiming_normal_fan_out = variance_scaling(2.0, "fan_out", "normal")
# The same by the inputs, as torchvision's DenseNet uses it.
kaiming_normal_fan_in = variance_scaling(2.0, "fan_in", "normal")


def scaled(channels: int, width: float) -> int:
    """`channels` times `width`, to the nearest multiple of 8, at least 8."""
    return channels if width == 1.0 else max(8, int(channels * width / 8 + 0.5) * 8)


def uniform_fan_in(fan_in: int) -> Initializer:
    """PyTorch's default for kernels and biases: uniform in +-1/sqrt(fan_in)."""
    bound = fan_in**-0.5

    def initialise(key, shape, dtype=jnp.float32, out_sharding=None):
        return jax.random.uniform(key, shape, dtype, -bound, bound, out_sharding=out_sharding)

    return initialise


class Conv(nn.Module):
    """A convolution padded as PyTorch pads: (kernel - 1) // 2 * dilation zeros on every side.

    `kernel_init` None stands for PyTorch's default.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    dilation: int = 1
    use_bias: bool = True
    kernel_init: Initializer | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, bias_learns: bool = True) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, features]."""
        size = self.kernel_size
        fan_in = size * size * x.shape[-1]
        kernel_init = self.kernel_init or uniform_fan_in(fan_in)
        kernel = self.param("kernel", kernel_init, (size, size, x.shape[-1], self.features))
        padding = (size - 1) // 2 * self.dilation
        y = lax.conv_general_dilated(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            window_strides=(self.stride, self.stride),
            padding=[(padding, padding)] * 2,
            rhs_dilation=(self.dilation, self.dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        if self.use_bias:
            bias = self.param("bias", uniform_fan_in(fan_in), (self.features,))
            bias = bias if bias_learns else lax.stop_gradient(bias)
            y += bias.astype(self.dtype)
        return y


class BatchNorm(nn.Module):
    """Batch normalisation by PyTorch's rules (Ioffe & Szegedy 2015).

    A batch is normalised by its biased variance; the running variance takes the unbiased one.
    Statistics are float32 and two-pass (deviations from the mean, then their squares), so that
    large means cost no precision. With `axis_name` they are those of all replicas together.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[..., C] -> [..., C]; with `train`, updates the collection `batch_stats`."""
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        values = x.astype(jnp.float32)
        mean, var = running_mean.value, running_var.value
        if train:
            mean, var, count = self._statistics(values)
            if not self.is_initializing():
                keep, unbiased = self.momentum, var * (count / max(count - 1, 1))
                running_mean.value = keep * running_mean.value + (1 - keep) * mean
                running_var.value = keep * running_var.value + (1 - keep) * unbiased
        y = (values - mean) * (lax.rsqrt(var + self.epsilon) * scale) + bias
        return y.astype(self.dtype)

    def _statistics(self, values: jax.Array) -> tuple[jax.Array, jax.Array, int]:
        """Mean, biased variance and number of the samples of every channel, over all replicas."""
        # `init` runs outside of pmap, where the axis does not exist.
        axis = None if self.is_initializing() else self.axis_name
        axes = tuple(range(values.ndim - 1))

        def average(samples):
            local = samples.mean(axes)
            return local if axis is None else lax.pmean(local, axis)

        mean = average(values)
        var = average(jnp.square(values - mean))
        replicas = 1 if axis is None else lax.axis_size(axis)
        return mean, var, values.size // values.shape[-1] * replicas


class ConvNormRelu(nn.Module):
    """Convolution, batch normalisation, ReLU (`relu` False leaves the last one out)."""

    features: int
    kernel_size: int = 3
    stride: int = 1
    dilation: int = 1
    use_bias: bool = True
    relu: bool = True
    kernel_init: Initializer | None = None
    dtype: Dtype = jnp.float32
    bn_axis: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, features]."""
        conv = Conv(
            self.features,
            self.kernel_size,
            self.stride,
            self.dilation,
            self.use_bias,
            self.kernel_init,
            self.dtype,
            name="conv",
        )
        # A batch's own mean takes the bias out again: its gradient is zero but for rounding, and
        # Adam would make full steps of the rounding.
        x = conv(x, bias_learns=not train)
        x = BatchNorm(axis_name=self.bn_axis, dtype=self.dtype, name="norm")(x, train)
        return nn.relu(x) if self.relu else x


class SqueezeExcite(nn.Module):
    """Channel attention (Hu et al. 2018): global mean, two dense layers without bias, scale."""

    reduction: int = 4
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        channels = x.shape[-1]
        squeezed = x.astype(jnp.float32).mean((1, 2))
        hidden = nn.relu(self._dense(channels // self.reduction, "reduce")(squeezed))
        weight = nn.sigmoid(self._dense(channels, "expand")(hidden))
        return x * weight[:, None, None, :].astype(x.dtype)

    def _dense(self, features: int, name: str) -> Callable[[jax.Array], jax.Array]:
        # variance 1 / (3 fan_in), uniform: the +-1/sqrt(fan_in) of PyTorch's Linear.
        init = variance_scaling(1.0 / 3.0, "fan_in", "uniform")
        return nn.Dense(features, use_bias=False, dtype=self.dtype, kernel_init=init, name=name)


def _apply_matrices(x: jax.Array, rows: np.ndarray, columns: np.ndarray) -> jax.Array:
    """[B, H, W, C] by [H', H] and [W', W] -> [B, H', W', C]."""
    highest = lax.Precision.HIGHEST
    x = jnp.einsum("Vw,bhwc->bhVc", columns.astype(x.dtype), x, precision=highest)
    return jnp.einsum("Uh,bhwc->bUwc", rows.astype(x.dtype), x, precision=highest)


def resize(x: jax.Array, shape: tuple[int, int], method: str = "bilinear") -> jax.Array:
    """Resizes [B, H, W, C] to `shape` = (height, width); the methods of `resampling.matrix`."""
    rows = resampling.matrix(x.shape[1], shape[0], method)
    columns = resampling.matrix(x.shape[2], shape[1], method)
    return _apply_matrices(x, rows, columns)


def adaptive_average_pool(x: jax.Array, bins: int) -> jax.Array:
    """Averages [B, H, W, C] over a grid of `bins` x `bins` windows, torch's windows."""
    return resize(x, (bins, bins), "adaptive_average")


def upsample(x: jax.Array, factor: int) -> jax.Array:
    """Bilinear upsampling by a whole factor, half-pixel centres: [B, H, W, C] -> [B, fH, fW, C].

    Equal to `resize`, but as sums of neighbours, which XLA fuses: two to ten times faster
    forward and backward on a CPU than either the matrices or `jax.image.resize`.
    """
    return x if factor == 1 else _upsample_axis(_upsample_axis(x, factor, 2), factor, 1)


def _upsample_axis(x: jax.Array, factor: int, axis: int) -> jax.Array:
    size = x.shape[axis]

    def part(start, stop):
        return lax.slice_in_dim(x, start, stop, axis=axis)

    before = jnp.concatenate([part(0, 1), part(0, size - 1)], axis)
    after = jnp.concatenate([part(1, size), part(size - 1, size)], axis)
    phases = []
    for phase in range(factor):
        offset = (phase + 0.5) / factor - 0.5
        neighbour = before if offset < 0 else after
        phases.append((1 - abs(offset)) * x + abs(offset) * neighbour)
    shape = (*x.shape[:axis], factor * size, *x.shape[axis + 1 :])
    return jnp.stack(phases, axis + 1).reshape(shape)


def max_pool(
    x: jax.Array, window: int, stride: int, padding: int = 0, ceil_mode: bool = False
) -> jax.Array:
    """PyTorch's MaxPool2d on [B, H, W, C]: padding never wins, `ceil_mode` keeps partial windows.

    As in PyTorch, a window that would start beyond the picture and its left padding is dropped.
    """

    def padding_of(size):
        span = size + 2 * padding - window
        steps = -(-span // stride) if ceil_mode else span // stride
        if ceil_mode and steps * stride >= size + padding:
            steps -= 1
        return padding, max(steps * stride + window - size - padding, 0)

    pads = ((0, 0), padding_of(x.shape[1]), padding_of(x.shape[2]), (0, 0))
    x = jnp.pad(x, pads, constant_values=-jnp.inf)
    return nn.max_pool(x, window_shape=(window, window), strides=(stride, stride), padding="VALID")


def average_pool(x: jax.Array, window: int) -> jax.Array:
    """Means of the whole `window` x `window` blocks of [B, H, W, C]; the remainder is dropped."""
    return nn.avg_pool(x, window_shape=(window, window), strides=(window, window), padding="VALID")
