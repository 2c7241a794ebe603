"""BGMv2's base network against the published code's outputs; its names, fields and start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxmatte import papers, weights
from jaxmatte.errors import UserError
from jaxmatte.papers import bgmv2
from jaxmatte.papers.contract import abstract_variables
from tests.parity import bgmv2 as parity

BASES = [case for case in parity.CASES if case.startswith("base")]


def patient(names):
    """The ResNets take long to trace and to compile; MobileNetV2 is looked at every time."""
    return [
        pytest.param(name, marks=() if "mobile" in name else pytest.mark.slow) for name in names
    ]


ONE_OF_EACH = [*BASES, "refine_resnet50_sampling", "refine_resnet101_thresholding"]
ONE_OF_EACH += ["refine_mobilenetv2_sampling", "refine_mobilenetv2_sampling_kernel1"]


def model_of(case):
    return papers.build("bgmv2", **parity.CASES[case]["fields"])


def shapes_of(model, *sides, train=False, plate=None):
    """What the model gives for a picture of these sides, as shapes."""
    variables = unflatten_dict(abstract_variables(model))
    image = jax.ShapeDtypeStruct((*sides, 3), jnp.float32)
    plate = image if plate is None else jax.ShapeDtypeStruct((*plate, 3), jnp.float32)

    def run(variables, image, plate):
        rngs = {"dropout": jax.random.key(0)}
        return model.apply(
            variables, image, plate, train=train, mutable=["batch_stats"], rngs=rngs
        )[0]

    return jax.eval_shape(run, variables, image, plate)


@pytest.mark.parametrize("case", patient(BASES))
def test_outputs_and_inner_maps_equal_the_published_networks(case):
    model = model_of(case)

    def run(variables, image, plate):
        return model.apply(
            variables,
            image,
            plate,
            train=False,
            capture_intermediates=lambda module, _: module.name in ("encoder", "aspp", "decoder"),
            mutable="intermediates",
        )

    # Step by step the blocks of a ResNet, which are alike, are compiled only once.
    run = jax.jit(run) if "mobilenet" in case else run
    outputs, inner = run(parity.variables(model, case), *parity.pictures(case))
    inner = {name: of["__call__"][0] for name, of in inner["intermediates"].items()}
    x1, x2, x3, *_, x4 = inner["encoder"]
    taps = {
        "tap_x4": x4[..., ::16],
        "tap_x3": x3[..., ::8][..., :2],
        "tap_x2": x2[:, ::3, ::3, ::4][..., :2],
        "tap_x1": x1[:, ::3, ::3, ::4][..., :2],
        "tap_aspp": inner["aspp"][..., ::4],
        "tap_raw": inner["decoder"][:, ::3, ::3, :9:4],
    }
    found = taps | {name: parity.thinned(name, values) for name, values in outputs.items()}
    expected = parity.wanted(case)
    assert {*expected} >= {*outputs} == {"alpha", "foreground", "error", "hidden"}
    assert len(expected) == (10 if "mobilenet" in case else 4)
    for name, values in expected.items():
        atol = 2e-5 if name in outputs else 1e-5 * max(np.abs(values).max(), 2)
        np.testing.assert_allclose(found[name], values, rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("case", ONE_OF_EACH)
def test_parameters_and_names_are_the_published_ones(case):
    model = model_of(case)
    shapes = abstract_variables(model)
    count = sum(int(np.prod(s.shape)) for path, s in shapes.items() if path[0] == "params")
    assert count == parity.CASES[case]["parameters"]
    official = bgmv2.official(model)
    tensors = parity.tensors(case)
    counters = {name for name in tensors if official.reason(name)}
    assert {name.rpartition(".")[2] for name in counters} == {"num_batches_tracked"}
    assert {*official.entries} == {*tensors} - counters
    assert {entry.path for entry in official.entries.values()} == {*shapes}


def test_the_refiner_is_added_to_the_base_network():
    """So a run of the base network, or a file of one, starts a run with a refiner."""
    base, whole = (papers.build("bgmv2", refine=refine) for refine in ("none", "full"))
    shapes, more = abstract_variables(base), abstract_variables(whole)
    assert {path: more[path] for path in shapes} == shapes
    assert {path[1] for path in {*more} - {*shapes}} == {"refiner"}
    state = parity.state("base_mobilenetv2")
    part = weights.convert(state, whole, layout="base")
    assert {*flatten_dict(part)} == {*shapes}
    with pytest.raises(UserError, match="lack refiner"):
        weights.convert(state, whole)
    # The other way round: the published files are of both together.
    official = bgmv2.official(base)
    assert "no refiner" in official.reason("refiner.conv1.weight")
    assert official.reason("refiner.bn1.running_mean")


@pytest.mark.parametrize("encoder", bgmv2.ENCODERS)
def test_segmentation_weights_fill_encoder_and_pyramid(encoder):
    model = papers.build("bgmv2", encoder=encoder, refine="none")
    official = bgmv2.official(model, "deeplab")
    mobile = encoder == "mobilenet_v2"
    some = {"backbone.conv1.weight": "", "backbone.layer4.2.bn3.weight": "block2/layer3/norm"}
    if mobile:
        some = {
            "backbone.low_level_features.0.0.weight": "",
            "backbone.low_level_features.3.conv.1.0.weight": "block3/depthwise/conv",
            "backbone.high_level_features.17.conv.3.bias": "block17/project/norm",
        }
    some |= {
        "classifier.classifier.0.convs.3.0.weight": "aspp/atrous3/conv",
        "classifier.classifier.0.convs.4.2.weight": "aspp/pooled/norm",
        "classifier.classifier.0.project.0.weight": "aspp/project/conv",
    }
    for name, module in some.items():
        if module:
            assert module in "/".join(official.entries[name].path)
        else:
            assert "two" in official.reason(name)
    assert official.partial
    assert official.reason("classifier.classifier.4.bias")
    filled = {entry.path for entry in official.entries.values()}
    stem = ("params", "encoder", "stem", "conv", "kernel")
    wanted = {path for path in abstract_variables(model) if path[1] in ("encoder", "aspp")}
    assert wanted - filled == {stem}
    assert filled <= wanted
    imagenet = bgmv2.official(model, "imagenet")
    names = {entry.path for entry in imagenet.entries.values()}
    assert names == {path for path in filled if path[1] == "encoder"}
    assert imagenet.reason("features.0.0.weight" if mobile else "conv1.weight")
    assert imagenet.reason("classifier.1.weight" if mobile else "fc.bias")


@pytest.mark.parametrize("encoder", patient(bgmv2.ENCODERS))
def test_every_encoder_fits_at_every_size(encoder):
    sides = (2, 33, 50)
    outputs = shapes_of(papers.build("bgmv2", encoder=encoder, width=0.25, refine="none"), *sides)
    assert outputs["alpha"].shape == outputs["error"].shape == (*sides, 1)
    assert outputs["foreground"].shape == (*sides, 3)
    model, sides = papers.build("bgmv2", encoder=encoder, width=0.25), (1, 32, 2044)
    outputs = shapes_of(model, *sides)
    assert outputs["alpha"].shape == outputs["error"].shape == (*sides, 1)
    assert outputs["foreground"].shape == (*sides, 3)
    assert outputs["coarse_foreground"].shape == (1, 8, 511, 3)
    for name in ("coarse_alpha", "coarse_error", "refined"):
        assert outputs[name].shape == (1, 8, 511, 1)
    count = sum(int(np.prod(s.shape)) for s in abstract_variables(model).values())
    whole = abstract_variables(papers.build("bgmv2", encoder=encoder))
    assert count < 0.11 * sum(int(np.prod(s.shape)) for s in whole.values())


def test_bfloat16_gives_float32():
    model = papers.build("bgmv2", dtype="bfloat16", width=0.25)
    variables = unflatten_dict(abstract_variables(model))
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    traced = jax.make_jaxpr(lambda v, x, y: model.apply(v, x, y, train=False))(
        variables, image, image
    )
    assert all(out.dtype == jnp.float32 for out in traced.out_avals)
    convolutions = [e for e in traced.jaxpr.eqns if e.primitive.name == "conv_general_dilated"]
    assert len(convolutions) > 20
    assert all(e.outvars[0].aval.dtype == jnp.bfloat16 for e in convolutions)


def test_one_picture_cannot_be_a_batch():
    model = papers.build("bgmv2", width=0.25)
    with pytest.raises(UserError, match="one picture cannot train aspp/pooled"):
        shapes_of(model, 1, 256, 256, train=True)
    shapes_of(model, 2, 256, 256, train=True)


@pytest.mark.parametrize("clamp", bgmv2.network.CLAMPS)
def test_what_is_cut_off_learns_nothing_or_to_come_back(clamp):
    clamped = papers.build("bgmv2", clamp=clamp)._clamped
    x = jnp.array([-0.2, -0.2, 0.3, 0.3, 1.2, 1.2])
    y, pull = jax.vjp(clamped, x)
    np.testing.assert_allclose(y, [0, 0, 0.3, 0.3, 1, 1])
    slope = pull(jnp.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0]))[0]
    outside = [-1, 1] if clamp == "inward" else [0, 0]
    assert slope.tolist() == [0, outside[0], 1, -1, outside[1], 0]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"encoder": "mobilenetv2"}, ["encoder='mobilenetv2'", "mobilenet_v2, resnet50"]),
        ({"refine": "base"}, ["refine='base'", "none, full, sampling, thresholding"]),
        ({"kernel": 5}, ["kernel=5", "3, 1"]),
        ({"backbone_scale": 0.75}, ["backbone_scale=0.75", "0.5"]),
        ({"backbone_scale": 0.0}, ["backbone_scale=0.0"]),
        ({"clamp": "soft"}, ["clamp='soft'", "released, inward"]),
        ({"sample_pixels": 15}, ["sample_pixels=15", "16 pixels"]),
    ],
)
def test_wrong_fields_are_named(fields, words):
    with pytest.raises(UserError) as error:
        papers.build("bgmv2", **fields)
    assert all(word in str(error.value) for word in words)


def test_wrong_sizes_and_layouts_are_named():
    model = papers.build("bgmv2", width=0.25)
    with pytest.raises(UserError, match=r"66 x 64.*multiples of 4"):
        shapes_of(model, 1, 66, 64)
    with pytest.raises(UserError, match="64 x 64 and a plate of 64 x 68"):
        shapes_of(model, 1, 64, 64, plate=(1, 64, 68))
    with pytest.raises(UserError, match=r"backbone_scale=0\.1; raise it"):
        shapes_of(papers.build("bgmv2", backbone_scale=0.1), 1, 8, 64)
    with pytest.raises(UserError, match="official, base, deeplab, imagenet"):
        bgmv2.official(model, "torchvision")
