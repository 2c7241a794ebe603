"""Deep Image Matting's networks against the ports' outputs, their names, and what they refuse."""

import gzip
import json
import pathlib
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxmatte import papers, weights
from jaxmatte.errors import UserError
from jaxmatte.papers import dim
from jaxmatte.papers.contract import abstract_variables
from tests.parity import fill

PARITY = pathlib.Path(__file__).parent.parent / "parity"
REFERENCE = json.loads(gzip.decompress((PARITY / "dim_networks.json.gz").read_bytes()))
NETWORKS, SIZES = REFERENCE["networks"], REFERENCE["sizes"]
OUTPUTS = {"alpha": "coarse_alpha", "raw_alpha": "raw_alpha", "refined": "alpha"}
# The fixtures' names of inner maps, and the modules that give them; those of mmagic, and all
# poolings, are behind a ReLU.
INNER = {
    "tap_conv5_3": "encoder/conv5_3",
    "tap_conv6_1": "conv6",
    "tap_deconv1": "decoder/raw",
    "tap_pool1": "encoder/conv1_2",
    "tap_pool3": "encoder/conv3_3",
    "tap_pool5": "encoder/conv5_3",
    "tap_deconv5_1": "decoder/deconv5",
    "tap_deconv1_1": "decoder/deconv1",
    "tap_down5": "encoder/conv5_3",
    "tap_up3": "decoder/deconv3",
    "tap_up1": "decoder/deconv1",
}
BEHIND_RELU = ("tap_pool", "tap_down", "tap_deconv5_1", "tap_deconv1_1")


def model_of(layout):
    return papers.build("dim", layout=layout, refine=NETWORKS[layout]["refine"])


def state(layout):
    """The port's state dict, filled by the fixtures' rule."""
    network = NETWORKS[layout]
    return {n: fill.tensor(n, shape, network["gain"]) for n, shape in network["tensors"].items()}


@cache
def run(layout, size):
    """Outputs and inner maps of a filled network, by the fixtures' names."""
    model = model_of(layout)
    *shape, tag = SIZES[size]
    image = fill.picture(f"dim/rgb{tag}", (*shape, 3))
    level = 255 * fill.picture(f"dim/trimap{tag}", (*shape, 1))
    trimap = np.digitize(level, [85, 170]).astype(np.float32) / 2
    apply = jax.jit(
        lambda variables, *inputs: model.apply(
            variables, *inputs, train=False, capture_intermediates=True, mutable="intermediates"
        )
    )
    outputs, inner = apply(weights.convert(state(layout), model), image, trimap)
    inner = flatten_dict(inner["intermediates"], sep="/")
    found = {theirs: outputs[ours] for theirs, ours in OUTPUTS.items()}
    for name, module in INNER.items():
        if f"{module}/__call__" not in inner:
            continue
        x = jnp.maximum(inner[f"{module}/__call__"][0], 0 if name.startswith(BEHIND_RELU) else -9e9)
        if name.startswith(("tap_pool", "tap_down")):
            x = x.reshape(x.shape[0], x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).max((2, 4))
        found[name] = x[..., ::8] if x.shape[-1] >= 64 else x
    return found


def wanted(layout, size):
    prefix = f"{layout}/{size}/"
    with np.load(PARITY / "dim_networks.npz") as file:
        return {n.removeprefix(prefix): v for n, v in file.items() if n.startswith(prefix)}


def thinned(values):
    """What the fixtures keep: every third pixel of a large map."""
    values = np.asarray(values)
    return values[:, ::3, ::3] if values.shape[1] > 16 else values


@pytest.mark.parametrize("layout", NETWORKS)
def test_outputs_and_inner_maps_equal_the_ports(layout):
    found, expected = run(layout, "a"), wanted(layout, "a")
    assert len(expected) >= 4
    for name, values in expected.items():
        atol = 1e-5 * max(1, np.abs(values).max())
        np.testing.assert_allclose(thinned(found[name]), values, rtol=0, atol=atol, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("size", ["b", "c"])
@pytest.mark.parametrize("layout", NETWORKS)
def test_other_sizes_equal_the_ports(layout, size):
    """A larger picture, and a batch of two.

    In the larger one some windows are nearly tied: rounding may choose another pixel.
    """
    found, expected = run(layout, size), wanted(layout, size)
    assert "alpha" in expected
    for name, values in expected.items():
        error = np.abs(thinned(found[name]) - values)
        if size == "b":
            assert (error <= 1e-4).mean() >= 0.995, name
        else:
            assert error.max() <= 1e-5, name


# Parameters without and with the refinement, by the record.
COUNTS = {
    "mmagic": (26_200_001, 26_276_802),
    "hct_v12": (26_200_001, 26_276_802),
    "hct_v14": (28_297_153, 28_373_954),
    "hct_v15": (28_297_153, 28_373_954),
    "foamliu": (25_582_595, None),
    "paper": (130_536_897, 130_613_698),
}


@pytest.mark.parametrize("layout", dim.LAYOUTS)
def test_parameters_are_as_many(layout):
    for refine, count in zip((False, True), COUNTS[layout], strict=True):
        if count is None:
            continue
        shapes = abstract_variables(papers.build("dim", layout=layout, refine=refine))
        assert count == sum(s.size for path, s in shapes.items() if path[0] == "params")


@pytest.mark.parametrize("layout", NETWORKS)
def test_names_are_the_ports(layout):
    model, names = model_of(layout), {*NETWORKS[layout]["tensors"]}
    official = dim.official(model)
    counters = {name for name in names if official.reason(name)}
    assert all("num_batches_tracked" in name for name in counters)
    assert {*official.entries} == names - counters
    assert {entry.path for entry in official.entries.values()} == {*abstract_variables(model)}
    assert dim.official(model, layout.partition("_")[0]) == official
    assert dim.official(model, layout) == official


def test_mmagic_and_hcts_first_releases_fill_each_other():
    for own, other in (("mmagic", "hct_v12"), ("hct_v12", "mmagic")):
        official = dim.official(model_of(own), other.partition("_")[0])
        assert {*official.entries} == {*NETWORKS[other]["tensors"]}


def names_and_shapes(model, layout):
    """A state dict of zeros in a layout that a model knows, in PyTorch's shapes."""
    shapes = abstract_variables(model)
    return {
        name: np.zeros([shapes[path].shape[i] for i in (3, 2, 0, 1)], np.float32)
        if transform == "conv"
        else np.zeros(shapes[path].shape, np.float32)
        for name, (path, transform) in dim.official(model, layout).entries.items()
    }


def test_files_of_stage_1_and_of_stage_3_fill_what_they_can():
    small = {"layout": "hct_v15", "width": 0.125}
    coarse, refined = (papers.build("dim", refine=r, **small) for r in (False, True))
    first, third = (names_and_shapes(model, "hct") for model in (coarse, refined))
    assert {*third} - {*first} == {n for n in third if n.startswith("refine_")} != set()
    # The refinement of stage 3 is left out by a model without one.
    assert {*weights.convert(third, coarse)["params"]} == {"encoder", "conv6", "decoder"}
    with pytest.raises(UserError, match="lack refine_conv1"):
        weights.convert(first, refined)
    part = weights.convert(first, refined, layout="hct_stage1")
    assert {*part["params"]} == {"encoder", "conv6", "decoder"}
    assert {*part["params"]} == {*weights.convert(first, refined, "official_stage1")["params"]}


def torchvision(width, norm=False):
    """A narrow stand-in for torchvision's checkpoint, with its classifier."""
    draw, state, place, inputs = np.random.default_rng(0), {}, 0, 3
    for stage in ((64, 64), (128, 128), *[(256,) * 3], *[(512,) * 3] * 2):
        for channels in stage:
            channels = int(channels * width)
            name = f"features.{place}"
            state[f"{name}.weight"] = draw.normal(size=(channels, inputs, 3, 3)).astype(np.float32)
            state[f"{name}.bias"] = draw.normal(size=channels).astype(np.float32)
            if norm:
                name = f"features.{place + 1}"
                for leaf in ("weight", "bias", "running_mean", "running_var"):
                    state[f"{name}.{leaf}"] = draw.random(channels).astype(np.float32)
                state[f"{name}.num_batches_tracked"] = np.zeros((), np.int64)
            place, inputs = place + (3 if norm else 2), channels
        place += 1
    hidden = int(4096 * width)
    state["classifier.0.weight"] = draw.normal(size=(hidden, inputs * 49)).astype(np.float32)
    state["classifier.0.bias"] = draw.normal(size=hidden).astype(np.float32)
    return state | {"classifier.3.weight": np.zeros((hidden, hidden), np.float32)}


def test_imagenets_weights_begin_without_the_trimap():
    given = torchvision(0.125)
    model = papers.build("dim", refine=True, width=0.125)
    params = weights.convert(given, model, layout="vgg16")["params"]
    assert {*params} == {"encoder"}
    kernel = params["encoder"]["conv1_1"]["kernel"]
    np.testing.assert_array_equal(kernel[:, :, 3], 0)
    first = given["features.0.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel[:, :, :3], first)
    last = given["features.28.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(params["encoder"]["conv5_3"]["kernel"], last)
    again = weights.convert(given, model, layout="imagenet")["params"]
    jax.tree.map(np.testing.assert_array_equal, params, again)


def test_the_papers_layout_takes_fc6_too():
    given = torchvision(0.125)
    model = papers.build("dim", layout="paper", width=0.125)
    params = weights.convert(given, model, layout="vgg16")["params"]
    assert {*params} == {"encoder", "conv6"}
    x = np.random.default_rng(1).normal(size=(7, 7, 64)).astype(np.float32)
    dense = given["classifier.0.weight"] @ x.transpose(2, 0, 1).ravel()
    convolved = np.einsum("hwc,hwcf->f", x, params["conv6"]["kernel"])
    np.testing.assert_allclose(convolved, dense, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("layout", ["vgg16", "vgg16_bn"])
def test_foamlius_encoder_begins_with_or_without_statistics(layout):
    norm = layout == "vgg16_bn"
    model = papers.build("dim", layout="foamliu", width=0.125)
    variables = weights.convert(torchvision(0.125, norm), model, layout=layout)
    first = variables["params"]["encoder"]["conv1_1"]
    assert {*first} == ({"conv", "norm"} if norm else {"conv"})
    assert ("batch_stats" in variables) == norm


def test_the_papers_refinement_adds_to_alpha():
    model = papers.build("dim", layout="paper", refine=True, width=0.125)
    draw = np.random.default_rng(0)
    shapes = unflatten_dict(abstract_variables(model))
    variables = jax.tree.map(lambda x: 0.05 * draw.normal(size=x.shape).astype(x.dtype), shapes)
    params = variables["params"]
    params["decoder"]["raw"]["bias"] += np.float32(0.9)
    last = params["refiner"]["correction"]
    last["kernel"] *= 0
    image = draw.random((1, 32, 32, 3)).astype(np.float32)
    trimap = draw.integers(0, 3, (1, 32, 32, 1)).astype(np.float32) / 2
    apply = jax.jit(lambda variables: model.apply(variables, image, trimap, train=False))
    for correction in (0.0, 0.09):
        last["bias"] = np.full(1, correction, np.float32)
        outputs = {name: np.asarray(value) for name, value in apply(variables).items()}
        coarse = outputs["coarse_alpha"]
        np.testing.assert_array_equal(coarse, np.clip(outputs["raw_alpha"], 0, 1))
        np.testing.assert_allclose(outputs["alpha"], np.clip(coarse + correction, 0, 1), atol=1e-6)
        assert coarse.std() > 0.001
    assert outputs["alpha"].min() < outputs["alpha"].max() == 1


def test_the_papers_refinement_begins_with_nothing():
    """Its inputs reach 255: corrections of drawn weights would be of hundreds."""
    model = papers.build("dim", layout="paper", refine=True, width=0.125)
    image = jnp.zeros((1, 32, 32, 3))
    init = jax.jit(lambda key: model.init(key, image, image[..., :1], train=False))
    refiner = init(jax.random.key(0))["params"]["refiner"]
    assert not refiner["correction"]["kernel"].any()
    assert refiner["conv3"]["kernel"].all()


def test_cutting_hands_gradients_on():
    x = jnp.array([-2.0, 0.25, 3.0])
    np.testing.assert_array_equal(dim.network.cut(x), [0.0, 0.25, 1.0])
    slope = jax.grad(lambda x: (dim.network.cut(x) * jnp.array([1.0, 2.0, 3.0])).sum())(x)
    np.testing.assert_array_equal(slope, [1.0, 2.0, 3.0])


@pytest.mark.parametrize("layout", dim.LAYOUTS)
def test_every_layout_fits(layout):
    refine = layout != "foamliu"
    model = papers.build("dim", layout=layout, refine=refine, width=0.125, dtype="bfloat16")
    variables = unflatten_dict(abstract_variables(model))
    image = jax.ShapeDtypeStruct((2, 32, 64, 3), jnp.float32)
    trimap = jax.ShapeDtypeStruct((2, 32, 64, 1), jnp.float32)
    apply = lambda v, *inputs: model.apply(v, *inputs, train=False)  # noqa: E731
    traced = jax.make_jaxpr(apply)(variables, image, trimap)
    assert [out.shape for out in traced.out_avals] == [(2, 32, 64, 1)] * 3
    assert all(out.dtype == jnp.float32 for out in traced.out_avals)
    found = [e for e in traced.jaxpr.eqns if e.primitive.name == "conv_general_dilated"]
    assert len(found) >= 18
    assert all(e.outvars[0].aval.dtype == jnp.bfloat16 for e in found)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"layout": "hct"}, "layout='hct' must be one of mmagic, hct_v12"),
        ({"layout": "foamliu", "refine": True}, "layout='foamliu' has no refinement"),
    ],
)
def test_wrong_fields_are_named(fields, words):
    with pytest.raises(UserError, match=words):
        papers.build("dim", **fields)


def test_wrong_sizes_and_layouts_are_named():
    model = papers.build("dim", width=0.125)
    variables = unflatten_dict(abstract_variables(model))
    image = jax.ShapeDtypeStruct((1, 48, 64, 3), jnp.float32)
    trimap = jax.ShapeDtypeStruct((1, 48, 64, 1), jnp.float32)
    with pytest.raises(UserError, match="dim: an image of 48 x 64"):
        jax.eval_shape(lambda v, *x: model.apply(v, *x, train=False), variables, image, trimap)
    with pytest.raises(UserError, match=r"must be one of mmagic, hct, vgg16$"):
        dim.official(model, "foamliu")
    with pytest.raises(UserError, match=r"'official' .*layout='paper'.* must be one of vgg16$"):
        dim.official(papers.build("dim", layout="paper"))
