"""Weight files of every kind, written here byte by byte, read back without their frameworks."""

import collections
import json
import pickle
import struct
import zipfile

import numpy as np
import pytest

from jaxmatte import weights
from jaxmatte.errors import UserError
from tests.weights.torch_files import (
    KINDS,
    WRITERS,
    Parameter,
    Storage,
    Tensor,
    tensor,
    write_legacy,
    write_zip,
)


def arrays():
    generator = np.random.default_rng(0)
    return {
        f"layer.{i}": (10 * generator.standard_normal((2, 3, 4))).astype(dtype)
        for i, dtype in enumerate(KINDS.values())
    }


def assert_same(read, expected):
    assert read.keys() == expected.keys()
    for name, value in expected.items():
        assert read[name].dtype == value.dtype
        assert read[name].shape == value.shape
        np.testing.assert_array_equal(read[name], value)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state", "model", "params"])
def test_pytorch_files(tmp_path, write, wrapper):
    expected = arrays()
    state = collections.OrderedDict()
    for i, (name, array) in enumerate(expected.items()):
        state[name] = tensor(array, str(i))
    state["layer.0"] = Parameter(state["layer.0"])
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    whole = {"epoch": 3, "optimizer": {"lr": 0.1}, wrapper: state} if wrapper else state
    # The extension does not matter.
    write(tmp_path / "weights.ckpt", whole)
    assert_same(weights.read(tmp_path / "weights.ckpt"), expected)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_pytorch_views_share_a_storage(tmp_path, write):
    values = np.arange(24, dtype=np.float32)
    storage = Storage("FloatStorage", "0", values.tobytes(), 24)
    state = {
        "transposed": Tensor(storage, (6, 4), (1, 6)),
        "part": Tensor(storage, (2, 3), (6, 2), offset=7),
        "scalar": Tensor(storage, (), (), offset=5),
        "empty": Tensor(storage, (0, 3), (3, 1)),
        "expanded": Tensor(storage, (3, 2), (0, 1)),
    }
    write(tmp_path / "views.pth", state)
    expected = {
        "transposed": values.reshape(4, 6).T,
        "part": values.reshape(4, 6)[1:3, 1::2],
        "scalar": np.float32(5.0).reshape(()),
        "empty": np.zeros((0, 3), np.float32),
        "expanded": np.tile(values[:2], (3, 1)),
    }
    assert_same(weights.read(tmp_path / "views.pth"), expected)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_state_dicts_by_part_of_the_network(tmp_path, write):
    parts = {
        "detail": {f"S1.{name}": value for name, value in arrays().items()},
        "head": {name: 2 * value for name, value in arrays().items()},
    }
    state = {
        part: {
            name: tensor(value, f"{part}{number}")
            for number, (name, value) in enumerate(inner.items())
        }
        for part, inner in parts.items()
    }
    write(tmp_path / "backbone.pth", state)
    expected = {f"{part}.{name}": v for part, inner in parts.items() for name, v in inner.items()}
    assert_same(weights.read(tmp_path / "backbone.pth"), expected)


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_bfloat16_becomes_float32(tmp_path, write):
    upper = np.array([1.0, -2.5, 3e38], np.float32).view(np.uint32) >> 16
    storage = Storage("BFloat16Storage", "0", upper.astype("<u2").tobytes(), 3)
    write(tmp_path / "half.pt", {"weight": Tensor(storage, (3,), (1,))})
    expected = (upper << 16).astype(np.uint32).view(np.float32)
    assert_same(weights.read(tmp_path / "half.pt"), {"weight": expected})


@pytest.mark.parametrize(
    ("shape", "strides", "offset"), [((5,), (1,), 0), ((2,), (1,), 3), ((2,), (-1,), 3)]
)
def test_views_beyond_their_storage_are_refused(tmp_path, shape, strides, offset):
    storage = Storage("FloatStorage", "0", np.zeros(4, np.float32).tobytes(), 4)
    write_zip(tmp_path / "bad.pth", {"weight": Tensor(storage, shape, strides, offset)})
    with pytest.raises(UserError, match="reaches beyond its data"):
        weights.read(tmp_path / "bad.pth")


class Attack:
    ran = False

    def __reduce__(self):
        return setattr, (Attack, "ran", True)


@pytest.mark.parametrize("writer", ["zip", "legacy", "pickle"])
def test_code_is_refused_by_name_and_not_run(tmp_path, writer):
    path = tmp_path / "evil.pth"
    if writer == "pickle":
        path.write_bytes(pickle.dumps({"weight": np.zeros(3), "more": Attack()}))
    else:
        WRITERS[writer](path, {"weight": tensor(np.zeros(3, np.float32), "0"), "more": Attack()})
    with pytest.raises(
        UserError, match=r"evil\.pth: refused: .*run (builtins|__builtin__)\.setattr"
    ):
        weights.read(path)
    assert not Attack.ran


def test_arrays_of_objects_are_refused(tmp_path):
    (tmp_path / "objects.pdparams").write_bytes(pickle.dumps({"w": np.array([{}, 1], object)}))
    with pytest.raises(UserError, match="refused: it holds an array of object"):
        weights.read(tmp_path / "objects.pdparams")


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_paddle_files(tmp_path, protocol):
    expected = arrays()
    state = dict(expected)
    # Paddle also writes pairs, and a table of its own names.
    state["layer.1"] = ("conv2d_1.w_0", expected["layer.1"])
    state["StructuredToParameterName@@"] = {"layer.0": "conv2d_0.w_0"}
    (tmp_path / "model.pdparams").write_bytes(pickle.dumps(state, protocol=protocol))
    assert_same(weights.read(tmp_path / "model.pdparams"), expected)


def write_safetensors(path, entries):
    """entries: name -> (type, shape, bytes)."""
    table, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (kind, shape, values) in entries.items():
        offsets = [len(data), len(data) + len(values)]
        table[name] = {"dtype": kind, "shape": shape, "data_offsets": offsets}
        data += values
    header = json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def test_safetensors_files(tmp_path):
    single = np.arange(6, dtype=np.float32).reshape(2, 3)
    upper = (single.view(np.uint32) >> 16).astype("<u2")
    entries = {
        "a": ("F32", [2, 3], single.tobytes()),
        "b": ("BF16", [2, 3], upper.tobytes()),
        "c": ("I64", [], np.int64(7).tobytes()),
    }
    write_safetensors(tmp_path / "m.safetensors", entries)
    expected = {"a": single, "b": single, "c": np.array(7)}
    assert_same(weights.read(tmp_path / "m.safetensors"), expected)
    write_safetensors(tmp_path / "bad.safetensors", {"a": ("F32", [2, 2], single.tobytes())})
    with pytest.raises(UserError, match="the data of a do not fit"):
        weights.read(tmp_path / "bad.safetensors")
    write_safetensors(tmp_path / "odd.safetensors", {"a": ("F8_E4M3", [1], b"0")})
    with pytest.raises(UserError, match="a is of type F8_E4M3"):
        weights.read(tmp_path / "odd.safetensors")


def test_npz_files(tmp_path):
    expected = arrays()
    np.savez(tmp_path / "weights.npz", **expected)
    assert_same(weights.read(tmp_path / "weights.npz"), expected)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html>Quota exceeded</html>", "is it a web page"),
        (b"", "not a weight file"),
        (b"\x80\x02}q\x00", "damaged"),
        (pickle.dumps({"epoch": 3}), "no tensors found"),
    ],
)
def test_other_files_are_named(tmp_path, content, words):
    (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(UserError, match=rf"file\.pth.*{words}"):
        weights.read(tmp_path / "file.pth")


def test_missing_and_foreign_archives_are_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.pth: cannot be read: No such file"):
        weights.read(tmp_path / "none.pth")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(UserError, match="neither PyTorch's nor NumPy's"):
        weights.read(tmp_path / "a.zip")
    write_zip(tmp_path / "big.pth", {"w": tensor(np.zeros(2, np.float32), "0")}, b"big")
    with pytest.raises(UserError, match="big-endian"):
        weights.read(tmp_path / "big.pth")
