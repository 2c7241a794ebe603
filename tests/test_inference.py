"""Test-time rules, on a stand-in network and against the reference's with GFM's own."""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxmatte import inference, papers
from jaxmatte.errors import UserError
from jaxmatte.inference import gfm as rules
from jaxmatte.inference.rules import overridden, reflected, to_levels
from jaxmatte.papers.contract import abstract_variables
from jaxmatte.weights.convert import convert
from tests.parity import fill

PARITY = pathlib.Path(__file__).parent / "parity"


def skimage_resize(array, shape):
    """`skimage.transform.resize` of `[H, W, C]` by its defaults, in SciPy and float64."""
    array = np.asarray(array, np.float64)
    ratios = [old / new for old, new in zip(array.shape[:2], shape, strict=True)]
    sigmas = [max(0.0, (ratio - 1) / 2) for ratio in ratios]
    smooth = ndimage.gaussian_filter(array, (*sigmas, 0), mode="mirror")
    zoom = [1 / ratio for ratio in ratios]
    planes = [
        ndimage.zoom(plane, zoom, order=1, mode="mirror", grid_mode=True)
        for plane in np.moveaxis(smooth, -1, 0)
    ]
    return np.stack(planes, axis=-1)


class StandIn:
    """A network that answers from a table by the size it is given, and keeps what it was shown."""

    def __init__(self, sizes, classes):
        rng = np.random.default_rng(0)
        self.shown, self.table = {}, {}
        for height, width in sizes:
            # Coarse blobs, so that plateaus are wider than what resizing blends.
            coarse = rng.random((1, height // 16, width // 16, classes))
            glance = coarse.repeat(16, axis=1).repeat(16, axis=2)
            focus = rng.random((1, height, width, 1))
            parts = {"glance": glance, "focus": focus, "alpha": rng.random(focus.shape)}
            parts |= {f"fusion_{name}": rng.random(focus.shape) for name in ("tt", "ft", "bt")}
            parts["rim"] = 1.5 * rng.random(focus.shape) - 0.25
            self.table[height, width] = {k: v.astype(np.float32) for k, v in parts.items()}

    def __call__(self, image):
        self.shown[image.shape[1:3]] = image
        return jax.tree.map(jnp.asarray, self.table[image.shape[1:3]])


# A picture whose halves and thirds are no multiples of 32.
HEIGHT, WIDTH = 203, 311
HALF, THIRD = (96, 128), (64, 96)
IMAGE = np.random.default_rng(1).random((1, HEIGHT, WIDTH, 3)).astype(np.float32)


def class_map(glance):
    values = [0, 128 / 255, 1] if glance.shape[-1] == 3 else [0, 1]
    return np.array(values)[glance[0].argmax(-1)][..., None]


def enlarged(array):
    return skimage_resize(array, (HEIGHT, WIDTH))


def emulated(network, rosta, hybrid):
    """What the rule returns, from scratch."""
    fine, coarse = network.table[HALF], network.table[THIRD]
    focus = enlarged(fine["focus"][0])
    if not hybrid:
        return enlarged(fine["alpha"][0]), enlarged(class_map(fine["glance"])), focus
    glance = enlarged(class_map(coarse["glance"]))
    if rosta == "FT":
        return np.minimum(glance + focus, 1), glance, focus
    if rosta == "BT":
        return np.maximum(glance - focus, 0), glance, focus
    alpha = np.select([glance < 1e-9, glance > 1 - 1e-9], [0.0, 1.0], focus)
    return alpha, glance, focus


@pytest.mark.parametrize("rosta", ["TT", "FT", "BT"])
@pytest.mark.parametrize("hybrid", [False, True])
def test_gfm_rules_are_the_emulated_ones(rosta, hybrid):
    network = StandIn([HALF, THIRD], 3 if rosta == "TT" else 2)
    parts = rules.gfm_parts(network, jnp.asarray(IMAGE), rosta=rosta, hybrid=hybrid)
    expected = emulated(network, rosta, hybrid)
    for name, array in zip(("alpha", "glance", "focus"), expected, strict=True):
        np.testing.assert_allclose(parts[name][0], array, atol=3e-6, err_msg=name)
    assert set(network.shown) == ({HALF, THIRD} if hybrid else {HALF})
    for size, shown in network.shown.items():
        np.testing.assert_allclose(shown[0], skimage_resize(IMAGE[0], size), atol=3e-6)
    rule = inference.get("gfm_hybrid" if hybrid else "gfm_resize")
    np.testing.assert_array_equal(rule(network, IMAGE, rosta=rosta), parts["alpha"])


@pytest.mark.parametrize("rule", ["gfm_resize", "gfm_hybrid"])
@pytest.mark.parametrize("choice", ["rim", "tt", "ft", "bt"])
def test_rim_is_one_pass_at_a_third(rule, choice):
    network = StandIn([THIRD], 3)
    alpha = inference.get(rule)(network, jnp.asarray(IMAGE), rosta="RIM", choice=choice)
    source = network.table[THIRD]["rim" if choice == "rim" else f"fusion_{choice}"][0]
    np.testing.assert_allclose(alpha[0], np.clip(enlarged(source), 0, 1), atol=3e-6)
    assert set(network.shown) == {THIRD}


@pytest.mark.parametrize("error", [0.0, -2e-7])
def test_hybrid_plateaus_are_whole(error, monkeypatch):
    """Where all the glance around a pixel is foreground alpha is 1, whatever focus says.

    On a device whose products round downwards too.
    """
    resize = rules.resize
    monkeypatch.setattr(rules, "resize", lambda *given: resize(*given) * (1 + error))
    network = StandIn([HALF, THIRD], 3)
    network.table[THIRD]["glance"] = np.broadcast_to(np.float32([0, 0, 1]), (1, *THIRD, 3))
    alpha = rules.gfm_hybrid(network, jnp.asarray(IMAGE), rosta="TT")
    np.testing.assert_array_equal(alpha, np.ones_like(alpha))


def test_working_sizes_are_capped():
    shown = []

    def network(image):
        shown.append(image.shape)
        one = jnp.ones((*image.shape[:3], 1))
        return {"alpha": one, "focus": one, "glance": jnp.concatenate([one, one], -1)}

    def rule(image):
        return rules.gfm_hybrid(network, image, rosta="FT")

    large = jax.ShapeDtypeStruct((1, 200, 4900, 3), jnp.float32)
    assert jax.eval_shape(rule, large).shape == (1, 200, 4900, 1)
    assert shown == [(1, 64, 1600, 3), (1, 96, 1600, 3)]


def test_direct_pads_and_crops():
    seen = []

    def network(image):
        seen.append(image)
        return {"alpha": image[..., :1]}

    alpha = jax.jit(lambda image: inference.get("direct")(network, image))(IMAGE)
    np.testing.assert_array_equal(alpha, IMAGE[..., :1])
    assert seen[0].shape == (1, 224, 320, 3)
    inference.direct(network, jnp.asarray(IMAGE))
    expected = np.pad(IMAGE, ((0, 0), (0, 21), (0, 9), (0, 0)), mode="edge")
    np.testing.assert_array_equal(seen[1], expected)
    inference.direct(network, jnp.asarray(IMAGE[:, :64, :96]))
    assert seen[2].shape == (1, 64, 96, 3)


def test_direct_pads_every_input_of_a_guided_network():
    seen = []

    def network(image, trimap):
        seen.append((image.shape, trimap.shape))
        return {"alpha": trimap * image[..., :1]}

    trimap = (IMAGE[..., 1:2] > 0.5).astype(np.float32)
    alpha = inference.direct(network, IMAGE, trimap)
    np.testing.assert_array_equal(alpha, trimap * IMAGE[..., :1])
    assert seen == [((1, 224, 320, 3), (1, 224, 320, 1))]


@pytest.mark.parametrize("size", [(64, 96), (70, 101), (33, 5), (2, 3)])
@pytest.mark.parametrize("margin", [0, 32])
def test_reflected_mirrors_and_crops_back(size, margin):
    picture = np.random.default_rng(0).random((1, *size, 2), np.float32)
    (padded,), crop = reflected([picture], 32, margin)
    after = [-side % 32 + margin for side in size]
    widths = ((0, 0), *((margin, below) for below in after), (0, 0))
    np.testing.assert_array_equal(padded, np.pad(picture, widths, mode="reflect"))
    assert all(side % 32 == 0 for side in padded.shape[1:3])
    np.testing.assert_array_equal(crop(padded), picture)


def test_overridden_keeps_what_the_trimap_knows():
    alpha = jnp.full((1, 1, 5, 1), 0.25)
    trimap = jnp.array([0, 0.5, 1, 0.49, 0.999]).reshape(alpha.shape)
    found = overridden(alpha, trimap)[0, 0, :, 0]
    np.testing.assert_array_equal(found, [0, 0.25, 1, 0.25, 0.25])


def test_levels_are_those_of_a_file():
    alpha = jnp.array([0, 0.5, 1.5, 2.5, 254.9, 255]).reshape(1, 1, 6, 1) / 255
    levels = {
        name: 255 * np.asarray(to_levels(alpha, name))[0, 0, :, 0]
        for name in ("none", "round", "truncate")
    }
    np.testing.assert_allclose(levels["none"], [0, 0.5, 1.5, 2.5, 254.9, 255], rtol=1e-6)
    np.testing.assert_allclose(levels["round"], [0, 0, 2, 2, 255, 255], rtol=1e-6)
    np.testing.assert_allclose(levels["truncate"], [0, 0, 1, 2, 254, 255], rtol=1e-6)
    with pytest.raises(UserError, match="did you mean 'truncate'"):
        to_levels(alpha, "truncated")


def test_mistakes_are_named():
    with pytest.raises(UserError, match="did you mean 'gfm_hybrid'"):
        inference.get("gfm_hybird")
    network = StandIn([HALF, THIRD], 3)
    with pytest.raises(UserError, match="did you mean 'TT'"):
        rules.gfm_resize(network, jnp.asarray(IMAGE), rosta="T")
    with pytest.raises(UserError, match="did you mean 'rim'"):
        rules.gfm_resize(network, jnp.asarray(IMAGE), rosta="RIM", choice="rm")
    with pytest.raises(UserError, match="sides of 96 pixels or more"):
        rules.gfm_hybrid(network, jnp.asarray(IMAGE[:, :95]), rosta="TT")
    with pytest.raises(UserError, match="sides of 64 pixels or more"):
        rules.gfm_resize(network, jnp.asarray(IMAGE[:, :, :63]), rosta="TT")
    assert set(inference.RULES) >= inference.SAME_SIZE


@functools.cache
def reference():
    """The picture `[1, 300, 420, 3]`, the reference's maps, and how they were made."""
    about = json.loads((PARITY / "gfm_infer.json").read_text())
    byte = np.round(255 * fill.picture("gfm/photo", (1, 300, 420, 3)))
    return (byte / 255).astype(np.float32), dict(np.load(PARITY / "gfm_infer.npz")), about


@functools.cache
def predictor(rosta):
    """GFM(r34) filled by the rule, compiled once a size."""
    model = papers.build("gfm", encoder="r34", rosta=rosta)
    gain = reference()[2]["gain"][rosta]
    shapes, foreign = abstract_variables(model), {}
    orders = {"conv": (3, 2, 0, 1), "dense": (1, 0), "same": None}
    for name, (path, transform) in papers.module("gfm").official(model).entries.items():
        shape, order = shapes[path].shape, orders[transform]
        shape = tuple(shape[i] for i in order) if order else shape
        foreign[name] = fill.tensor(name, shape, gain)
    apply = jax.jit(functools.partial(model.apply, train=False))
    return functools.partial(apply, convert(foreign, model))


@pytest.mark.parametrize("rosta", ["TT", "FT", "BT"])
def test_gfm_maps_are_the_references(rosta):
    """Both rules on a 300x420 picture: every map at full size, within float32 rounding."""
    picture, maps, about = reference()
    for rule, hybrid in (("RESIZE", False), ("HYBRID", True)):
        parts = rules.gfm_parts(predictor(rosta), picture, rosta=rosta, hybrid=hybrid)
        alpha = np.array(parts["alpha"][0, ..., 0])
        if rosta == "TT" and hybrid:
            check_rounded(maps["TT_HYBRID_rounded"], parts, alpha)
        ours = {"fusion": alpha, "glance": 255 * parts["glance"], "focus": parts["focus"]}
        for name, array in ours.items():
            expected = maps.get(f"{rosta}_{rule}_{name}")
            if expected is None:  # the same map as another one's
                continue
            got = np.asarray(array).reshape(300, 420)[:: about["stride"], :: about["stride"]]
            scale = 255 if name == "glance" else 1
            np.testing.assert_allclose(got / scale, expected / scale, atol=5e-6, err_msg=name)


def check_rounded(rounded, parts, alpha):
    """Where the reference took focus for rounding's sake: 31 pixels, which alpha then follows.

    They are just those of the foreground plateau where SciPy enlarges a picture of ones to less
    than one.
    """
    ones = ndimage.zoom(
        np.ones((96, 128)), (300 / 96, 420 / 128), order=1, mode="mirror", grid_mode=True
    )
    plateau = np.asarray(parts["glance"])[0, ..., 0] >= 1 - 1e-6
    np.testing.assert_array_equal(np.argwhere(plateau & (ones != 1)), rounded)
    assert len(rounded) == 31
    assert plateau.sum() == 1588
    at = tuple(rounded.T)
    assert (alpha[at] == 1).all()
    alpha[at] = np.asarray(parts["focus"])[0, ..., 0][at]


@pytest.mark.parametrize("choice", ["rim", "tt", "ft", "bt"])
def test_rim_mattes_are_the_references(choice):
    picture, maps, about = reference()
    alpha = rules.gfm_resize(predictor("RIM"), picture, rosta="RIM", choice=choice)
    expected = np.clip(maps[f"RIM_RESIZE_{choice}"], 0, 1)
    stride = about["stride"]
    np.testing.assert_allclose(alpha[0, ::stride, ::stride, 0], expected, atol=1e-5)
