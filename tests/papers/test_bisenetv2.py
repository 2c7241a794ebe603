"""BiSeNet V2's networks against the code's outputs, its names, and its parts' behaviour."""

import gzip
import json
import pathlib
import re

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxmatte import papers, weights
from jaxmatte.errors import UserError
from jaxmatte.papers import bisenetv2
from jaxmatte.papers.bisenetv2 import network
from jaxmatte.papers.contract import abstract_variables
from tests.parity import fill

PARITY = pathlib.Path(__file__).parent.parent / "parity"
NETWORKS = json.loads(gzip.decompress((PARITY / "bisenetv2.json.gz").read_bytes()))["networks"]
AUXILIARY = ("aux2", "aux3", "aux4", "aux5_4")
TAPS = ("feat2", "feat3", "feat4", "feat5_4", "feat5_5")


def build(variant, **fields):
    """The model behind a variant such as "coincheung_19"."""
    layout, _, classes = variant.partition("_")
    return papers.build("bisenetv2", classes=int(classes), layout=layout, **fields)


def shapes(variant):
    """The tensors of the variant's state dict; most are those of coincheung_3."""
    recorded = NETWORKS[variant]
    return recorded.get("state") or {**NETWORKS["coincheung_3"]["state"], **recorded["changes"]}


def state(variant):
    gain = NETWORKS[variant]["gain"]
    return {name: fill.tensor(name, shape, gain) for name, shape in shapes(variant).items()}


def fixture(variant):
    with np.load(PARITY / "bisenetv2.npz") as file:
        return {
            name.partition("/")[2]: values
            for name, values in file.items()
            if name.startswith(f"{variant}/")
        }


def named(outputs):
    """The logits by the fixtures' names, every third pixel."""
    logits = (outputs["logits"], *outputs["auxiliary"])
    return {
        name: np.asarray(values)[:, ::3, ::3]
        for name, values in zip(("logits", *AUXILIARY), logits, strict=True)
    }


# The others differ from coincheung_3 in the last convolutions only.
VARIANTS = ["coincheung_3", "mmseg_3", "paper_3"] + [
    pytest.param(name, marks=pytest.mark.slow) for name in ("coincheung_19", "coincheung_2")
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_outputs_equal_the_published_network(variant):
    model, expected = build(variant), fixture(variant)
    branches = ("detail", "semantic", "aggregation")

    @jax.jit
    def run(variables, image):
        return model.apply(
            variables,
            image,
            train=False,
            capture_intermediates=lambda module, _: module.name in branches,
            mutable=["intermediates"],
        )

    image = fill.picture("bisenetv2/input", (1, 64, 96, 3))
    outputs, caught = run(weights.convert(state(variant), model), image)
    detail, semantic, merged = (caught["intermediates"][name]["__call__"][0] for name in branches)
    taps = {"detail": detail, "bga": merged, **dict(zip(TAPS, semantic, strict=True))}
    found = named(outputs) | {name: np.asarray(v)[..., ::4] for name, v in taps.items()}
    for name, values in expected.items():
        atol = 2e-5 if name == "logits" else 1e-4 if name == "aux5_4" else 4e-5
        np.testing.assert_allclose(found[name], values, rtol=0, atol=atol, err_msg=name)
    probability = np.asarray(outputs["probability"])
    np.testing.assert_allclose(probability.sum(-1), 1, atol=1e-5)
    if model.classes == 3:
        alpha = probability[..., 2:] + 0.5 * probability[..., 1:2]
        np.testing.assert_allclose(outputs["alpha"], alpha, atol=1e-6)


def test_training_mode_equals_the_published_network():
    model, expected = build("coincheung_3", dropout=0.0), fixture("train")
    image = fill.picture("bisenetv2/train_input", (2, 64, 96, 3))
    apply = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]))
    outputs, updated = apply(weights.convert(state("coincheung_3"), model), image)
    for name, values in named(outputs).items():
        # The context's norm sees two values a channel: float32 is noisy behind it.
        atol = 5e-3 if name == "logits" else 2e-4
        np.testing.assert_allclose(values, expected[name], rtol=0, atol=atol, err_msg=name)
    names = {entry.path: name for name, entry in bisenetv2.official(model).entries.items()}
    statistics = {
        names["batch_stats", *p]: v for p, v in flatten_dict(updated["batch_stats"]).items()
    }
    running = [name for name in expected if name.startswith("after/")]
    assert len(running) == 16
    for name in running:
        values = statistics[name.removeprefix("after/")]
        np.testing.assert_allclose(values, expected[name], rtol=1e-3, atol=3e-4, err_msg=name)


@pytest.mark.parametrize("variant", NETWORKS)
def test_parameters_and_names_are_the_published_ones(variant):
    full, small = build(variant), build(variant, booster=False)
    for model, count in ((full, "parameters"), (small, "without_auxiliary")):
        variables = abstract_variables(model)
        ours = sum(int(np.prod(s.shape)) for path, s in variables.items() if path[0] == "params")
        assert ours == NETWORKS[variant][count]
        official = bisenetv2.official(model)
        assert {*official.entries} <= {*shapes(variant)}
        rest = {*shapes(variant)} - {*official.entries}
        assert all(official.reason(name) for name in rest)
        assert len({entry.path for entry in official.entries.values()}) == len(variables)
        aux = [name for name in rest if not name.endswith("num_batches_tracked")]
        assert bool(aux) == (model is small)
        assert all(name.startswith("aux") for name in aux)


MMSEG = (
    (r"^detail\.S(\d)", lambda m: f"backbone.detail.detail_branch.{int(m[1]) - 1}"),
    (r"^segment\.S1S2\.conv", r"backbone.semantic.stage1.conv_first"),
    (r"^segment\.S1S2\.left", r"backbone.semantic.stage1.convs"),
    (r"^segment\.S1S2\.fuse", r"backbone.semantic.stage1.fuse_last"),
    (r"^segment\.S5_5\.bn", "backbone.semantic.stage4_CEBlock.gap.1"),
    (r"^segment\.S5_5", "backbone.semantic.stage4_CEBlock"),
    (r"^segment\.S(\d)(_4)?\.", lambda m: f"backbone.semantic.stage{int(m[1]) - 1}."),
    (r"\.dwconv1?\.0\.", ".dwconv.0.conv."),
    (r"\.dwconv1?\.1\.", ".dwconv.0.bn."),
    (r"\.dwconv2\.0\.", ".dwconv.1.conv."),
    (r"\.dwconv2\.1\.", ".dwconv.1.bn."),
    (r"\.conv2\.0\.", ".conv2.0.conv."),
    (r"\.conv2\.1\.", ".conv2.0.bn."),
    (r"\.shortcut\.0\.", ".shortcut.0.depthwise_conv.conv."),
    (r"\.shortcut\.1\.", ".shortcut.0.depthwise_conv.bn."),
    (r"\.shortcut\.2\.", ".shortcut.0.pointwise_conv.conv."),
    (r"\.shortcut\.3\.", ".shortcut.0.pointwise_conv.bn."),
    (r"^bga\.left1\.0", "backbone.bga.detail_dwconv.0.depthwise_conv.conv"),
    (r"^bga\.left1\.1", "backbone.bga.detail_dwconv.0.depthwise_conv.bn"),
    (r"^bga\.left1\.2", "backbone.bga.detail_dwconv.0.pointwise_conv.conv"),
    (r"^bga\.left2\.0", "backbone.bga.detail_down.0.conv"),
    (r"^bga\.left2\.1", "backbone.bga.detail_down.0.bn"),
    (r"^bga\.right1\.0", "backbone.bga.semantic_conv.0.conv"),
    (r"^bga\.right1\.1", "backbone.bga.semantic_conv.0.bn"),
    (r"^bga\.right2\.0", "backbone.bga.semantic_dwconv.0.depthwise_conv.conv"),
    (r"^bga\.right2\.1", "backbone.bga.semantic_dwconv.0.depthwise_conv.bn"),
    (r"^bga\.right2\.2", "backbone.bga.semantic_dwconv.0.pointwise_conv.conv"),
    (r"^bga\.conv\.0", "backbone.bga.conv.conv"),
    (r"^bga\.conv\.1", "backbone.bga.conv.bn"),
    (r"^head\.conv\.", "decode_head.convs.0."),
    (r"^head\.conv_out\.1", "decode_head.conv_seg"),
)


def test_mmsegmentations_names_mean_the_same_tensors():
    model = build("mmseg_3", booster=False)
    theirs = bisenetv2.official(model, "mmseg")
    expected = {}
    for name, entry in bisenetv2.official(model).entries.items():
        for pattern, replacement in MMSEG:
            name = re.sub(pattern, replacement, name)
        expected[name] = entry
    assert theirs.entries == expected
    assert theirs.reason("auxiliary_head.0.convs.0.conv.weight")
    with pytest.raises(UserError, match=r"model.booster=False"):
        bisenetv2.official(build("mmseg_3"), "mmseg")
    with pytest.raises(UserError, match="official, mmseg, backbone"):
        bisenetv2.official(model, "paddle")


def test_a_backbone_fills_the_branches_only():
    model = build("coincheung_2")
    branches = {n: v for n, v in state("coincheung_2").items() if n[:6] in ("detail", "segmen")}
    part = weights.convert(branches, model, "backbone")
    assert {*part["params"]} == {"detail", "semantic"}
    whole = weights.convert(state("coincheung_2"), model)
    for one, other in zip(
        jax.tree.leaves(part["params"]["semantic"]),
        jax.tree.leaves(whole["params"]["semantic"]),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def shaped(model, shape, train=False):
    """The outputs' shapes; costs no compilation."""
    variables = unflatten_dict(abstract_variables(model))
    image = jax.ShapeDtypeStruct((*shape, 3), jnp.float32)
    key = jax.ShapeDtypeStruct((2,), jnp.uint32)

    def run(v, x, key):
        rest = {"mutable": ["batch_stats"], "rngs": {"dropout": key}} if train else {}
        return model.apply(v, x, train=train, **rest)

    return jax.eval_shape(run, variables, image, key)


def test_a_batch_of_one_cannot_train():
    model = papers.build("bisenetv2", width=0.25)
    with pytest.raises(UserError, match=r"batch of one picture .*semantic/context/norm"):
        shaped(model, (1, 64, 64), train=True)
    shaped(model, (2, 64, 64), train=True)


@pytest.mark.parametrize("layout", bisenetv2.LAYOUTS)
def test_outputs_by_classes_and_fields(layout):
    for classes in (2, 3, 7) if layout == "coincheung" else (7,):
        model = papers.build("bisenetv2", classes=classes, layout=layout, dtype="bfloat16")
        outputs = shaped(model, (1, 32, 96))
        assert all(value.dtype == jnp.float32 for value in jax.tree.leaves(outputs))
        assert [v.shape for v in outputs["auxiliary"]] == [(1, 32, 96, classes)] * 4
        assert outputs["logits"].shape == outputs["probability"].shape == (1, 32, 96, classes)
        assert ("alpha" in outputs) == (classes in (2, 3))
    assert outputs.keys() == {"logits", "auxiliary", "probability"}
    assert shaped(build(f"{layout}_2", booster=False), (1, 32, 32))["auxiliary"] == ()


def test_width_and_depth_reach_the_network():
    def count(**fields):
        variables = abstract_variables(papers.build("bisenetv2", **fields))
        return sum(int(np.prod(s.shape)) for s in variables.values())

    assert count(width=0.25) < 0.1 * count()
    assert count(width=2.0) > 3.8 * count()
    deep = abstract_variables(papers.build("bisenetv2", depth=3.0))
    layers = {path[2] for path in deep if path[1] == "semantic" and path[2].startswith("stage")}
    assert sum(name.startswith("stage3") for name in layers) == 1 + 3
    assert sum(name.startswith("stage5") for name in layers) == 1 + 9


def test_blocks_begin_as_their_shortcut():
    settings = network.Settings(bisenetv2.LAYOUTS["paper"], 1.0, 1.0, 0.1, jnp.float32, None)
    block = network.GatherExpand(8, 1, settings)
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 8))
    y, variables = block.init_with_output(jax.random.key(1), x, train=False)
    np.testing.assert_array_equal(y, jax.nn.relu(x))
    kernel = variables["params"]["expand"]["conv"]["kernel"]
    assert kernel.shape == (3, 3, 1, 48)
    # Variance 2 / (outputs * kernel area), though each output has one channel only.
    np.testing.assert_allclose(kernel.std(), (2 / (48 * 9)) ** 0.5, rtol=0.15)


def test_dropout_is_for_training():
    settings = network.Settings(bisenetv2.LAYOUTS["paper"], 1.0, 1.0, 0.5, jnp.float32, None)
    head = network.Head(2, 16, 1, settings)
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
    variables = head.init(jax.random.key(1), x, train=False)

    def run(key):
        rngs = {"dropout": jax.random.key(key)}
        return head.apply(variables, x, train=True, mutable=["batch_stats"], rngs=rngs)[0]

    assert np.abs(run(0) - run(1)).max() > 0.01
    np.testing.assert_array_equal(run(0), run(0))


def test_a_trimap_is_what_three_classes_say():
    rng = np.random.default_rng(0)
    said = cv2.resize(rng.integers(0, 3, (6, 8)).astype(np.uint8), (40, 30), interpolation=0)
    probability = np.eye(3, dtype=np.float32)[said][None] * 0.4 + 0.2
    plain = np.asarray(bisenetv2.trimap(probability))
    np.testing.assert_array_equal(plain[0, ..., 0], said / 2)
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    expected = np.full(said.shape, 0.5)
    expected[cv2.dilate((said > 0).astype(np.uint8), ellipse) == 0] = 0
    expected[cv2.erode((said == 2).astype(np.uint8), ellipse) == 1] = 1
    widened = np.asarray(bisenetv2.trimap(probability, 5))
    np.testing.assert_array_equal(widened[0, ..., 0], expected)
    assert (widened == 0.5).sum() > (plain == 0.5).sum()
    with pytest.raises(UserError, match="3 classes, not 2"):
        bisenetv2.trimap(probability[..., :2])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"layout": "paddle"}, "layout='paddle' must be one of coincheung, mmseg, paper"),
        ({"normalisation": "none"}, "cityscapes, imagenet, matting, custom"),
        ({"classes": 1}, "classes=1 must be 2 to 255"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"clases": 2}, "did you mean 'classes'"),
    ],
)
def test_wrong_fields_are_named(fields, words):
    with pytest.raises(UserError, match=re.escape(words)):
        papers.build("bisenetv2", **fields)


def test_sizes_must_be_multiples_of_32():
    with pytest.raises(UserError, match="48 x 64"):
        shaped(papers.build("bisenetv2"), (1, 48, 64))
