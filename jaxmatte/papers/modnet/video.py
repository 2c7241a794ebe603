"""OFD, the one-frame delay: a film's mattes without flicker, by their neighbours (section 3.4)."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxmatte.errors import UserError

Array = TypeVar("Array", np.ndarray, jax.Array)

THRESHOLD = 0.1  # xi: how close mattes are that agree


def one_frame_delay(mattes: Array, threshold: float = THRESHOLD) -> Array:
    """Replaces what flickers: a value that both neighbours in time contradict, but not each other.

    Where they agree up to `threshold` and the frame between differs from each by more, it takes
    their mean. The neighbours are the frames as they came, not as they were mended; the first and
    the last frame stay. A frame can be shown only when the next one is there: the display lags one
    frame.

    Args:
      mattes: frames [T, H, W] or [T, H, W, 1] in 0..1, floating point; NumPy's or JAX's.
      threshold: xi.

    Returns:
      The mended frames, a new array of the same shape, dtype and kind.
    """
    if mattes.ndim < 3 or not jnp.issubdtype(mattes.dtype, jnp.floating):
        raise UserError(
            f"one_frame_delay: mattes are frames [T, H, W] of floating-point values in 0..1, not "
            f"{mattes.dtype} {list(mattes.shape)}"
        )
    xp: Any = jnp if isinstance(mattes, jax.Array) else np
    before, now, after = mattes[:-2], mattes[1:-1], mattes[2:]
    middle = _mended(xp, before, now, after, threshold)
    return xp.concatenate([mattes[:1], middle, mattes[1:][-1:]])


def one_frame_delay_stream(
    mattes: Iterable[Array], threshold: float = THRESHOLD
) -> Iterator[Array]:
    """`one_frame_delay` of frames [H, W] as they come: each is given when the next one is there.

    Args:
      mattes: frames of one shape; two of them are kept.
      threshold: xi.
    """
    recent: list[Array] = []
    for matte in mattes:
        recent.append(matte)
        if len(recent) == 2:
            yield recent[0]
        elif len(recent) == 3:
            before, now, after = recent
            xp: Any = jnp if isinstance(now, jax.Array) else np
            yield _mended(xp, before, now, after, threshold)
            del recent[0]
    if recent:
        yield recent[-1]


def _mended(xp: Any, before: Array, now: Array, after: Array, threshold: float) -> Any:
    agree = xp.abs(before - after) <= threshold
    apart = (xp.abs(now - before) > threshold) & (xp.abs(now - after) > threshold)
    return xp.where(agree & apart, (before + after) / 2, now)
