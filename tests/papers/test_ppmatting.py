"""PP-Matting's networks against the published code's outputs, and their parts' behaviour."""

import gzip
import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxmatte import papers, weights
from jaxmatte.errors import UserError
from jaxmatte.papers import ppmatting
from jaxmatte.papers.contract import abstract_variables
from tests.parity import fill

PARITY = pathlib.Path(__file__).parent.parent / "parity"
NETWORKS = json.loads(gzip.decompress((PARITY / "ppmatting_networks.json.gz").read_bytes()))
# The largest networks compile for as long as all the rest together.
HEAVY = ("hrnet_w48", "resnet34_vd")
ENCODERS = [pytest.param(e, marks=pytest.mark.slow if e in HEAVY else ()) for e in NETWORKS]
# Run once: better compiled in a third of the time than run in a tenth of it.
QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def filled(encoder):
    """The model and its variables by the fixtures' rule."""
    network = NETWORKS[encoder]
    model = papers.build("ppmatting", encoder=encoder)
    draw = {n: fill.tensor(n, s, network["gain"]) for n, s in network["tensors"].items()}
    return model, weights.convert(draw, model)


def run(model, variables, image, train=False):
    """Outputs, and the collections beside them."""

    def apply(variables, image):
        return model.apply(
            variables,
            image,
            train=train,
            mutable=["batch_stats", "intermediates"],
            capture_intermediates=not train,
        )

    compiled = jax.jit(apply).lower(variables, image).compile(compiler_options=QUICKLY)
    return jax.tree.map(np.asarray, compiled(variables, image))


def fixture(encoder):
    with np.load(PARITY / f"ppmatting_{encoder}.npz") as file:
        return dict(file)


def inner(modules):
    """Our outputs of the modules that the inner fixtures name."""
    named = {f"fea{i}": modules["encoder"]["__call__"][0][i] for i in range(1, 5)}
    scb, hrdb = modules["scb"], modules["hrdb"]
    named |= {"psp": scb["psp"]["__call__"][0]}
    named |= {f"scb{i}": scb[f"stage{i}"]["__call__"][0] for i in range(3)}
    named |= {f"gate{i}": hrdb[f"gate{i}"]["weight"][0] for i in range(3)}
    named |= {f"hrdb{i}": hrdb[f"gate{i}"]["__call__"][0] for i in range(3)}
    stages = {2: "stage2_module1", 3: "stage3_module4"}
    for stage, name in stages.items():
        maps = modules["encoder"][name]["__call__"][0]
        named |= {f"stage{stage}_{i}": values for i, values in enumerate(maps)}
    return named


def logits_equal(found, expected, size):
    """Compares logits, and the matte where the classes are clear."""
    for name in ("semantic_logits", "detail_logits"):
        ours = found[name][:, ::3, ::3]
        np.testing.assert_allclose(ours, expected[f"{name}_{size}"], rtol=0, atol=2e-5)
    probabilities = np.sort(np.asarray(jax.nn.softmax(expected[f"semantic_logits_{size}"])))
    clear = probabilities[..., -1] - probabilities[..., -2] > 1e-3
    assert clear.mean() > 0.95
    ours = found["alpha"][:, ::3, ::3]
    np.testing.assert_allclose(ours[clear], expected[f"alpha_{size}"][clear], rtol=0, atol=3e-6)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_outputs_equal_the_published_network(encoder):
    model, variables = filled(encoder)
    height, width = NETWORKS[encoder]["sizes"][0]
    image = fill.picture("ppmatting/input", (1, height, width, 3))
    outputs, rest = run(model, variables, image)
    expected, size = fixture(encoder), f"{height}x{width}"
    if not encoder.startswith("hrnet"):
        ours = outputs["alpha"][:, ::3, ::3]
        np.testing.assert_allclose(ours, expected[f"alpha_{size}"], rtol=0, atol=5e-6)
        return
    logits_equal(outputs, expected, size)
    np.testing.assert_array_equal(
        outputs["alpha"], ppmatting.fuse(outputs["semantic"], outputs["detail"])
    )
    np.testing.assert_allclose(outputs["semantic"].sum(-1), 1, rtol=1e-6)
    named = inner(rest["intermediates"])
    for name in [name for name in expected if name.startswith("inner_")]:
        ours, theirs = named[name.removeprefix("inner_")][:, ::3, ::3], expected[name]
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * max(theirs.std(), 1))


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["hrnet_w18", "hrnet_w48", "stdc1"])
def test_outputs_at_the_other_size(encoder):
    model, variables = filled(encoder)
    height, width = NETWORKS[encoder]["sizes"][1]
    outputs, _ = run(model, variables, fill.picture("ppmatting/input", (1, height, width, 3)))
    expected, size = fixture(encoder), f"{height}x{width}"
    if encoder == "stdc1":
        ours = outputs["alpha"][:, ::3, ::3]
        np.testing.assert_allclose(ours, expected[f"alpha_{size}"], rtol=0, atol=5e-6)
    else:
        logits_equal(outputs, expected, size)


@pytest.mark.slow
def test_training_mode_equals_the_published_network():
    numbers = json.loads((PARITY / "ppmatting_losses.json").read_text())["train"]
    model, variables = filled("hrnet_w18")
    assert numbers["gain"] == NETWORKS["hrnet_w18"]["gain"]
    shape = (2, 128, 160)
    outputs, updated = run(model, variables, fill.picture("ppmatting/train", (*shape, 3)), True)
    expected = np.load(PARITY / "ppmatting_train.npz")
    # The pyramid's single bin normalises two values a channel, which amplifies rounding.
    for name, tolerance in (("semantic", 1e-3), ("detail", 2e-4)):
        ours = outputs[name][:, ::3, ::3]
        np.testing.assert_allclose(ours, expected[name], rtol=0, atol=tolerance)
    far = np.abs(outputs["alpha"][:, ::3, ::3] - expected["fusion"]) > 2e-4
    assert far.mean() < 1e-3  # where rounding decides the class

    alpha = fill.picture("ppmatting/loss/alpha", (*shape, 1)).astype(np.float64)
    alpha = np.clip(1.6 * alpha - 0.3, 0, 1).astype(np.float32)
    batch = {
        "alpha": alpha,
        "trimap": np.where(alpha <= 0.1, 0, np.where(alpha >= 0.9, 1, 0.5)).astype(np.float32),
        "foreground": fill.picture("ppmatting/loss/fg", (*shape, 3)),
        "background": fill.picture("ppmatting/loss/bg", (*shape, 3)),
    }
    terms = ppmatting.objective(outputs, batch)
    for name, (total, weight) in terms.items():
        np.testing.assert_allclose(4 * total / weight, numbers["loss"][name], rtol=1e-3)
    loss = sum(float(total / weight) for total, weight in terms.values())
    np.testing.assert_allclose(loss, numbers["loss"]["all"], rtol=1e-4)

    names = {entry.path: name for name, entry in ppmatting.official(model).entries.items()}
    statistics = flatten_dict(updated["batch_stats"])
    statistics = {names["batch_stats", *path]: v for path, v in statistics.items()}
    compared = [name for name in expected if name in statistics]
    assert len(compared) == 4
    for name in compared:
        np.testing.assert_allclose(statistics[name], expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("encoder", NETWORKS)
def test_parameter_counts_and_names_are_the_published_ones(encoder):
    model, network = papers.build("ppmatting", encoder=encoder), NETWORKS[encoder]
    shapes = abstract_variables(model)
    ours = sum(int(np.prod(s.shape)) for path, s in shapes.items() if path[0] == "params")
    assert ours == network["parameters"]
    published = {
        "hrnet_w48": 86_197_934,
        "hrnet_w18": 24_503_954,
        "stdc1": 8_947_488,
        "resnet34_vd": 63_889_670,
    }
    assert ours == published[encoder]
    for layout in ("official", "paddleseg"):
        official = ppmatting.official(model, layout)
        assert {*official.entries} == {*network["tensors"]}
        assert not official.partial
    encoder_part = ppmatting.official(model, "paddleseg_backbone")
    backbone = {n.removeprefix("backbone.") for n in network["tensors"] if "backbone." in n}
    assert {*encoder_part.entries} == backbone
    assert encoder_part.partial
    assert encoder_part.reason("out.weight")
    assert encoder_part.entries == ppmatting.official(model, "imagenet").entries


def test_a_pretrained_backbone_fills_the_encoder_alone():
    model = papers.build("ppmatting", encoder="stdc1")
    tensors = NETWORKS["stdc1"]["tensors"]
    state = {
        name.removeprefix("backbone."): fill.tensor(name, shape)
        for name, shape in tensors.items()
        if name.startswith("backbone.")
    }
    state["linear.weight"] = np.zeros((4, 4), np.float32)  # of ImageNet's classifier
    part = weights.convert(state, model, "paddleseg_backbone")
    assert {*part["params"]} == {"v2"}
    assert {*part["params"]["v2"]} == {"encoder"}
    kernel = part["params"]["v2"]["encoder"]["stage0"]["conv"]["kernel"]
    np.testing.assert_array_equal(kernel.transpose(3, 2, 0, 1), state["features.0.conv.weight"])
    with pytest.raises(UserError, match=r"features\.0\.conv\.weight"):
        weights.convert({k: v for k, v in state.items() if "0.conv.w" not in k}, model, "imagenet")


def test_a_file_that_paddle_wrote():
    state = weights.read(PARITY / "ppmatting_tiny.pdparams")
    shapes = {"conv.weight": (4, 3, 3, 3), "fc.weight": (5, 4), "fc.bias": (5,)}
    shapes |= {f"bn.{leaf}": (4,) for leaf in ("weight", "bias", "_mean", "_variance")}
    shapes["conv.bias"] = (4,)
    assert {*state} == {*shapes}  # without the table of Paddle's own names
    for name, shape in shapes.items():
        expected = fill.tensor(name, shape)
        # Paddle keeps a dense kernel as [inputs, outputs].
        expected = expected.T if name == "fc.weight" else expected
        np.testing.assert_array_equal(state[name], expected)
        assert state[name].dtype == np.float32


def small(**fields):
    """A narrow, shallow model, cheap to compile."""
    fields = {"encoder": "hrnet_w18", "width": 0.125, "modules": (1, 1, 1)} | fields
    return papers.build("ppmatting", residual_blocks=1, **fields)


@pytest.mark.slow
def test_gradients_reach_every_part_but_not_the_classes_through_the_fusion():
    model = small()
    image = jnp.asarray(fill.picture("ppmatting/small", (2, 32, 64, 3)))
    variables = unflatten_dict(
        {
            path: fill.tensor("/".join(path), shape.shape[::-1]).T
            if path[-1] == "kernel"
            else np.full(shape.shape, float(path[-1] in ("scale", "var")), np.float32)
            for path, shape in abstract_variables(model).items()
        }
    )

    def loss(params, fusion, rest):
        given = {**variables, "params": params}
        outputs, _ = model.apply(given, image, train=True, mutable="batch_stats")
        parts = jnp.square(outputs["semantic"] - 0.3).sum() + outputs["detail"].sum()
        # Every pixel is held to be transition, so that the fusion is the detail.
        unsure = outputs["semantic"] + jnp.asarray([0.0, 1.0, 0.0])
        matte = ppmatting.fuse(unsure, outputs["detail"])
        return fusion * jnp.square(matte - 0.3).sum() + rest * parts

    compiled = jax.jit(jax.grad(loss)).lower(variables["params"], 1.0, 0.0)
    gradient = compiled.compile(compiler_options=QUICKLY)

    def reached(fusion, rest):
        flat = flatten_dict(gradient(variables["params"], fusion, rest), sep="/")
        assert all(np.isfinite(g).all() for g in flat.values())
        return {name for name, g in flat.items() if np.abs(g).sum() > 0}

    fusion, everything = reached(1.0, 0.0), reached(0.0, 1.0)
    # The guidance flow carries the details' gradient into the context, not into its classes.
    assert not any(name.startswith(("scb/head", "scb/stage5")) for name in fusion)
    assert {"scb/stage4/layer2/conv/kernel", "hrdb/logits/kernel"} <= fusion
    silent = {*flatten_dict(variables["params"], sep="/")} - everything
    # A bias before a normalisation learns nothing in training (a guidance's too: what its gate does
    # first is to normalise it; what is left of the gradient is rounding, which may come to 0). And
    # of HRNet's last maps those at 1/8 and 1/16 are not read.
    unread = r"encoder/stage4_module1/fuse/(up|down)\d_[23]"
    assert any(re.match(unread, name) for name in silent)
    silent = {name for name in silent if not re.match(unread, name)}
    assert silent
    assert not [name for name in silent if not re.search(r"(conv|guidance\d)/bias$", name)]


def test_a_batch_of_one_cannot_train_the_single_bin():
    model = small()
    variables = unflatten_dict(abstract_variables(model))

    def apply(rows, side=64):
        image = jax.ShapeDtypeStruct((rows, side, side, 3), jnp.float32)
        call = lambda v, x: model.apply(v, x, train=True, mutable="batch_stats")  # noqa: E731
        return jax.eval_shape(call, variables, image)

    with pytest.raises(UserError, match="batch of one picture cannot train scb/psp/stage0"):
        apply(1)
    assert apply(2)[0]["alpha"].shape == (2, 64, 64, 1)


@pytest.mark.parametrize("encoder", ["hrnet_w18", "stdc1", "resnet34_vd"])
def test_width_precision_and_shapes(encoder):
    model = small(encoder=encoder, width=0.25, dtype="bfloat16")
    shapes = abstract_variables(model)
    assert all(s.dtype == jnp.float32 for s in shapes.values())
    count = sum(int(np.prod(s.shape)) for path, s in shapes.items() if path[0] == "params")
    assert count < 0.12 * NETWORKS[encoder]["parameters"]
    image = jax.ShapeDtypeStruct((1, 128, 256, 3), jnp.float32)
    apply = jax.eval_shape(
        lambda v, x: model.apply(v, x, train=False), unflatten_dict(shapes), image
    )
    assert all(value.dtype == jnp.float32 for value in apply.values())
    assert apply["alpha"].shape == (1, 128, 256, 1)
    if encoder == "stdc1":
        assert apply["auxiliary"].shape == (1, 16, 32, 1)
    else:
        assert {"semantic", "detail", "semantic_logits", "detail_logits"} <= {*apply}


def test_the_classes_decide_the_fusion():
    semantic = jnp.asarray(
        [[[[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.4, 0.4, 0.2], [0.2, 0.4, 0.4]]]]
    )
    fused = ppmatting.fuse(semantic, jnp.full((1, 1, 5, 1), 0.25))
    # Of equals the first wins: foreground, then transition.
    np.testing.assert_array_equal(fused[0, 0, :, 0], [1, 0.25, 0, 1, 0.25])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"encoder": "hrnet_w40"}, ["'hrnet_w40'", "hrnet_w48, hrnet_w18, stdc1, resnet34_vd"]),
        ({"modules": (1, 4)}, ["modules=(1, 4)"]),
        ({"residual_blocks": 0}, ["residual_blocks=0"]),
        ({"encodr": "hrnet_w18"}, ["did you mean 'encoder'"]),
    ],
)
def test_wrong_fields_are_named(fields, words):
    with pytest.raises(UserError) as error:
        papers.build("ppmatting", **fields)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize(
    ("encoder", "size", "words"),
    [
        ("hrnet_w18", (48, 64), "48 x 64.*multiples of 32"),
        ("stdc1", (32, 64), "multiples of 32, 64 or more"),
        ("resnet34_vd", (128, 160), "128 x 160.*multiples of 128"),
    ],
)
def test_wrong_sizes_are_named(encoder, size, words):
    model = papers.build("ppmatting", encoder=encoder, width=0.125)
    image = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    with pytest.raises(UserError, match=words):
        jax.eval_shape(lambda x: model.apply({}, x, train=False), image)


def test_unknown_layouts_are_named():
    with pytest.raises(UserError, match="official, paddleseg, imagenet, paddleseg_backbone"):
        ppmatting.official(small(), layout="torch")
