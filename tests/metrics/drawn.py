"""Mattes for the properties of the metrics, drawn by hypothesis; the same ones every time.

They are noise, smooth shapes and values at the thresholds of Conn, from a seed that is drawn, so
that what fails is a small picture.
"""

import math

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from jaxmatte.metrics.pair import prepare
from jaxmatte.metrics.protocols import PROTOCOLS

LEVELS = (0, 25, 26, 50, 51, 76, 77, 102, 127, 128, 153, 178, 179, 204, 229, 230, 254, 255)
# What trimaps hold; some are without an unknown pixel, or without any other.
MARKS = ((0, 128, 255), (0, 128, 128, 128, 255), (128,), (0, 255), (0,), (255,))
EVERY = pytest.mark.parametrize("protocol", PROTOCOLS)
OWN = [name for name, record in PROTOCOLS.items() if not record.override]
# Without a trimap this one makes its own of the truth, which then is not like the prediction.
BAND = [name for name, record in PROTOCOLS.items() if record.band]


def examples(count):
    return settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


def matte_of(shape, kind, seed):
    """Bytes `[H, W]`."""
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.integers(0, 256, shape, np.uint8)
    if kind == "pale":
        return rng.integers(60, 200, shape, np.uint8)
    if kind == "levels":
        return rng.choice(np.array(LEVELS, np.uint8), shape)
    if kind == "smooth":
        blurred = cv2.blur(rng.random(shape), (5, 5))
        return np.clip(np.rint(900 * (blurred - 0.4)), 0, 255).astype(np.uint8)
    assert kind == "flat"
    return np.full(shape, (0, 255, 153)[seed % 3], np.uint8)


KINDS = st.sampled_from(["smooth", "noise", "levels", "pale", "flat"])
SEEDS = st.integers(0, 999)


@st.composite
def pictures(draw, trimap=None, floats=None, multiple=1):
    """Prediction, truth and trimap of one size, which may be 1 x 1 or a line.

    Args:
      draw: hypothesis's.
      trimap: whether there is one; None: drawn.
      floats: whether mattes are floats; None: drawn.
      multiple: what both sides are multiples of.
    """
    sides = st.sampled_from(range(multiple, 25, multiple))
    shape = draw(sides), draw(sides)
    rng = np.random.default_rng(draw(SEEDS))
    found = [matte_of(shape, draw(KINDS), rng.integers(2**32)) for _ in range(2)]
    if draw(st.booleans()):  # a prediction that resembles its truth, as most do
        near = found[1] + rng.normal(0, 20, shape)
        found[0] = np.clip(near, 0, 255).astype(np.uint8)
    if draw(st.booleans()) if floats is None else floats:
        kind = draw(st.sampled_from([np.float32, np.float64]))
        noise = draw(st.sampled_from([0, 1])) * (rng.random(shape) - 0.5)  # 0: they are bytes
        found = [np.clip((matte + noise) / 255, 0, 1).astype(kind) for matte in found]
    marks = None
    if draw(st.booleans()) if trimap is None else trimap:
        marks = rng.choice(np.array(draw(st.sampled_from(MARKS)), np.uint8), shape)
    return *found, marks


def draw_for(data, protocol, trimap=None, **how):
    """A picture that the protocol takes."""
    return data.draw(pictures(PROTOCOLS[protocol].needs_trimap or trimap, **how))


def alike(found, wanted, picture, protocol, precision=1e-12):
    """Asserts that two measurements of a picture tell the same, but for rounding.

    Grad of bytes is one of lengths in float32, which are the less exact the more they are
    stretched, and where both mattes have about the same one, little is left of it.
    """
    assert set(found) == set(wanted)
    pair = prepare(*picture, protocol)
    rule = pair.protocol.gradient
    one = 255 if pair.is_bytes else 1
    contrasts = [np.ptp(matte) / one for matte in (pair.prediction, pair.truth) if matte.size]
    contrast = min([value for value in contrasts if value], default=1) if rule.stretch else 1
    length = max(2.0**-20 if pair.is_bytes else 2.0**-46, precision) / contrast
    for name, value in wanted.items():
        slack = precision * (value if pair.protocol.quantise else value + 0.1)
        if name == "grad":
            least = pair.truth.size * length**2
            slack += (2 * math.sqrt(least * value * rule.scale) + least) / rule.scale
        assert abs(found[name] - value) <= slack, (name, found[name], value)


def marked(trimap, background, foreground, other):
    """The trimap with other values, of the type of `other`."""
    other = np.broadcast_to(other, trimap.shape)
    return np.where(trimap == 0, background, np.where(trimap == 255, foreground, other)).astype(
        other.dtype
    )


def spread(plane):
    """The plane as a view that is neither contiguous nor writeable."""
    height, width = plane.shape
    wide = np.full((2 * width + 1, height + 3), 7).astype(plane.dtype)
    view = wide[1::2, 2:-1].T
    view[...] = plane
    assert view.shape == (height, width)
    view.flags.writeable = False
    return view
