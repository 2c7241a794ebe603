"""The small layers that several papers share, with the reference frameworks' exact semantics.

Everything is NHWC; parameters and statistics are float32, `dtype` is what a layer computes in.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.nn.initializers import Initializer, variance_scaling

from jaxmatte import resampling
from jaxmatte.convolution import convolve
from jaxmatte.errors import UserError

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
    """A convolution.

    Attributes:
      padding: "torch": (kernel - 1) // 2 * dilation zeros on every side; "same": Paddle's, as many
        as it takes for ceil(size / stride) outputs, the odd one at the bottom and right; "valid":
        none.
      groups: how many blocks of channels are convolved each by itself; output channels lie block
        after block.
      kernel_init: None stands for PyTorch's default.
      bias_init: the same.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    dilation: int = 1
    use_bias: bool = True
    kernel_init: Initializer | None = None
    dtype: Dtype = jnp.float32
    groups: int = 1
    padding: str = "torch"
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, x: jax.Array, bias_learns: bool = True) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, features]."""
        size, inputs = self.kernel_size, x.shape[-1] // self.groups
        fan_in = size * size * inputs
        kernel_init = self.kernel_init or uniform_fan_in(fan_in)
        kernel = self.param("kernel", kernel_init, (size, size, inputs, self.features))
        xla: dict[str, str | list[tuple[int, int]]] = {"same": "SAME", "valid": "VALID"}
        margin = (size - 1) // 2 * self.dilation
        y = convolve(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            stride=self.stride,
            padding=xla.get(self.padding, [(margin, margin)] * 2),
            dilation=self.dilation,
            groups=self.groups,
        )
        if self.use_bias:
            bias_init = self.bias_init or uniform_fan_in(fan_in)
            bias = self.param("bias", bias_init, (self.features,))
            bias = bias if bias_learns else lax.stop_gradient(bias)
            y += bias.astype(self.dtype)
        return y


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015).

    A batch is normalised by its biased variance; the running variance takes the unbiased one, as
    in PyTorch, or with `unbiased` False the biased one, as in Paddle. Statistics are float32 and
    two-pass (deviations from the mean, then their squares), so that large means cost no precision.
    With `axis_name` they are those of all replicas together. In training a channel needs more than
    one value: a single one is its own mean, and what is left of it is nothing.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = None
    dtype: Dtype = jnp.float32
    unbiased: bool = True
    scale_init: Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[..., C] -> [..., C]; with `train`, updates the collection `batch_stats`."""
        shape = (x.shape[-1],)
        scale = self.param("scale", self.scale_init, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        values = x.astype(jnp.float32)
        mean, var = running_mean.value, running_var.value
        if train:
            mean, var, count = self._statistics(values)
            if not self.is_initializing():
                self._require_several(count)
                keep, remembered = self.momentum, var
                if self.unbiased:
                    remembered = var * (count / (count - 1))
                running_mean.value = keep * running_mean.value + (1 - keep) * mean
                running_var.value = keep * running_var.value + (1 - keep) * remembered
        y = (values - mean) * (lax.rsqrt(var + self.epsilon) * scale) + bias
        return y.astype(self.dtype)

    def _require_several(self, count: int) -> None:
        if count == 1:
            raise UserError(
                f"a batch of one picture cannot train {'/'.join(self.path)}: it would normalise a "
                "single value by itself and lose it; use 2 or more pictures a batch (of each "
                "device under parallel.mode=pmap, unless model.bn_axis=data), or "
                "train.statistics=running"
            )

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
    """Convolution, batch normalisation, ReLU or another `activation`; None leaves it out."""

    features: int
    kernel_size: int = 3
    stride: int = 1
    dilation: int = 1
    use_bias: bool = True
    activation: Callable[[jax.Array], jax.Array] | None = nn.relu
    kernel_init: Initializer | None = None
    dtype: Dtype = jnp.float32
    bn_axis: str | None = None
    groups: int = 1
    padding: str = "torch"
    unbiased: bool = True
    scale_init: Initializer = nn.initializers.ones

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
            self.groups,
            self.padding,
            name="conv",
        )
        # A batch's own mean takes the bias out again: its gradient is zero but for rounding, and
        # Adam would make full steps of the rounding.
        x = conv(x, bias_learns=not train)
        norm = BatchNorm(
            axis_name=self.bn_axis,
            dtype=self.dtype,
            unbiased=self.unbiased,
            scale_init=self.scale_init,
            name="norm",
        )
        x = norm(x, train)
        return self.activation(x) if self.activation else x


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


def resize(x: jax.Array, shape: tuple[int, int], method: str = "bilinear") -> jax.Array:
    """Resizes [B, H, W, C] to `shape` = (height, width); the methods of `resampling.matrix`."""
    return _resize_axis(_resize_axis(x, 2, shape[1], method), 1, shape[0], method)


_LARGE = 1 << 18  # numbers in a matrix that costs more than it spares


def _resize_axis(x: jax.Array, axis: int, target: int, method: str) -> jax.Array:
    """Resizes one axis by a matrix, or by looking up neighbours where that would be a large one."""
    source = x.shape[axis]
    pairs = resampling.neighbours(source, target, method) if source * target > _LARGE else None
    if pairs is None:
        matrix = resampling.matrix(source, target, method).astype(x.dtype)
        equation = "Uh,bhwc->bUwc" if axis == 1 else "Vw,bhwc->bhVc"
        return jnp.einsum(equation, matrix, x, precision=lax.Precision.HIGHEST)
    left, right, fraction = pairs
    shape = (-1, 1, 1) if axis == 1 else (-1, 1)
    share = jnp.asarray(fraction.reshape(shape), x.dtype)
    before, after = (jnp.take(x, index, axis=axis) for index in (left, right))
    return (1 - share) * before + share * after


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


def upsample_nearest(x: jax.Array, factor: int) -> jax.Array:
    """Repeats every pixel: [B, H, W, C] -> [B, factor * H, factor * W, C]."""
    return jnp.repeat(jnp.repeat(x, factor, axis=1), factor, axis=2)


def downsample(x: jax.Array, factor: int) -> jax.Array:
    """Bilinear reduction by an even whole factor, half-pixel centres, no antialias.

    What `resize` gives, without its matrices: the mean of the four pixels in the middle of each
    block of `factor` x `factor`. [B, H, W, C] -> [B, H / factor, W / factor, C].
    """
    if factor % 2 or x.shape[1] % factor or x.shape[2] % factor:
        raise UserError(f"{x.shape[1]} x {x.shape[2]} cannot be reduced by {factor}")
    first = factor // 2 - 1
    middle = [x[:, first + i :: factor, first + j :: factor] for i in (0, 1) for j in (0, 1)]
    return 0.25 * sum(middle[1:], start=middle[0])


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


def average_pool(
    x: jax.Array,
    window: int,
    stride: int | None = None,
    padding: int = 0,
    count_padding: bool = True,
) -> jax.Array:
    """Means of windows of [B, H, W, C], in steps of `stride` (default: `window`).

    A last window that would not fit is dropped. Padded zeros count in the means of PyTorch, and
    not in those of Paddle (`count_padding` False).
    """
    steps = stride or window
    return nn.avg_pool(
        x,
        window_shape=(window, window),
        strides=(steps, steps),
        padding=[(padding, padding)] * 2,
        count_include_pad=count_padding,
    )
