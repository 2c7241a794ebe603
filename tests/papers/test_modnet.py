"""MODNet's network against the published code's outputs and training step, and its names."""

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
from jaxmatte.papers import modnet
from jaxmatte.papers.contract import abstract_variables
from tests.parity import fill

PARITY = pathlib.Path(__file__).parent.parent / "parity"
NETWORKS = json.loads(gzip.decompress((PARITY / "modnet_networks.json.gz").read_bytes()))
FIXTURE = PARITY / "modnet_networks.npz"
MODELS = {
    "official": papers.build("modnet"),
    "easpp": papers.build("modnet", variant="easpp"),
}
# The fixtures' names of inner maps, and the modules that give them.
INNER = {
    "lr16x": "semantic/at16",
    "lr8x": "semantic/at8",
    "hr4x": "detail/at4_2",
    "hr2x": "detail/at2_3",
    "f2x": "fusion/at2",
}
OUTPUTS = {"alpha": "matte", "semantic": "semantic", "detail": "detail"}


@cache
def state(variant):
    """The published checkpoint's tensors by the fixtures' rule, as saved from DataParallel."""
    network = NETWORKS[variant]
    twin, original = network["tied"]
    tensors = {}
    for name, shape in network["tensors"].items():
        tensors[name] = fill.tensor(name, shape, network["gain"])
        if name.startswith(original):
            tensors[twin + name.removeprefix(original)] = tensors[name]
    return {f"module.{name}": tensor for name, tensor in tensors.items()}


def thinned(values):
    """What the fixtures keep: every third pixel of a plane, every fifth channel of a map."""
    values = np.asarray(values)
    if values.shape[1] > 16:
        values = values[:, ::3, ::3]
    return values if values.shape[-1] == 1 else values[..., ::5]


@pytest.mark.parametrize("variant", MODELS)
def test_outputs_and_inner_maps_equal_the_published_networks(variant):
    model = MODELS[variant]
    variables = weights.convert(state(variant), model)
    image = jnp.asarray(fill.picture("modnet/input", (1, 64, 96, 3)))

    @jax.jit
    def run(variables, image):
        return model.apply(
            variables, image, train=False, capture_intermediates=True, mutable="intermediates"
        )

    outputs, inner = run(variables, image)
    inner = flatten_dict(inner["intermediates"], sep="/")
    found = {theirs: outputs[ours] for ours, theirs in OUTPUTS.items()}
    found |= {name: inner[f"{module}/__call__"][0] for name, module in INNER.items()}
    top = "attention" if variant == "official" else "easpp"
    found["top32x"] = inner[f"semantic/{top}/__call__"][0]
    maps = inner["encoder/__call__"][0]
    found |= {f"enc{2 ** (i + 1)}x": values for i, values in enumerate(maps)}
    with np.load(FIXTURE) as file:
        wanted = {n.removeprefix(f"{variant}/"): v for n, v in file.items() if variant in n}
    assert {*wanted} >= {*OUTPUTS.values(), *INNER, "top32x"}
    for name, expected in wanted.items():
        atol = 2e-5 if name in OUTPUTS.values() else 1e-5 * max(np.abs(expected).max(), 2)
        np.testing.assert_allclose(thinned(found[name]), expected, rtol=0, atol=atol, err_msg=name)


def test_a_training_step_equals_the_published_one():
    """Outputs, running statistics, losses and gradients of one batch, in training mode."""
    model = MODELS["official"]
    variables = weights.convert(state("official"), model)
    image = jnp.asarray(fill.picture("modnet/train_input", (2, 64, 96, 3)))
    with np.load(PARITY / "modnet_losses.npz") as file:
        batch = {"image": image, "alpha": file["alpha"], "trimap": file["trimap"] / np.float32(2)}

    def loss(params, statistics):
        given = {"params": params, "batch_stats": statistics}
        outputs, updated = model.apply(given, image, train=True, mutable="batch_stats")
        terms = {n: total / w for n, (total, w) in modnet.objective(outputs, batch).items()}
        return sum(terms.values()), (outputs, updated, terms)

    step = jax.jit(jax.grad(loss, has_aux=True))
    gradient, (outputs, updated, terms) = step(variables["params"], variables["batch_stats"])
    with np.load(FIXTURE) as file:
        wanted = {n.removeprefix("train/"): v for n, v in file.items() if n.startswith("train/")}
    for ours, theirs in OUTPUTS.items():
        error = np.abs(thinned(outputs[ours]) - wanted[theirs])
        assert error.max() <= 5e-4, theirs
    numbers = NETWORKS["train"]
    for name, term in terms.items():
        assert float(term) == pytest.approx(numbers["losses"][name], rel=1e-4)

    names = {entry.path: name for name, entry in modnet.official(model).entries.items()}
    statistics = {
        f"after/{names['batch_stats', *path]}": value
        for path, value in flatten_dict(updated["batch_stats"]).items()
    }
    compared = [name for name in wanted if name.startswith("after/")]
    assert len(compared) == 14
    for name in compared:
        np.testing.assert_allclose(statistics[name], wanted[name], rtol=1e-4, atol=2e-5)

    slopes = {names["params", *path]: np.asarray(v) for path, v in flatten_dict(gradient).items()}
    for name, norm in numbers["norms"].items():
        assert np.linalg.norm(slopes[name]) == pytest.approx(norm, rel=5e-3), name
    total = np.sqrt(sum(np.square(v, dtype=np.float64).sum() for v in slopes.values()))
    assert total == pytest.approx(numbers["norm"], rel=2e-3)
    for name in (n for n in wanted if n.startswith("step_grad/")):
        slope, expected = slopes[name.removeprefix("step_grad/")], wanted[name]
        slope = slope.transpose(3, 2, 0, 1) if slope.ndim == 4 else slope
        np.testing.assert_allclose(slope, expected, rtol=0, atol=5e-3 * np.abs(expected).max())


@pytest.mark.parametrize("variant", MODELS)
def test_parameters_and_names_are_the_published_ones(variant):
    model, network = MODELS[variant], NETWORKS[variant]
    shapes = abstract_variables(model)
    ours = sum(int(np.prod(s.shape)) for path, s in shapes.items() if path[0] == "params")
    assert ours == network["parameters"]
    official = modnet.official(model)
    names = {name.removeprefix("module.") for name in state(variant)}
    counters = {name for name in names if official.reason(name)}
    assert {*official.entries} | {n for n in official.tied if n in names} == names - counters
    assert {entry.path for entry in official.entries.values()} == {*shapes}


def test_half_of_a_doubled_backbone_is_enough_and_two_must_agree():
    model, tensors = MODELS["official"], state("official")
    alone = {n: v for n, v in tensors.items() if not n.startswith("module.backbone.")}
    once = weights.convert(alone, model)["params"]["encoder"]
    twice = weights.convert(tensors, model)["params"]["encoder"]
    jax.tree.map(np.testing.assert_array_equal, once, twice)
    name = "module.lr_branch.backbone.model.features.0.0.weight"
    with pytest.raises(UserError, match="two different copies"):
        weights.convert(tensors | {name: tensors[name] + 1}, model)


def test_backbone_files_fill_the_encoder_alone():
    model = MODELS["easpp"]
    prefix = "module.backbone.model."
    backbone = {
        name.removeprefix(prefix): value
        for name, value in state("official").items()
        if name.startswith(prefix)
    }
    variables = weights.convert(backbone, model, layout="human_seg")
    assert {*variables["params"]} == {*variables["batch_stats"]} == {"encoder"}
    count = sum(value.size for value in jax.tree.leaves(variables["params"]))
    assert count == 2_223_872
    torchvision = modnet.official(model, "imagenet")
    assert "features.18.0.weight" in torchvision.entries
    assert {entry.path for entry in torchvision.entries.values()} == {*flatten_dict(variables)}
    assert torchvision.reason("classifier.1.weight")


@pytest.mark.parametrize("encoder", modnet.ENCODERS)
def test_every_encoder_fits(encoder):
    count = {}
    for width in (0.25, 1.0):
        model = papers.build("modnet", encoder=encoder, width=width)
        shapes = abstract_variables(model)
        count[width] = sum(int(np.prod(s.shape)) for s in shapes.values())
    assert count[0.25] < 0.11 * count[1.0]
    image = jax.ShapeDtypeStruct((2, 32, 64, 3), jnp.float32)
    variables = unflatten_dict(shapes)
    outputs = jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, image)
    assert outputs["alpha"].shape == outputs["detail"].shape == (2, 32, 64, 1)
    assert outputs["semantic"].shape == (2, 2, 4, 1)
    entries = modnet.official(model, "imagenet").entries
    assert {entry.path for entry in entries.values()} == {
        path for path in shapes if path[1] == "encoder"
    }


def test_rates_are_the_dilations():
    model = papers.build("modnet", variant="easpp", rates=(1, 2))
    shapes = abstract_variables(model)
    assert shapes["params", "semantic", "easpp", "fuse", "conv", "kernel"].shape == (1, 1, 2, 320)
    assert ("params", "semantic", "easpp", "atrous2", "conv", "kernel") not in shapes


def test_blocks_normalise_half_by_the_batch_and_half_by_the_picture():
    block = modnet.network.Block(6)
    x = 3 + 2 * jax.random.normal(jax.random.key(0), (2, 8, 8, 4))
    variables = block.init(jax.random.key(1), x, train=False)
    kernel = variables["params"]["conv"]["kernel"]
    assert np.abs(kernel).max() <= (6 / 36) ** 0.5
    assert not variables["params"]["conv"]["bias"].any()
    y, _ = block.apply(variables, x, train=True, mutable="batch_stats")
    # One picture brighter: that shows where the batch is the measure, and nowhere else.
    brighter, _ = block.apply(variables, x.at[0].add(5.0), train=True, mutable="batch_stats")
    moved = np.abs(brighter - y)[:, 2:-2, 2:-2].mean((0, 1, 2))
    assert (moved[:3] > 0.05).all()
    scaled = block.apply(variables, 7 * x, train=False)
    same = block.apply(variables, x, train=False)
    np.testing.assert_allclose(scaled[..., 3:], same[..., 3:], atol=1e-4)
    assert np.abs(scaled - same)[..., :3].max() > 0.5


def test_bfloat16_gives_float32():
    model = papers.build("modnet", dtype="bfloat16", variant="easpp", width=0.25)
    variables = unflatten_dict(abstract_variables(model))
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    traced = jax.make_jaxpr(lambda v, x: model.apply(v, x, train=False))(variables, image)
    assert all(out.dtype == jnp.float32 for out in traced.out_avals)
    convolutions = [e for e in traced.jaxpr.eqns if e.primitive.name == "conv_general_dilated"]
    assert all(e.outvars[0].aval.dtype == jnp.bfloat16 for e in convolutions)


def test_one_small_picture_cannot_be_a_batch():
    model = MODELS["easpp"]
    variables = unflatten_dict(abstract_variables(model))

    def train(side):
        image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
        apply = lambda v, x: model.apply(v, x, train=True, mutable="batch_stats")  # noqa: E731
        return jax.eval_shape(apply, variables, image)

    with pytest.raises(UserError, match="one picture cannot train encoder"):
        train(32)
    train(64)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"encoder": "mobilenet"}, ["encoder='mobilenet'", "mobilenet_v2", "hrnet_w18"]),
        ({"variant": "aspp"}, ["variant='aspp'", "released, easpp"]),
        ({"rates": ()}, ["rates=()"]),
        ({"rates": (0, 6)}, ["rates=(0, 6)"]),
    ],
)
def test_wrong_fields_are_named(fields, words):
    with pytest.raises(UserError) as error:
        papers.build("modnet", **fields)
    assert all(word in str(error.value) for word in words)


def test_wrong_sizes_and_layouts_are_named():
    model = MODELS["official"]
    variables = unflatten_dict(abstract_variables(model))
    image = jax.ShapeDtypeStruct((1, 48, 64, 3), jnp.float32)
    with pytest.raises(UserError, match="48 x 64"):
        jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, image)
    with pytest.raises(UserError, match="official, human_seg, imagenet"):
        modnet.official(model, "timm")
    with pytest.raises(UserError, match="encoder='resnet50' must be one of imagenet"):
        modnet.official(papers.build("modnet", encoder="resnet50"), "official")
