"""GCA-Matting's network against the published code's outputs and training step, and its names."""

import gzip
import json
import pathlib
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxmatte import inference, papers, weights
from jaxmatte.errors import UserError
from jaxmatte.papers import gca
from jaxmatte.papers.contract import abstract_variables
from tests.parity import fill

PARITY = pathlib.Path(__file__).parent.parent / "parity"
NETWORKS = json.loads(gzip.decompress((PARITY / "gca_networks.json.gz").read_bytes()))
FIXTURE = PARITY / "gca_networks.npz"
# chunk 7 goes through places in 4 steps of the smaller picture, and in 12 of the larger.
MODELS = {
    "gca": papers.build("gca", chunk=7),
    "gca_trimap1": papers.build("gca", chunk=0, trimap_channels=1),
    "baseline": papers.build("gca", attention=False),
}
# Which of them reads mmagic's files.
FOLDED = {"mmagic_gca": "gca", "mmagic_gca_dimaug": "gca_trimap1"}
SIZES = {"a": (1, 64, 96), "b": (2, 128, 160)}
# The fixtures' names of inner maps, and the modules that give them.
INNER = {
    "enc_conv1_out": "encoder/stem1/conv",
    "guidance": "guidance",
    "enc_layer1_out": "encoder/stage1_block2",
    "enc_gca_out": "encoder/attention",
    "enc_out": "encoder/stage4_block1",
    "dec_layer2_out": "decoder/stage2_block2",
    "dec_gca_out": "decoder/attention",
    "raw_alpha": "decoder/head",
}


@cache
def draw(name, *shape):
    return fill.tensor(name, shape)


@cache
def state(variant, iterated=True):
    """The published checkpoint's tensors by the fixtures' rule: one power iteration in float64."""
    tensors = NETWORKS[variant]["tensors"]
    found = {name: draw(name, *shape) for name, shape in tensors.items()}
    for name in tensors:
        layer, _, leaf = name.rpartition(".")
        if not iterated or leaf not in ("weight_bar", "weight_orig"):
            continue
        kernel = found[name].astype(np.float64)
        if leaf == "weight_orig" and kernel.shape[2:] == (4, 4):
            kernel = np.moveaxis(kernel, 1, 0)
        matrix = kernel.reshape(len(kernel), -1)
        v = found[f"{layer}.weight_u"] @ matrix
        v /= np.linalg.norm(v)
        u = matrix @ v
        found[f"{layer}.weight_u"] = (u / np.linalg.norm(u)).astype(np.float32)
        found[f"{layer}.weight_v"] = v.astype(np.float32)
    return found


@cache
def variables(variant):
    layout = "mmagic" if variant in FOLDED else "official"
    model = MODELS[FOLDED.get(variant, variant)]
    return jax.tree.map(jnp.asarray, weights.convert(state(variant), model, layout))


def inputs(case):
    """Picture and trimap of a case such as "a" or "a_all_unknown"."""
    batch, height, width = SIZES[case[0]]
    waves = fill.picture("gca/trimap", (batch, height, width, 1)) * 255
    classes = np.where(waves < 85, 0, np.where(waves < 170, 1, 2))
    classes = {
        "all_unknown": np.ones_like(classes),
        "none_unknown": np.where(waves < 127.5, 0, 2),
        "all_foreground": np.full_like(classes, 2),
    }.get(case[2:], classes)
    picture = fill.picture("gca/rgb", (batch, height, width, 3))
    return jnp.asarray(picture), jnp.asarray(classes / 2, jnp.float32)


@cache
def forward(variant):
    """(variables, image, trimap) -> outputs and inner maps."""
    model = MODELS[variant]

    @jax.jit
    def run(variables, image, trimap):
        outputs, inner = model.apply(
            variables,
            image,
            trimap,
            train=False,
            capture_intermediates=lambda module, _: "/".join(module.path) in INNER.values(),
            mutable="intermediates",
        )
        return outputs, flatten_dict(inner["intermediates"], sep="/")

    return run


@cache
def fixture():
    with np.load(FIXTURE) as file:
        return dict(file)


def assert_case(variant, case):
    model = FOLDED.get(variant, variant)
    outputs, inner = forward(model)(variables(variant), *inputs(case))
    prefix = f"{variant}/{case}/"
    wanted = {n.removeprefix(prefix): v for n, v in fixture().items() if n.startswith(prefix)}
    alpha = wanted.pop("alpha")
    np.testing.assert_allclose(outputs["alpha"][:, ::3, ::3], alpha, rtol=0, atol=2e-5)
    assert len(outputs["offsets"]) == (0 if variant == "baseline" else 2)
    for name, expected in wanted.items():
        if name.startswith("offset"):
            # Two sources may be alike up to rounding.
            found = np.asarray(outputs["offsets"][int(name[-1]) - 1])
            assert found.shape == expected.shape
            assert (found == expected).mean() > 0.9
            continue
        found = inner[f"{INNER[name.removeprefix('tap_')]}/__call__"][0]
        found = found[0] if isinstance(found, tuple) else found
        if found.shape[-1] >= 64:
            found = found[..., ::4]
        found = found[:, ::3, ::3, ::2] if found.shape[1] > 8 else found
        atol = 1e-5 * max(np.abs(expected).max(), 2)
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=name)


SLOW = pytest.mark.slow  # one shape of pictures is enough for the plain command


@pytest.mark.parametrize("variant", ["gca", "baseline", pytest.param("gca_trimap1", marks=SLOW)])
def test_outputs_and_inner_maps_equal_the_published_networks(variant):
    assert_case(variant, "a")


@pytest.mark.parametrize("trimap", ["all_unknown", "none_unknown", "all_foreground"])
def test_trimaps_of_one_kind(trimap):
    assert_case("gca", f"a_{trimap}")


@pytest.mark.parametrize("variant", ["mmagic_gca", pytest.param("mmagic_gca_dimaug", marks=SLOW)])
def test_mmagics_files_give_mmagics_mattes(variant):
    assert_case(variant, "a")


@SLOW
@pytest.mark.parametrize("variant", [*MODELS, *FOLDED])
def test_a_batch_of_two(variant):
    assert_case(variant, "b")


@pytest.mark.parametrize(
    ("rule", "case"), [("gca", "tester"), pytest.param("gca_demo", "demo", marks=SLOW)]
)
def test_bytes_of_an_odd_picture_by_the_published_rules(rule, case):
    shape = (1, 70, 101)
    picture, trimap = (
        np.floor(fill.picture(f"gca/{name}", (*shape, n)) * 255) / np.float32(255)
        for name, n in (("rgb", 3), ("trimap", 1))
    )

    def predict(image, trimap):
        return forward("gca")(variables("gca"), image, trimap)[0]

    matte = inference.get(rule)(predict, jnp.asarray(picture), jnp.asarray(trimap), levels="none")
    wanted = fixture()[f"predict/{case}_float"] / 255
    np.testing.assert_allclose(matte[0, ::2, ::2, 0], wanted, rtol=0, atol=2e-5)
    stored = inference.get(rule)(lambda *_: {"alpha": padded(matte, rule)}, picture, trimap)
    levels = np.rint(np.asarray(stored)[0, ..., 0] * 255)
    differing = np.abs(levels - fixture()[f"predict/{case}_uint8"])
    assert differing.max() <= 1  # where rounding of float32 crosses a level
    assert (differing > 0).mean() < 0.002


def padded(matte, rule):
    """The matte where a rule looks for it in what the network gives."""
    margin = 32 if rule == "gca_demo" else 0
    return jnp.pad(matte, ((0, 0), (margin, 128), (margin, 128), (0, 0)))


@SLOW
def test_a_training_step_equals_the_published_one():
    """Loss, gradients, vectors and running statistics of one batch, in training mode."""
    model = papers.build("gca", chunk=32)
    start = weights.convert(state("gca", iterated=False), model)
    image, trimap = inputs("b")
    alpha = np.clip(2 * fill.picture("gca/train/alpha", (*image.shape[:3], 1)) - 0.5, 0, 1)

    def loss(params, statistics):
        given = {"params": params, "batch_stats": statistics}
        outputs, updated = model.apply(given, image, trimap, train=True, mutable="batch_stats")
        batch = {"alpha": alpha, "trimap": trimap}
        ((total, size),) = gca.objective(outputs, batch).values()
        return total / size, (outputs, updated)

    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, (outputs, updated)), gradient = step(start["params"], start["batch_stats"])
    assert float(value) == pytest.approx(NETWORKS["train"]["loss"], rel=1e-5)
    np.testing.assert_allclose(
        outputs["alpha"][:, ::3, ::3], fixture()["train/alpha"], rtol=0, atol=5e-4
    )
    names = {entry.path: name for name, entry in gca.official(model).entries.items()}
    slopes = {names["params", *path]: value for path, value in flatten_dict(gradient).items()}
    for name, total in NETWORKS["train"]["gradients"].items():
        found = np.abs(np.asarray(slopes[name], np.float64)).sum()
        # Rounding of the picture alone moves those of the guidance by up to a hundredth.
        assert found == pytest.approx(total, rel=1e-2 if "guidance" in name else 2e-3), name
    flat = flatten_dict(updated["batch_stats"])
    kept = {names["batch_stats", *path]: value for path, value in flat.items()}
    compared = [name for name in fixture() if name.startswith("train/after/")]
    assert len(compared) == 5
    for name in compared:
        found = kept[name.removeprefix("train/after/")]
        np.testing.assert_allclose(found, fixture()[name], rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("variant", [*MODELS, *FOLDED])
def test_parameters_and_names_are_the_published_ones(variant):
    model, network = MODELS[FOLDED.get(variant, variant)], NETWORKS[variant]
    shapes = abstract_variables(model)
    ours = sum(int(np.prod(s.shape)) for path, s in shapes.items() if path[0] == "params")
    assert ours == network["parameters"]
    vectors = sum(int(np.prod(s.shape)) for path, s in shapes.items() if path[-1] in ("u", "v"))
    assert ours + vectors == network.get("with_vectors", ours + vectors)
    official = gca.official(model, "mmagic" if variant in FOLDED else "official")
    names = set(network["tensors"])
    assert set(official.entries) == {name for name in names if not official.reason(name)}
    assert {entry.path for entry in official.entries.values()} == {*shapes}


def test_folding_leaves_a_sigma_of_one():
    kernel = np.random.default_rng(0).normal(size=(8, 6, 4, 4)).astype(np.float32)
    model = papers.build("gca", width=0.25)
    rewrite = gca.official(model, "mmagic").rewrite
    tensors = {"x.weight_orig": kernel, "x.weight_u": np.ones(6), "x.weight_v": np.ones(128)}
    found = rewrite(tensors)
    sigma = np.ones(6) @ np.moveaxis(kernel, 1, 0).reshape(6, -1) @ np.ones(128)
    np.testing.assert_allclose(found["x.weight_orig"], kernel / sigma, rtol=1e-5)
    matrix = found["x.weight_orig"].reshape(8, -1).astype(np.float64)
    u, v = found["x.weight_u"], found["x.weight_v"]
    assert (u.shape, v.shape) == ((8,), (96,))
    assert u @ matrix @ v == pytest.approx(1, abs=1e-6)
    # From here one power iteration gives the greatest singular value.
    step = matrix @ (u @ matrix)
    largest = np.linalg.norm(step) / np.linalg.norm(u @ matrix)
    assert largest == pytest.approx(np.linalg.svd(matrix, compute_uv=False)[0])
    with pytest.raises(UserError, match=r"x: kernel \(8, 6, 4, 4\), u \(5,\) and v"):
        rewrite(tensors | {"x.weight_u": np.ones(5)})
    assert rewrite({"x.weight_orig": kernel}) == {"x.weight_orig": kernel}


def test_the_encoders_file_fills_stem_and_stages_and_the_trimap_starts_without_a_say():
    model = MODELS["gca"]
    prefix = "encoder."
    encoder = {
        name.removeprefix(prefix): value
        for name, value in state("gca").items()
        if name.startswith(("encoder.conv", "encoder.bn", "encoder.layer"))
    }
    encoder["conv1.module.weight_bar"] = encoder["conv1.module.weight_bar"][:, :3]
    encoder["conv1.module.weight_v"] = encoder["conv1.module.weight_v"][:27]
    encoder |= {"fc.weight": np.zeros((1000, 512)), "fc.bias": np.zeros(1000)}
    found = weights.convert({f"module.{n}": v for n, v in encoder.items()}, model, "imagenet")
    assert {*found["params"]} == {*found["batch_stats"]} == {"encoder"}
    blocks = {name.partition("_")[0] for name in found["params"]["encoder"]}
    assert blocks == {*(f"stem{i}" for i in (1, 2, 3)), *(f"stage{i}" for i in (1, 2, 3, 4))}
    stem = found["params"]["encoder"]["stem1"]["conv"]["kernel"]
    assert stem.shape == (3, 3, 6, 32)
    assert not stem[:, :, 3:].any()
    vectors = found["batch_stats"]["encoder"]["stem1"]["conv"]
    wide = vectors["u"] @ stem.transpose(3, 2, 0, 1).reshape(32, -1) @ vectors["v"]
    before = encoder["conv1.module.weight_bar"].reshape(32, -1)
    narrow = encoder["conv1.module.weight_u"] @ before @ encoder["conv1.module.weight_v"]
    assert wide == pytest.approx(narrow, rel=1e-5)
    fresh = gca.network._colours_only(jax.random.key(0), (3, 3, 6, 32))
    assert fresh[:, :, :3].all()
    assert not fresh[:, :, 3:].any()


@pytest.mark.parametrize(
    "fields", [{"late_downsample": True}, {"trimap_channels": 1, "attention": False}], ids=str
)
def test_every_network_fits(fields):
    model = papers.build("gca", width=0.25, **fields)
    shapes = abstract_variables(model)
    count = sum(int(np.prod(s.shape)) for path, s in shapes.items() if path[0] == "params")
    assert 1_500_000 < count < 1_700_000  # a sixteenth of the paper's
    given = [jax.ShapeDtypeStruct((2, 32, 64, n), jnp.float32) for n in (3, 1)]
    apply = lambda v, *x: model.apply(v, *x, train=False)  # noqa: E731
    outputs = jax.eval_shape(apply, unflatten_dict(shapes), *given)
    assert outputs["alpha"].shape == (2, 32, 64, 1)
    assert [o.shape for o in outputs["offsets"]] == [(2, 2, 4, 2)] * (
        2 * fields.get("attention", True)
    )


def test_thirds_of_a_trimap_are_its_classes():
    values = jnp.asarray([0, 84, 85, 128, 169, 170, 255]) / 255
    assert gca.network.trimap_classes(values).tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert gca.network.trimap_classes(jnp.asarray([0.0, 0.5, 1.0])).tolist() == [0, 1, 2]


def test_bfloat16_gives_float32():
    model = papers.build("gca", dtype="bfloat16", width=0.25)
    shapes = unflatten_dict(abstract_variables(model))
    given = [jax.ShapeDtypeStruct((1, 32, 32, n), jnp.float32) for n in (3, 1)]
    traced = jax.make_jaxpr(lambda v, *x: model.apply(v, *x, train=False)["alpha"])(shapes, *given)
    assert traced.out_avals[0].dtype == jnp.float32
    convolutions = [e for e in traced.jaxpr.eqns if e.primitive.name == "conv_general_dilated"]
    assert len(convolutions) > 50
    assert all(e.outvars[0].aval.dtype == jnp.bfloat16 for e in convolutions)


def test_one_small_picture_cannot_be_a_batch():
    model = papers.build("gca", width=0.25)
    shapes = unflatten_dict(abstract_variables(model))
    given = [jax.ShapeDtypeStruct((1, 32, 32, n), jnp.float32) for n in (3, 1)]
    apply = lambda v, *x: model.apply(v, *x, train=True, mutable="batch_stats")  # noqa: E731
    with pytest.raises(UserError, match="one picture cannot train encoder/stage4"):
        jax.eval_shape(apply, shapes, *given)


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"trimap_channels": 2}, "trimap_channels=2 must be 3 or 1"), ({"chunk": -1}, "chunk=-1")],
)
def test_wrong_fields_are_named(fields, words):
    with pytest.raises(UserError, match=words):
        papers.build("gca", **fields)


def test_wrong_sizes_and_layouts_are_named():
    model = MODELS["baseline"]
    shapes = unflatten_dict(abstract_variables(model))
    given = [jax.ShapeDtypeStruct((1, 48, 64, n), jnp.float32) for n in (3, 1)]
    with pytest.raises(UserError, match="48 x 64"):
        jax.eval_shape(lambda v, *x: model.apply(v, *x, train=False), shapes, *given)
    with pytest.raises(UserError, match="official, mmagic, imagenet"):
        gca.official(model, "paddle")
