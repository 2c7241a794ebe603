"""Conversion of official state dicts: complete, strict, and clear about what is wrong."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxmatte import papers, weights
from jaxmatte.errors import UserError
from jaxmatte.layers import Conv
from jaxmatte.papers import gfm
from jaxmatte.papers.contract import Official, abstract_variables, torch_entries

# Ours back to PyTorch's layout.
INVERSE = {"same": (), "conv": (3, 2, 0, 1), "dense": (1, 0)}


def model(**fields):
    return papers.build("gfm", **{"width": 0.125, **fields})


def foreign(model, layout="official", twins=True):
    """A state dict in the layout, of random numbers, and the variables it stands for."""
    official = gfm.official(model, layout)
    shapes = abstract_variables(model)
    generator = np.random.default_rng(0)
    variables = {
        entry.path: generator.random(shapes[entry.path].shape, np.float32)
        for entry in official.entries.values()
    }
    state = {
        name: variables[path].transpose(INVERSE[transform] or None)
        if INVERSE[transform]
        else variables[path]
        for name, (path, transform) in official.entries.items()
    }
    if twins and layout == "official":
        state |= {twin: state[name].copy() for twin, name in official.tied.items()}
    return state, variables


def assert_equal(converted, expected):
    converted = flatten_dict(converted)
    assert converted.keys() == expected.keys()
    for path, value in expected.items():
        np.testing.assert_array_equal(converted[path], value)


@pytest.mark.parametrize("encoder", gfm.PLANS)
@pytest.mark.parametrize("rosta", ["TT", "RIM"])
def test_every_variable_is_filled(encoder, rosta):
    network = model(encoder=encoder, rosta=rosta)
    state, variables = foreign(network)
    assert variables.keys() == abstract_variables(network).keys()
    assert_equal(weights.convert(state, network), variables)


def test_copies_and_prefixes_are_understood():
    network = model()
    state, variables = foreign(network)
    tied = gfm.official(network).tied
    # Only the backbone's whole copy, every name below "module.".
    whole = {f"module.{n}": v for n, v in state.items() if n not in tied.values()}
    assert_equal(weights.convert(whole, network), variables)
    single = {n: v for n, v in state.items() if n not in tied}
    assert_equal(weights.convert(single, network), variables)


def test_known_leftovers_are_let_go():
    state, variables = foreign(model())
    state["resnet.fc.weight"] = np.zeros((1000, 64), np.float32)
    state["encoder0.1.num_batches_tracked"] = np.array(7)
    assert_equal(weights.convert(state, model()), variables)


def test_missing_entries_are_named_and_counted():
    network = model()
    state, _ = foreign(network)
    few = {n: v for n, v in state.items() if n != "decoder3_f.0.weight"}
    with pytest.raises(UserError, match=r"lack decoder3_f\.0\.weight$"):
        weights.convert(few, network)
    many = {n: v for n, v in state.items() if not n.startswith("decoder")}
    with pytest.raises(UserError, match=r"lack decoder0_f\.0\.bias, .* and \d+ more \(1\d\d in"):
        weights.convert(many, network)


def test_a_tied_entry_is_missing_only_with_its_twin():
    network = model()
    state, _ = foreign(network)
    del state["encoder2.0.conv1.weight"], state["resnet.layer2.0.conv1.weight"]
    with pytest.raises(UserError, match=r"lack encoder2\.0\.conv1\.weight$"):
        weights.convert(state, network)


def test_unknown_entries_are_named():
    network = model()
    state, _ = foreign(network)
    state["refine.weight"] = np.zeros(3, np.float32)
    with pytest.raises(UserError, match=r"hold unknown refine\.weight$"):
        weights.convert(state, network)


@pytest.mark.parametrize("shape", [(64, 8, 3, 3), (3,), ()])
def test_misshaped_entries_are_named(shape):
    network = model()
    state, _ = foreign(network)
    state["decoder0_g.6.weight"] = np.zeros(shape, np.float32)
    with pytest.raises(UserError, match=r"decoder0_g\.6\.weight .*has \(3, 3, 8, 3\)"):
        weights.convert(state, network)


def test_a_different_twin_is_named():
    network = model()
    state, _ = foreign(network)
    state["resnet.layer4.2.conv2.weight"] = state["resnet.layer4.2.conv2.weight"] + 1e-6
    with pytest.raises(
        UserError, match=r"two different copies of resnet\.layer4\.2\.conv2\.weight"
    ):
        weights.convert(state, network)


def test_weights_of_another_rosta_do_not_fit():
    state, _ = foreign(model(rosta="TT"))
    with pytest.raises(
        UserError, match=r"decoder0_g\.6\.weight .* not the weights of this variant"
    ):
        weights.convert(state, model(rosta="BT"))


@pytest.mark.parametrize("encoder", gfm.PLANS)
def test_imagenets_weights_fill_the_encoder_only(encoder):
    network = model(encoder=encoder)
    state, expected = foreign(network, "imagenet")
    leftover = {
        "r34_2b": {"conv1.weight", "bn1.running_var", "fc.bias"},
        "d121": {"features.norm5.weight", "classifier.bias"},
    }.get(encoder, {"fc.weight"})
    part = weights.convert(state | {n: np.zeros(2) for n in leftover}, network, "imagenet")
    assert_equal(part, expected)
    assert set(part["params"]) == {"encoder"}
    new = {"r34_2b": {"new_stem", "new_stage5", "new_stage6"}, "d121": {"reduction"}}
    whole = {path[2] for path in abstract_variables(network) if path[:2] == ("params", "encoder")}
    assert whole - set(part["params"]["encoder"]) == new.get(encoder, set())


def test_old_names_of_torchvisions_densenet_are_known():
    network = model(encoder="d121")
    state, expected = foreign(network, "imagenet")
    old = {}
    for name, value in state.items():
        for part in ("norm", "conv"):
            if "denselayer" in name:
                name = name.replace(f".{part}1.", f".{part}.1.").replace(
                    f".{part}2.", f".{part}.2."
                )
        old[name] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    assert_equal(weights.convert(old, network, "imagenet"), expected)


def test_merge_replaces_a_part_and_keeps_the_rest():
    network = model()
    shapes = abstract_variables(network)
    start = unflatten_dict({path: np.zeros(s.shape, np.float32) for path, s in shapes.items()})
    state, part = foreign(network, "imagenet")
    merged = weights.merge(start, weights.convert(state, network, "imagenet"))
    assert jax.tree.structure(merged) == jax.tree.structure(start)
    for path, value in flatten_dict(merged).items():
        np.testing.assert_array_equal(value, part.get(path, 0))
    stem = ("params", "encoder", "stem", "conv", "kernel")
    np.testing.assert_array_equal(flatten_dict(start)[stem], 0)
    with pytest.raises(UserError, match=r"params/encoder/stem/conv/kernel \(2,\)"):
        weights.merge(start, unflatten_dict({stem: np.zeros(2)}))
    with pytest.raises(UserError, match=r"params/decoder/bias \(unknown\)"):
        weights.merge(start, {"params": {"decoder": {"bias": np.zeros(2)}}})


def test_merge_keeps_the_place_of_statistics_that_a_model_does_not_have():
    kernel = np.zeros(2, np.float32)
    start = {"params": {"conv": {"kernel": kernel}}, "batch_stats": {}}
    merged = weights.merge(start, {"params": {"conv": {"kernel": kernel + 1}}})
    assert merged["batch_stats"] == {}
    np.testing.assert_array_equal(merged["params"]["conv"]["kernel"], kernel + 1)


class Toy(nn.Module):
    """A convolution and a transposed one, whose kernels differ by name only."""

    inputs = ("image",)

    @nn.compact
    def __call__(self, image, train):
        del train
        return {"alpha": Conv(3, name="up")(Conv(3, name="plain")(image))}


def toy_paper(monkeypatch, rewrite=None):
    model = Toy()
    entries = torch_entries(model, lambda module: f"layer.{module}", transposed="^up$")

    class Paper:
        official = staticmethod(lambda model, layout: Official(entries, rewrite=rewrite))

    monkeypatch.setattr(papers, "module_of", lambda model: Paper)
    generator = np.random.default_rng(0)
    state = {
        f"layer.{name}.{leaf}": generator.random(shape, np.float32)
        for name in ("plain", "up")
        for leaf, shape in (("weight", (3, 3, 3, 3)), ("bias", (3,)))
    }
    return model, state


def test_kernels_of_transposed_convolutions_have_their_inputs_first(monkeypatch):
    model, state = toy_paper(monkeypatch)
    found = weights.convert(state, model)["params"]
    for name, order in (("plain", (2, 3, 1, 0)), ("up", (2, 3, 0, 1))):
        expected = state[f"layer.{name}.weight"].transpose(order)
        np.testing.assert_array_equal(found[name]["kernel"], expected)


def test_a_layout_may_rewrite_the_state_before_names_are_looked_up(monkeypatch):
    """Two tensors become one; the prefix is gone by then, and what is given stays as it is."""
    seen = {}

    def rewrite(state):
        seen.update(state)
        found = dict(state)
        if "layer.up.scale" in state:
            found["layer.up.weight"] = found.pop("layer.up.half") * found.pop("layer.up.scale")
        return found

    model, state = toy_paper(monkeypatch, rewrite)
    plain = weights.convert(state, model)
    parts = dict(state)
    parts["layer.up.half"] = parts.pop("layer.up.weight") / 2
    parts["layer.up.scale"] = np.float32(2)
    given = {f"module.{name}": value for name, value in parts.items()}
    again = dict(given)
    jax.tree.map(np.testing.assert_array_equal, weights.convert(given, model), plain)
    assert given.keys() == again.keys()
    assert {*seen} >= {*parts}
    parts.pop("layer.up.scale")  # what it cannot rewrite is named as it stands
    with pytest.raises(
        UserError, match=r"lack layer\.up\.weight; they hold unknown layer\.up\.half"
    ):
        weights.convert(parts, model)
