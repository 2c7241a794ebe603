"""Checkpoints that hold more than tensors: written by Python 2, and with whole networks."""

import collections
import io
import pickle
import sys
import types

import numpy as np
import pytest

from jaxmatte import weights
from jaxmatte.errors import UserError
from jaxmatte.weights import unpickle
from tests.weights.torch_files import (
    WRITERS,
    Parameter,
    Pickler,
    Python2Pickler,
    Storage,
    Tensor,
    tensor,
    write_legacy,
)


def draw(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def test_files_of_python_2(tmp_path):
    """As huochaitiantang's releases 1.x: text of bytes, and a NumPy number beside the tensors."""
    expected = {"conv1_1.weight": draw(2, 4, 3, 3), "conv1_1.bias": draw(2)}
    entries = [(name, tensor(v, str(i))) for i, (name, v) in enumerate(expected.items())]
    state = collections.OrderedDict(entries)
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    whole = {"epoch": 12, "state_dict": state, "best_sad": np.float64(54.25), "note": 300 * "\xff"}
    path = tmp_path / "stage1.pth"
    write_legacy(path, whole, Python2Pickler)
    assert b"U\x05epoch" in path.read_bytes()  # Python 3 begins text with X
    read = weights.read(path)
    assert read.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(read[name], value)


class Module:
    """Stands for PyTorch's base of networks; its classes are written by their names."""

    is_network = True

    def __init__(self, parameters=(), buffers=(), **modules):
        self.training, self._backward_hooks = True, collections.OrderedDict()
        self._parameters = collections.OrderedDict(parameters)
        self._buffers = collections.OrderedDict(buffers)
        self._modules = collections.OrderedDict(modules)

    def __setstate__(self, state):
        pytest.fail("ran foreign code")


def network_classes(monkeypatch, *names):
    """Classes of these names, in modules of their own, as long as files are written."""
    found = []
    for name in names:
        module, _, last = name.rpartition(".")
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            part = ".".join(parts[:end])
            if part not in sys.modules:
                monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
        made = type(last, (Module,), {"__module__": module, "__qualname__": last})
        setattr(sys.modules[module], last, made)
        found.append(made)
    return found


CLASSES = (
    "torch.nn.modules.conv.Conv2d",
    "torch.nn.modules.batchnorm.BatchNorm2d",
    "torch.nn.modules.container.Sequential",
    "models.DIMModel",
    "torch.nn.parallel.data_parallel.DataParallel",
    "torch.optim.sgd.SGD",
    "torch.device",
)


def checkpoint(monkeypatch):
    """A whole network within DataParallel, beside its optimizer, as foamliu saves; its tensors."""
    conv, norm, sequence, model, parallel, optimizer, device = network_classes(
        monkeypatch, *CLASSES
    )
    expected = {
        "module.down1.0.weight": draw(2, 4, 3, 3),
        "module.down1.0.bias": draw(2),
        "module.down1.1.weight": draw(2),
        "module.down1.1.running_mean": draw(2),
        "module.down1.1.num_batches_tracked": np.array(7),
    }
    given = [Parameter(tensor(v, str(i))) for i, v in enumerate(expected.values())]
    weight, bias, scale, mean, count = given
    layers = {
        "0": conv({"weight": weight, "bias": bias}),
        "1": norm({"weight": scale, "bias": None}, {"running_mean": mean, "running_var": None}),
    }
    layers["1"]._buffers["num_batches_tracked"] = count.tensor
    whole = parallel(module=model(down1=sequence(**layers), activation=sequence()))
    whole.device_ids, whole.src_device_obj = [0, 1], device()
    descent = optimizer()
    # Keyed by the parameters themselves, and by what is not known here.
    descent.state = collections.defaultdict(dict, {weight: {"momentum_buffer": bias}})
    return {"epoch": 31, "loss": 0.02, "model": whole, "optimizer": descent}, expected


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_whole_networks(tmp_path, monkeypatch, write):
    path = tmp_path / "BEST_checkpoint.tar"
    with monkeypatch.context() as patch:
        whole, expected = checkpoint(patch)
        write(path, whole)
        write(tmp_path / "alone.tar", whole["model"])
    assert "models" not in sys.modules
    for file in (path, tmp_path / "alone.tar"):
        read = weights.read(file)
        assert read.keys() == expected.keys()
        for name, value in expected.items():
            assert read[name].shape == value.shape
            np.testing.assert_array_equal(read[name], value)


class Attack:
    ran = False

    def __reduce__(self):
        return setattr, (Attack, "ran", True)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_nothing_is_run_within_a_network_either(tmp_path, monkeypatch, write):
    with monkeypatch.context() as patch:
        whole, expected = checkpoint(patch)
        whole["model"]._modules["module"].hook = Attack()
        write(tmp_path / "evil.tar", whole)
    assert weights.read(tmp_path / "evil.tar").keys() == expected.keys()
    assert not Attack.ran


def test_what_holds_no_network_is_refused_as_before(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        (options,) = network_classes(patch, "argparse_like.Namespace")
        state = {"weight": tensor(draw(3), "0")}
        write_legacy(tmp_path / "more.pth", {"state_dict": state, "args": options()})
    with pytest.raises(UserError, match=r"refused: .*argparse_like\.Namespace"):
        weights.read(tmp_path / "more.pth")


@pytest.mark.parametrize(
    "code",
    [
        b"cos\nsystem\n(S'x'\ntR.",  # a call
        b"cos\nsystem\n(S'a'\nI1\ndb.",  # a state
        b"cos\nsystem\n)R(S'a'\nI1\nu.",  # items of a dict
        b"cos\nsystem\n)R(I1\nI2\ne.",  # items of a list
        b"cos\nsystem\n)RI1\na.",
        b"\x80\x04cos\nsystem\n)\x81(I1\n\x90.",  # a new object; items of a set
        b"(S'x'\nios\nsystem\n.",  # an instance of old
        b"cos\nsystem\nI1\ns.",
    ],
)
def test_stand_ins_do_nothing(code, monkeypatch):
    """Whatever a pickle does with what it names, it does it to a stand-in, or fails."""
    monkeypatch.setattr("os.system", lambda *given: pytest.fail("ran foreign code"))
    before = dict(vars(unpickle.StandIn))
    try:
        found = unpickle.Tolerant(io.BytesIO(code)).load()
    except (pickle.UnpicklingError, TypeError, IndexError):
        found = unpickle.StandIn()
    assert isinstance(found, unpickle.StandIn)
    assert vars(unpickle.StandIn) == before


def test_a_references_data_must_be_known():
    storage = Storage("FloatStorage", "0", bytes(8), 2)
    held = {"weight": Tensor(storage, (2,), (1,))}
    pickled = io.BytesIO()
    Pickler(pickled, legacy=False).dump(held)
    with pytest.raises(UserError, match="an unknown reference"):
        unpickle.Tolerant(io.BytesIO(pickled.getvalue())).load()
