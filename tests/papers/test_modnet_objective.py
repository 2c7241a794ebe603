"""What MODNet minimises, with and without mattes, against the published training functions."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxmatte.data import trimaps
from jaxmatte.errors import UserError
from jaxmatte.papers import modnet
from jaxmatte.papers.modnet import adaptation
from jaxmatte.papers.modnet.common import KERNEL, coarse
from tests.parity import fill

PARITY = pathlib.Path(__file__).parent.parent / "parity"
NUMBERS = json.loads((PARITY / "modnet_losses.json").read_text())
SUPERVISED = [("released", {}), ("paper", {}), ("paper", {"distance": "root"}), ("paddleseg", {})]
TASKS = [("supervised", form, options) for form, options in SUPERVISED]
TASKS += [("soc", "released", {}), ("soc", "paper", {})]


def picture(name, channels=1, shape=(64, 96)):
    return fill.picture(f"modnet/loss/{name}", (2, *shape, channels))


@pytest.fixture(name="fixture", scope="module")
def _fixture():
    with np.load(PARITY / "modnet_losses.npz") as file:
        return dict(file)


@pytest.fixture(name="batch", scope="module")
def _batch(fixture):
    return {
        "alpha": fixture["alpha"],
        "trimap": fixture["trimap"].astype(np.float32) / 2,
        "image": picture("image", 3),
        "foreground": picture("fg", 3),
        "background": picture("bg", 3),
        "teacher": {"alpha": fixture["backup_matte"], "detail": picture("backup_detail")},
        "mask": np.ones(2, bool),
    }


@pytest.fixture(name="outputs", scope="module")
def _outputs():
    return {
        "alpha": picture("pred_matte"),
        "semantic": picture("pred_semantic", shape=(4, 6)),
        "detail": picture("pred_detail"),
    }


@pytest.fixture(name="unlabelled", scope="module")
def _unlabelled(fixture, outputs):
    return outputs | {"alpha": fixture["soc_matte"], "semantic": fixture["soc_semantic"]}


def value(terms):
    return {name: float(total) / float(weight) for name, (total, weight) in terms.items()}


def slopes(outputs, batch, **options):
    def loss(outputs):
        terms = modnet.objective(outputs, batch, **options)
        return sum(total / jnp.maximum(weight, 1e-9) for total, weight in terms.values())

    return jax.grad(loss)({name: jnp.asarray(v) for name, v in outputs.items()})


def require_slopes(found, fixture, name):
    for ours, theirs in (("alpha", "matte"), ("semantic", "semantic"), ("detail", "detail")):
        got = found[ours] if ours == "semantic" else found[ours][:, ::3, ::3]
        wanted = fixture[f"{name}_grad_{theirs}"]
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


def test_the_coarse_matte_is_the_published_one(fixture):
    np.testing.assert_allclose(coarse(fixture["alpha"]), fixture["gt_semantic"], atol=2e-7)
    impulse = np.zeros((3, 3))
    impulse[1, 1] = 1
    wanted = ndimage.gaussian_filter(impulse, 0.8)
    np.testing.assert_allclose(KERNEL, wanted, atol=1e-7)


def test_supervised_as_released(fixture, batch, outputs):
    found = value(modnet.objective(outputs, batch, form="released"))
    expected = NUMBERS["supervised_code"]
    assert found == pytest.approx({name: expected[name] for name in found}, rel=1e-6)
    assert sum(found.values()) == pytest.approx(expected["total"], rel=1e-6)
    require_slopes(slopes(outputs, batch), fixture, "supervised")


@pytest.mark.parametrize("distance", ["l1", "root"])
def test_supervised_as_in_the_paper(batch, outputs, distance):
    alpha = batch["alpha"]
    mixed = alpha * batch["foreground"] + (1 - alpha) * batch["background"]
    given = batch | {"image": mixed}
    found = value(modnet.objective(outputs, given, form="paper", distance=distance))
    expected = NUMBERS["supervised_paper"]
    assert found["semantic"] == pytest.approx(expected["semantic"], rel=1e-6)
    assert found["detail"] == pytest.approx(10 * expected["detail"], rel=1e-6)
    assert found["matte"] == pytest.approx(expected["alpha_l1"], rel=1e-6)
    assert found["composition"] == pytest.approx(expected["compositional"], rel=1e-6)
    assert sum(found.values()) == pytest.approx(expected["total"], rel=1e-6)
    # Where the two agree, the root still has a gradient of 0, not of NaN.
    perfect = outputs | {"alpha": alpha}
    slope = slopes(perfect, given, form="paper", distance=distance)["alpha"]
    assert np.abs(slope).max() < 1e-3 / alpha.size


def test_supervised_as_paddleseg(batch, outputs):
    """Written out again in NumPy; no reference run of that code is at hand."""
    found = value(modnet.objective(outputs, batch, form="paddleseg"))
    alpha, matte, semantic = batch["alpha"], outputs["alpha"], outputs["semantic"]
    unknown = batch["trimap"] == 0.5
    image = np.abs(2 * batch["image"] - 1)
    assert found["semantic"] == pytest.approx(np.square(semantic - coarse(alpha)).mean(), rel=1e-5)
    detail = np.abs(outputs["detail"] - alpha)[unknown].sum() / (unknown.sum() + 1e-6 * alpha.size)
    assert found["detail"] == pytest.approx(10 * detail, rel=1e-5)
    difference, boundary = np.abs(matte - alpha), np.abs(np.where(unknown, matte - alpha, 0))
    both = difference.mean() + 4 * boundary.mean()
    both += (image * difference).mean() + 4 * (image * boundary).mean()
    assert found["matte"] == pytest.approx(both, rel=1e-5)
    disagreement = np.square(coarse(matte) - semantic)[~unknown[:, ::16, ::16]].sum()
    assert found["consistency"] == pytest.approx(disagreement / semantic.size, rel=1e-5)


def test_the_known_area_has_a_floor_only_as_released(batch):
    alpha = batch["alpha"]
    perfect = {"alpha": alpha, "semantic": np.asarray(coarse(alpha)), "detail": alpha}
    mixed = alpha * batch["foreground"] + (1 - alpha) * batch["background"]
    for form in ("paper", "paddleseg"):
        found = value(modnet.objective(perfect, batch | {"image": mixed}, form=form))
        assert sum(found.values()) < 1e-6
    assert value(modnet.objective(perfect, batch))["matte"] > 5e-4


def test_soc_as_released(fixture, batch, unlabelled):
    found = value(modnet.objective(unlabelled, batch, task="soc"))
    expected = NUMBERS["soc_code"]
    assert found == pytest.approx({name: expected[name] for name in found}, rel=1e-6)
    require_slopes(slopes(unlabelled, batch, task="soc"), fixture, "soc")


def test_soc_as_in_the_paper(batch, unlabelled):
    found = value(modnet.objective(unlabelled, batch, task="soc", form="paper"))
    expected = NUMBERS["soc_paper"]
    assert found["semantic"] == pytest.approx(expected["cons_semantic"], rel=1e-6)
    assert found["consistency"] == pytest.approx(expected["cons_detail"], rel=1e-6)
    assert found["detail"] == pytest.approx(expected["dd"], rel=1e-6)
    assert sum(found.values()) == pytest.approx(expected["total"], rel=1e-6)


def test_soc_boundaries_are_scipys(fixture, unlabelled):
    for size in ("64x96", "128x160"):
        foreground = jnp.asarray(fixture[f"soc_pred_fg_{size}"])
        side = NUMBERS["soc_boundary"][size]["side"]
        grown = adaptation.extreme(foreground, side, largest=True)
        shrunk = adaptation.extreme(foreground, side, largest=False)
        np.testing.assert_array_equal(grown != shrunk, fixture[f"soc_boundary_{size}"])
    found = adaptation.boundary(unlabelled)
    np.testing.assert_array_equal(found, fixture["soc_boundary_64x96"])


@pytest.mark.parametrize("side", [1, 2, 5, 8, 40])
def test_windows_lie_where_scipy_has_them(side):
    plane = np.random.default_rng(side).random((21, 16)).astype(np.float32)
    for largest, reference in ((True, ndimage.grey_dilation), (False, ndimage.grey_erosion)):
        found = adaptation.extreme(jnp.asarray(plane)[None, ..., None], side, largest)
        np.testing.assert_array_equal(found[0, ..., 0], reference(plane, size=(side, side)))


@pytest.mark.parametrize("form", adaptation.FORMS)
def test_pictures_without_a_boundary_are_left_out(batch, unlabelled, form):
    options = {"task": "soc", "form": form}
    empty = {name: v.copy() for name, v in unlabelled.items()}
    empty["alpha"][1] = 0.0
    terms = modnet.objective(empty, batch, **options)
    one = {name: v[:1] for name, v in empty.items()}
    alone = {"teacher": {name: v[:1] for name, v in batch["teacher"].items()}}
    detail, weight = modnet.objective(one, alone, **options)["detail"]
    assert terms["detail"][0] == pytest.approx(float(detail), rel=1e-6)
    if form == "released":
        assert terms["detail"][1] == weight == 1
    empty["alpha"][0] = 0.0
    terms = modnet.objective(empty, batch, **options)
    assert float(terms["detail"][0]) == 0
    slope = slopes(empty, batch, **options)
    assert all(np.isfinite(s).all() for s in slope.values())
    assert not slope["detail"].any()


@pytest.mark.parametrize(("task", "form", "options"), TASKS)
def test_rows_of_padding_change_nothing(batch, outputs, unlabelled, task, form, options):
    options = {"task": task, "form": form, **options}
    given = unlabelled if task == "soc" else outputs

    def padded(values, fill):
        return jax.tree.map(lambda v: np.concatenate([v, np.full_like(v[:1], fill)]), values)

    more = padded(given, np.nan)
    batch_of_three = padded({**batch, "mask": np.ones(2, np.float32)}, np.nan)
    batch_of_three["mask"] = np.array([True, True, False])
    expected = value(modnet.objective(given, batch, **options))
    assert value(modnet.objective(more, batch_of_three, **options)) == pytest.approx(expected)
    for name, slope in slopes(more, batch_of_three, **options).items():
        assert np.isfinite(slope).all(), name
        assert not slope[2].any(), name


@pytest.mark.parametrize(("task", "form", "options"), TASKS)
def test_totals_add_up_over_replicas(batch, outputs, unlabelled, task, form, options):
    options = {"task": task, "form": form, **options}
    given = unlabelled if task == "soc" else outputs
    whole = value(modnet.objective(given, batch, **options))
    halves = [
        modnet.objective(*jax.tree.map(lambda v, i=i: v[i : i + 1], (given, batch)), **options)
        for i in range(2)
    ]
    for name, expected in whole.items():
        totals, weights = (sum(float(half[name][i]) for half in halves) for i in range(2))
        assert totals / weights == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("dilation", "erosion"), [(5, 5), (4, 6), (10, 15), (20, 12)])
def test_training_trimaps_are_the_authors(fixture, dilation, erosion):
    alpha = fixture["alpha"][..., 0]
    # Bytes that lie on the same side of both thresholds as the reference's floats.
    opaque, there = alpha >= 0.9, alpha > 0
    byte = np.where(opaque, 255, np.where(there, 100, 0)).astype(np.uint8)
    found = [trimaps.two_squares(erosion, dilation, 0.9).trimap(plane) for plane in byte]
    wanted = fixture[f"trimap_d{dilation}_e{erosion}"][..., 0]
    np.testing.assert_array_equal(np.stack(found), np.array([0, 128, 255])[wanted])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"form": "relased"}, "task='supervised' must be one of released, paper, paddleseg"),
        ({"task": "soc", "form": "paddleseg"}, "task='soc' must be one of released, paper"),
        ({"task": "adapt"}, "supervised, soc"),
        ({"distance": "l2"}, "l1, root"),
    ],
)
def test_mistakes_are_named(batch, outputs, options, told):
    with pytest.raises(UserError, match=told):
        modnet.objective(outputs, batch, **options)


def test_the_adaptation_needs_a_frozen_copy(outputs):
    with pytest.raises(UserError, match=r"train\.teacher"):
        modnet.objective(outputs, {}, task="soc")
