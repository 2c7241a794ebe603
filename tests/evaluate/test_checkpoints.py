"""Checkpoints on sets: no digit depends on batches, padding, devices or processes."""

import csv
import io

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import gfm
from jaxmatte import evaluate, metrics
from jaxmatte.data import pipeline
from jaxmatte.engine import state
from jaxmatte.engine.parallel import Parallel
from jaxmatte.errors import UserError
from jaxmatte.evaluate import settings
from tests.data import folders
from tests.engine.toys import Toy

SIZES = [(64, 64), (40, 56), (33, 50), (64, 41), (50, 33), (61, 64), (38, 38)]


@pytest.fixture(name="root", scope="module")
def _root(tmp_path_factory):
    """Seven pictures of six shapes, which are padded to one; with trimaps."""
    root = tmp_path_factory.mktemp("set")
    for number, (height, width) in enumerate(SIZES):
        alpha = folders.matte(height, width, soft=3.0 + number)
        trimap = np.where(alpha == 0, 0, np.where(alpha == 255, 255, 128)).astype(np.uint8)
        folders.write(root / f"images/{number}.png", folders.picture(number, height, width))
        folders.write(root / f"alphas/{number}.png", alpha)
        folders.write(root / f"trimaps/{number}.png", trimap)
    return root


@pytest.fixture(name="variables", scope="module")
def _variables():
    return state.initial_variables(Toy(), jax.random.key(3))


def configuration(root, **changes):
    config = gfm.get_config("track=ori")
    config.data.root = str(root)
    group = {"images": "images", "alphas": "alphas", "trimaps": "trimaps", "rule": "direct"}
    config.evaluation.update(group | {"batch": 2, "pictures": 2} | changes)
    return config


class Scaled(Toy):
    """Mattes times a field."""

    share: float = 1.0

    def __call__(self, image, train: bool):
        return {"alpha": self.share * super().__call__(image, train)["alpha"]}


def measured(config, variables, devices=1, model=None):
    """What the first set's evaluator finds on the first so many devices."""
    chosen = jax.devices()[:devices]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "devices", lambda: chosen)
        patch.setattr(jax, "device_count", lambda: devices)
        found = evaluate.evaluators(config, model or Toy(), Parallel("jit"))
        return {name: one.run(state.frozen(variables)) for name, one in found.items()}


@pytest.fixture(name="alone", scope="module")
def _alone(root, variables):
    return measured(configuration(root), variables)[""]


@pytest.mark.parametrize("devices", [2, 4, 8])
def test_any_number_of_devices_gives_the_same_digits(root, variables, alone, devices):
    found = measured(configuration(root), variables, devices)[""]
    assert found.rows == alone.rows
    assert found.means == alone.means
    assert found.constant == alone.constant


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_batches_that_do_not_come_out_even_change_no_digit(root, variables, alone, batch):
    found = measured(configuration(root, batch=batch), variables)[""]
    assert found.rows == alone.rows
    assert found.means == alone.means


def test_the_numbers_are_those_of_the_host(root, variables):
    """Of the mattes that the network gives, cut to their true sizes, under several protocols."""
    names = "gfm,dim,gfm-transition,bgmv2,rvm"
    config = configuration(root, protocol=names, trimaps="")
    with pytest.raises(UserError, match="'gfm-transition' needs a trimap"):
        measured(config, variables)
    config = configuration(root, protocol=names)
    found = measured(config, variables)[""]
    assert len(found.rows) == len(SIZES)
    data = pipeline.open_evaluation(config.evaluation, config.data, config.seed)
    for batch in data.batches(7):
        image = batch["image"].astype(np.float32) / 255
        mattes = np.asarray(Toy().apply(variables, image, train=False)["alpha"])
        for at, index in enumerate(batch["index"]):
            height, width = batch["size"][at]
            planes = [values[at, :height, :width, 0] for values in (mattes, batch["alpha"])]
            trimap = batch["trimap"][at, :height, :width, 0]
            for number, name in enumerate(names.split(",")):
                for metric, value in metrics.measure(*planes, trimap, name).items():
                    column = f"{metric}[{name}]" if number else metric
                    assert found.rows[index][column] == pytest.approx(value, rel=3e-6), column


def test_conn_on_the_device_is_that_of_the_host(root, variables, alone):
    found = measured(configuration(root, connectivity="device"), variables)[""]
    for row, expected in zip(found.rows, alone.rows, strict=True):
        assert row["conn"] == pytest.approx(expected["conn"], rel=2e-6)


def test_a_protocol_that_makes_its_own_trimaps(root, variables):
    """And the others of the same table do not see them."""
    config = configuration(root, trimaps="", protocol="dim,bgmv2", metrics=("sad", "conn"))
    found = measured(config, variables)[""]
    assert {column.name: column.label for column in found.columns} == {
        "sad": "SAD[dim, whole]",
        "conn": "Conn[dim, whole]",
        "sad[bgmv2]": "SAD[bgmv2, unknown]",
        "conn[bgmv2]": "Conn[bgmv2, unknown]",
    }
    whole = measured(configuration(root, trimaps="", protocol="dim"), variables)[""]
    assert found.means["sad"] == whole.means["sad"]
    assert 0 < found.means["sad[bgmv2]"] < found.means["sad"]


def test_several_sets_and_their_tables(root, variables):
    sets = {"all": {}, "dim": {"protocol": "dim", "metrics": ("sad",)}}
    found = measured(configuration(root, sets=sets), variables)
    assert list(found) == ["all", "dim"]
    assert list(found["dim"].means) == ["sad"]
    assert found["dim"].line().startswith("dim (images): SAD[dim, unknown]")
    table = list(csv.reader(io.StringIO(found["all"].table())))
    assert table[0] == ["index", "name", *found["all"].labelled]
    assert len(table) == 1 + len(SIZES)
    assert float(table[1][2]) == found["all"].rows[0]["sad"]


def test_a_model_may_be_another_in_evaluation(root, variables):
    """For a whole evaluation, or for one of its sets."""
    none = measured(configuration(root), variables, model=Scaled(share=0.0))[""]
    changed = configuration(root, model={"share": 0.0})
    assert measured(changed, variables, model=Scaled())[""].rows == none.rows
    sets = configuration(root, sets={"whole": {}, "none": {"model": {"share": 0.0}}})
    found = measured(sets, variables, model=Scaled())
    assert found["none"].rows == none.rows
    assert found["whole"].rows == measured(configuration(root), variables)[""].rows != none.rows


def test_rules_see_the_fields_that_evaluation_has(root):
    config = configuration(root, rule="bgmv2", model={"refine": "none"})
    rule = settings.rule(config.evaluation, ConfigDict({"refine": "full"}))
    assert rule.keywords == {"refine": "none"}


def test_a_network_that_diverged_is_told_so_and_never_the_best(root, variables):
    broken = jax.tree.map(lambda leaf: leaf * np.nan, variables)
    for connectivity in ("host", "device"):
        found = measured(configuration(root, connectivity=connectivity), broken)[""]
        assert np.isnan(list(found.means.values())).all()
        assert found.summary()["Conn[gfm, whole]"] is None
        assert "MAD[gfm, whole] nan" in found.line()
        assert "nan" in found.page()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sets": {"x": {"splt": "test"}}}, r"sets.x.splt is no field .* mean split"),
        ({"sets": {"x": {"every": "1 steps"}}}, r"sets.x.every: it is the same for all sets"),
        ({"sets": {"x": "test"}}, r"sets.x='test': a set is given as {field: value}"),
        ({"sets": {"x": {"batch": "four"}}}, r"sets.x.batch='four' should be a int"),
        ({"sets": {"x": {"metrics": "mad"}}}, r"sets.x.metrics='mad' should be a tuple"),
        ({"sets": {"x": {"batch": 0}}}, r"sets.x.batch=0: at least 1"),
        ({"sets": {"a/b": {}}}, r"sets.a/b: files are called by it"),
        ({"model": {"bn_axes": 1}}, r"no field of gfm's model is called 'bn_axes': .*'bn_axis'"),
        ({"pictures": 0}, "evaluation.pictures=0: at least 1"),
        ({"connectivity": "gpu"}, "there are: host, device"),
        ({"protocol": "dim,"}, "'dim,' has no name in it, or between commas"),
        ({"metrics": ()}, "no metrics; there are: sad"),
        ({"metrics": ("con",)}, "did you mean 'conn'"),
    ],
)
def test_mistakes_are_told_in_one_line(root, changes, told):
    with pytest.raises(UserError, match=told) as caught:
        evaluate.evaluators(configuration(root, **changes), Toy(), Parallel("jit"))
    assert "\n" not in str(caught.value)
