"""GFM's networks against the published code's outputs, its names, and its parts' behaviour."""

import gzip
import json
import pathlib
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxmatte import papers, weights
from jaxmatte.errors import UserError
from jaxmatte.papers import gfm
from jaxmatte.papers.contract import abstract_variables
from tests.parity import fill

PARITY = pathlib.Path(__file__).parent.parent / "parity"
NETWORKS = json.loads(gzip.decompress((PARITY / "gfm_networks.json.gz").read_bytes()))


def build(variant):
    """The model behind a variant such as "r34_2b_TT_2020", and its RoSTa's name there."""
    encoder = next(name for name in ("r34_2b", "r34", "d121", "r101") if variant.startswith(name))
    mode = variant.removeprefix(f"{encoder}_")
    fields = {"d6_dilation": 2} if mode.endswith("2020") else {}
    return papers.build("gfm", encoder=encoder, rosta=mode[:3].rstrip("_"), **fields), mode


@lru_cache(maxsize=1)
def drawn(encoder):
    """Where the tensors of one encoder's variants are kept: drawn once, placed once."""
    del encoder
    return {}


def filled(variant, model):
    """The variables by the fixtures' rule, at gain 1."""
    network, cache = NETWORKS[variant], drawn(model.encoder)

    def draw(name, shape):
        if (name, *shape) not in cache:
            cache[name, *shape] = fill.tensor(name, shape)
        return cache[name, *shape]

    aliases = network["aliases"]
    state = {n: draw(aliases.get(n, n), shape) for n, shape in network["tensors"].items()}
    variables = flatten_dict(weights.convert(state, model))
    for path, value in variables.items():
        if (path, *value.shape) not in cache:
            cache[path, *value.shape] = jnp.asarray(value)
        variables[path] = cache[path, *value.shape]
    return unflatten_dict(variables)


def forward(model):
    """variables, image, gain -> every third pixel of the outputs; the gain scales the kernels."""

    @jax.jit
    def run(variables, image, gain):
        flat = flatten_dict(variables)
        flat = {path: v * gain if path[-1] == "kernel" else v for path, v in flat.items()}
        outputs = model.apply(unflatten_dict(flat), image, train=False)
        return {name: value[:, ::3, ::3] for name, value in outputs.items()}

    return lambda *inputs: {name: np.asarray(v) for name, v in run(*inputs).items()}


# Half a billion parameters take a minute to draw; the plain command holds their names and counts.
HEAVY = ("r101_TT", "r101_FT", "r101_BT", "r101_RIM")
VARIANTS = [pytest.param(v, marks=pytest.mark.slow if v in HEAVY else ()) for v in NETWORKS]


@pytest.mark.parametrize("variant", VARIANTS)
def test_outputs_equal_the_published_network(variant):
    model, mode = build(variant)
    network = NETWORKS[variant]
    with np.load(PARITY / f"gfm_{model.encoder}.npz") as file:
        # BT has the tensors of FT: only what differs is stored twice.
        fixture = {k.split("/")[1]: v for k, v in file.items() if k.startswith("FT/")}
        fixture = fixture if mode == "BT" else {}
        fixture |= {k.split("/")[1]: v for k, v in file.items() if k.startswith(f"{mode}/")}
    variables, run = filled(variant, model), forward(model)
    image = fill.picture("gfm/input_0", (1, 64, 96, 3))
    low = run(variables, image, np.float32(network["gain"]))
    deep = run(variables, image, np.float32(network["deep_gain"]))

    rim = model.rosta == "RIM"
    for suffix in ("_tt", "_ft", "_bt") if rim else ("",):
        glance = fixture[f"global{suffix}"]
        np.testing.assert_allclose(
            low[f"glance{suffix}"], glance, rtol=0, atol=1e-5 if rim else 2e-6
        )
        np.testing.assert_allclose(
            low[f"focus{suffix}"], fixture[f"local{suffix}"], rtol=0, atol=2e-5
        )
        # Where two classes are as good as equal, float32 noise decides.
        ordered = np.sort(glance, axis=-1)
        clear = ordered[..., -1] - ordered[..., -2] >= 1e-5
        assert clear.mean() > 0.98
        fusion = low[f"fusion{suffix}" if rim else "alpha"]
        np.testing.assert_allclose(
            fusion[clear], fixture[f"fusion{suffix}"][clear], rtol=0, atol=2e-5
        )
        for ours, theirs in (("glance", "g"), ("focus", "f")):
            key = f"deep_logit_{theirs}{suffix}"
            deviation = network["deep_std"][f"{key}_0"]
            error = np.abs(deep[f"{ours}_logits{suffix}"] - fixture[key]).max()
            assert error <= 2e-4 * deviation
    if rim:
        np.testing.assert_allclose(low["rim"], fixture["fusion"], rtol=0, atol=2e-5)
        np.testing.assert_array_equal(low["alpha"], np.clip(low["rim"], 0, 1))


def test_training_mode_equals_the_published_network():
    fixture = np.load(PARITY / "gfm_train.npz")
    numbers = json.loads((PARITY / "gfm_train.json").read_text())
    model, _ = build("r34_TT")
    variables = filled("r34_TT", model)
    assert numbers["gain"] == 1.0
    image = fill.picture("gfm/train", (2, 128, 160, 3))
    apply = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable="batch_stats"))
    outputs, updated = apply(variables, image)

    for ours, theirs, tolerance in (("glance", "global", 1e-2), ("focus", "local", 1e-3)):
        error = np.abs(np.asarray(outputs[ours])[:, ::3, ::3] - fixture[theirs])
        assert error.max() <= tolerance * numbers["std"][theirs]
    names = {entry.path: name for name, entry in gfm.official(model).entries.items()}
    statistics = {
        names["batch_stats", *p]: v for p, v in flatten_dict(updated["batch_stats"]).items()
    }
    for name, expected in numbers["running"].items():
        values = np.asarray(statistics[name])
        np.testing.assert_allclose(values[:4], expected["first4"], rtol=2e-4, atol=2e-5)
        np.testing.assert_allclose(values.sum(), expected["sum"], rtol=2e-4, atol=2e-3)


@pytest.mark.parametrize("variant", [name for name in NETWORKS if not name.endswith("2020")])
def test_parameter_counts_are_the_published_ones(variant):
    model, _ = build(variant)
    network = NETWORKS[variant]
    official = gfm.official(model)
    counts = {n: int(np.prod(shape)) for n, shape in network["tensors"].items()}
    shapes = abstract_variables(model)
    ours = sum(int(np.prod(s.shape)) for path, s in shapes.items() if path[0] == "params")
    assert ours == network["reached"]
    # PyTorch counts parameters, not running statistics, and a tied one once.
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    unused = [n for n in counts if official.reason(n) and not n.endswith(statistics)]
    assert ours + sum(counts[n] for n in unused) == network["parameters"]
    assert {*official.entries} <= {*counts}
    assert all(official.reason(n) for n in {*counts} - {*official.entries} - {*official.tied})
    aliases = {n: o for n, o in network["aliases"].items() if "num_batches_tracked" not in n}
    assert official.tied == aliases


def small(**fields):
    """A narrow model, an image and its variables, without compiling what draws them."""
    model = papers.build("gfm", **{"width": 0.125, **fields})
    image = jnp.asarray(fill.picture("gfm/small", (4, 32, 64, 3)))
    rng, variables = np.random.default_rng(0), {}
    for path, wanted in abstract_variables(model).items():
        if path[-1] == "kernel":
            deviation = (2 / np.prod(wanted.shape[:-1])) ** 0.5
            value = deviation * rng.standard_normal(wanted.shape, np.float32)
        else:
            value = np.full(wanted.shape, path[-1] in ("scale", "var"))
        variables[path] = jnp.asarray(value, jnp.float32)
    return model, image, unflatten_dict(variables)


@pytest.mark.parametrize("rosta", ["TT", "FT", "BT"])
def test_collaborative_matting_follows_its_table(rosta):
    classes = gfm.CLASSES[rosta]
    glance = jnp.asarray(np.eye(classes, dtype=np.float32))[None, None]
    focus = jnp.full((1, 1, classes, 1), 0.25)
    expected = {"TT": [0, 0.25, 1], "FT": [0.25, 1], "BT": [0, 0.75]}[rosta]
    fused = gfm.collaborative_matting(rosta, glance, focus)
    np.testing.assert_allclose(fused[0, 0, :, 0], expected)
    # Of equals the first class wins.
    tie = gfm.collaborative_matting(rosta, jnp.ones_like(glance), focus)
    np.testing.assert_allclose(tie[0, 0, :, 0], expected[0])
    # The glance map gets no gradient; the focus map where it decides.
    gradient = jax.grad(lambda g, f: gfm.collaborative_matting(rosta, g, f).sum(), argnums=(0, 1))(
        glance, focus
    )
    np.testing.assert_array_equal(gradient[0], 0)
    slope = {"TT": [0, 1, 0], "FT": [1, 0], "BT": [0, -1]}[rosta]
    np.testing.assert_array_equal(gradient[1][0, 0, :, 0], slope)


def test_gradients_reach_every_part_but_not_the_glance_through_the_fusion():
    model, image, variables = small(rosta="RIM")

    def loss(params, rim_weight, glance_weight):
        outputs = model.apply({**variables, "params": params}, image, train=True, mutable=True)[0]
        glances = [outputs[name] for name in outputs if name.startswith("glance_logits")]
        total = rim_weight * jnp.square(outputs["rim"] - 0.3).mean()
        return total + glance_weight * sum(jnp.square(g - 0.3).mean() for g in glances)

    gradient = jax.jit(jax.grad(loss))

    def norms(*weighted):
        gradients = gradient(variables["params"], *weighted)
        return {
            name: float(sum(jnp.abs(g).sum() for g in jax.tree.leaves(part)))
            for name, part in gradients.items()
        }

    fusion = norms(1.0, 0.0)
    glance = {name for name in fusion if name.startswith("glance")}
    assert {name for name, norm in fusion.items() if norm == 0} == glance
    assert all(np.isfinite(norm) for norm in fusion.values())
    direct = norms(0.0, 1.0)
    assert all(direct[name] > 0 for name in glance | {"encoder"})


@pytest.mark.parametrize("encoder", gfm.PLANS)
def test_width_makes_every_encoder_smaller(encoder):
    count = {}
    for width in (0.25, 1.0):
        model = papers.build("gfm", encoder=encoder, width=width)
        shapes = abstract_variables(model)
        count[width] = sum(int(np.prod(s.shape)) for s in shapes.values())
        image = jax.ShapeDtypeStruct((1, 32, 64, 3), jnp.float32)
        variables = unflatten_dict(shapes)
        out = jax.eval_shape(lambda v, x, m=model: m.apply(v, x, train=False), variables, image)
        assert out["alpha"].shape == out["focus"].shape == (1, 32, 64, 1)
        assert out["glance_logits"].shape == (1, 32, 64, 3)
    assert count[0.25] < 0.1 * count[1.0]


def test_bfloat16_stays_close_and_gives_float32():
    model, image, variables = small()
    half = papers.build("gfm", width=0.125, dtype="bfloat16")
    outputs = [
        jax.jit(lambda v, x, m=m: m.apply(v, x, train=False))(variables, image)
        for m in (model, half)
    ]
    assert all(value.dtype == jnp.float32 for value in jax.tree.leaves(outputs[1]))
    for name in ("focus", "glance"):
        difference = np.abs(outputs[0][name] - outputs[1][name])
        assert 0 < difference.mean() < 0.02


def test_shared_statistics_under_pmap_equal_the_whole_batch():
    model, image, variables = small()
    split = papers.build("gfm", width=0.125, bn_axis="batch")

    def step(model, variables, image):
        return model.apply(variables, image, train=True, mutable="batch_stats")

    whole, stats = jax.jit(lambda v, x: step(model, v, x))(variables, image)
    mapped = jax.pmap(lambda v, x: step(split, v, x), axis_name="batch", in_axes=(None, 0))
    parts, part_stats = mapped(variables, image.reshape(2, 2, *image.shape[1:]))
    for name in ("glance", "focus"):
        joined = np.asarray(parts[name]).reshape(whole[name].shape)
        np.testing.assert_allclose(joined, whole[name], rtol=0, atol=2e-4)
    for one, other in zip(jax.tree.leaves(part_stats), jax.tree.leaves(stats), strict=True):
        np.testing.assert_array_equal(one[0], one[1])
        np.testing.assert_allclose(one[0], other, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"encoder": "r50"}, ["encoder='r50'", "r34_2b", "r101"]),
        ({"rosta": "tt"}, ["rosta='tt'", "TT, FT, BT, RIM"]),
        ({"d6_dilation": 2}, ["d6_dilation=2", "r34_2b"]),
        ({"encoder": "r34_2b", "d6_dilation": 3}, ["d6_dilation=3"]),
        ({"rostra": "TT"}, ["rostra", "did you mean 'rosta'"]),
    ],
)
def test_wrong_fields_are_named(fields, words):
    with pytest.raises(UserError) as error:
        papers.build("gfm", **fields)
    assert all(word in str(error.value) for word in words)


def test_unknown_papers_and_layouts_are_named():
    assert "gfm" in papers.names()
    with pytest.raises(UserError, match="did you mean 'gfm'"):
        papers.module("gfn")
    with pytest.raises(UserError, match="official, imagenet"):
        gfm.official(papers.build("gfm"), layout="timm")


def test_sizes_must_be_multiples_of_32():
    model = papers.build("gfm")
    variables = unflatten_dict(abstract_variables(model))
    image = jax.ShapeDtypeStruct((1, 48, 64, 3), jnp.float32)
    with pytest.raises(UserError, match="48 x 64"):
        jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, image)
