"""Reads published weight files to NumPy without their framework, and without running their code.

PyTorch's and Paddle's files are pickles, which can name any function to call. The unpickler here
knows the few names that tensors need and refuses every other.
"""

import collections
import io
import json
import math
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxmatte.errors import UserError

# Keys under which trainers put the state dict beside optimizers and counters.
WRAPPERS = ("state_dict", "model_state_dict", "model", "params", "network")

_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}
_SAFETENSORS = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "bfloat16",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}
# The first object in a file that PyTorch wrote before 1.6, and its format's version.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the tensors of a weight file, whatever its extension says it is.

    Args:
      path: a PyTorch file (.pth, .pt, .ckpt, either format), Paddle's .pdparams, .safetensors
        or .npz. A state dict inside of a trainer's checkpoint is found.

    Returns:
      name -> array; bfloat16 becomes float32, everything else keeps its type. Entries that are
      no tensors (counters, names) are left out.

    Raises:
      UserError: if the file cannot be read or needs more than tensors to be read.
    """
    path = os.fspath(path)
    try:
        with open(path, "rb") as file:
            start = file.read(8)
            file.seek(0)
            if start.startswith(b"PK"):
                state = _read_zip(file)
            elif start.startswith(b"\x80"):
                state = _read_pickle(file)
            else:
                state = _read_safetensors(file)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:
        # Damaged bytes make pickle, zipfile, json and NumPy raise whatever they like.
        detail = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: not a weight file, or a damaged one ({detail})") from error
    return _tensors(state, path)


def _tensors(state: Any, path: str) -> dict[str, np.ndarray]:
    """The arrays of the state dict that `state` is, or holds under one of `WRAPPERS`."""
    while isinstance(state, Mapping):
        tensors = {str(name): value for name, value in state.items() if _is_tensor(value)}
        inner = next((state[key] for key in WRAPPERS if isinstance(state.get(key), Mapping)), None)
        if inner is None:
            tensors = tensors or _of_parts(state)
        if inner is None and tensors:
            return {name: _array(value) for name, value in tensors.items()}
        state = inner
    raise UserError(f"{path}: no tensors found in it, neither directly nor under {WRAPPERS}")


def _of_parts(state: Mapping[Any, Any]) -> dict[str, Any]:
    """The tensors of several state dicts, each under the name of a part of the network."""
    return {
        f"{part}.{name}": value
        for part, inner in state.items()
        if isinstance(inner, Mapping)
        for name, value in inner.items()
        if _is_tensor(value)
    }


def _is_tensor(value: Any) -> bool:
    # Paddle pickles a tensor as (name, array).
    pair = isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], np.ndarray)
    return pair or isinstance(value, np.ndarray | _Tensor)


def _array(value: Any) -> np.ndarray:
    if isinstance(value, _Tensor):
        return value.array()
    return value[1] if isinstance(value, tuple) else value


# ------------------------------------------------------------------------------- raw bytes


def _decoded(data: bytes, kind: str) -> np.ndarray:
    """Little-endian bytes of one of the kinds above -> a flat array."""
    if kind != "bfloat16":
        return np.frombuffer(data, kind)
    # bfloat16 is the upper half of a float32.
    return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)


def _item_size(kind: str) -> int:
    return 2 if kind == "bfloat16" else np.dtype(kind).itemsize


@dataclass
class _Storage:
    """The flat values behind tensors; a file's data may come after the tensors that use it."""

    kind: str
    count: int
    values: np.ndarray | None = None


@dataclass
class _Tensor:
    """A strided view of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        """The tensor's values, checked to lie within its storage."""
        values = self.storage.values
        if values is None:
            raise UserError("a tensor's data are missing from the file")
        reach = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        negative = min((self.offset, *self.shape, *self.strides)) < 0
        empty = 0 in self.shape
        if negative or (not empty and self.offset + reach >= len(values)):
            raise UserError(f"a tensor of shape {self.shape} reaches beyond its data")
        if empty:
            return np.zeros(self.shape, values.dtype)
        strides = [s * values.itemsize for s in self.strides]
        view = np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides)
        return np.ascontiguousarray(view).reshape(self.shape)


# --------------------------------------------------------------------- the restricted unpickler


def _rebuild_tensor(storage, offset, shape, strides, *_unused) -> _Tensor:
    """Stands for torch._utils._rebuild_tensor and _rebuild_tensor_v2."""
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data, *_unused) -> _Tensor:
    """Stands for torch._utils._rebuild_parameter."""
    return data


def _dtype(*arguments) -> np.dtype:
    """numpy.dtype, but for objects and structures."""
    dtype = np.dtype(*arguments)
    if dtype.kind not in "biufSUV" or dtype.hasobject:
        raise UserError(f"refused: it holds an array of {dtype}")
    return dtype


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """_codecs.encode as pickles of protocol 2 use it to hold bytes."""
    if encoding != "latin1":
        raise UserError(f"refused: it calls _codecs.encode with {encoding!r}")
    return text.encode("latin1")


def _numpy_globals() -> dict[tuple[str, str], Any]:
    multiarray = np._core.multiarray  # type: ignore[attr-defined]
    return {
        (module, name): getattr(multiarray, name)
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("_reconstruct", "scalar")
    }


_GLOBALS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): tuple,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
    ("builtins", "tuple"): tuple,
    ("__builtin__", "tuple"): tuple,
    **{("torch", name): kind for name, kind in _STORAGES.items()},
    **_numpy_globals(),
}


class _Unpickler(pickle.Unpickler):
    """Loads tensors, arrays and plain containers; refuses every other global."""

    def __init__(self, file: Any, storage: Callable[[tuple], _Storage] | None = None):
        super().__init__(file, encoding="latin1")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in of a known global; never an import."""
        if (module, name) not in _GLOBALS:
            raise UserError(
                f"refused: it asks to run {module}.{name}, which tensors do not need;"
                " save the bare state dict again with its own framework"
            )
        return _GLOBALS[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        """A reference ("storage", kind, key, location, count, ...) to a tensor's data."""
        if self._storage is None or not isinstance(pid, tuple) or pid[0] != "storage":
            raise UserError(f"refused: an unknown reference {pid!r}")
        return self._storage(pid)


# ------------------------------------------------------------------------------ the formats


def _read_zip(file: Any) -> Any:
    """NumPy's .npz, or PyTorch's format since 1.6: data.pkl and one file a storage."""
    archive = zipfile.ZipFile(file)
    names = archive.namelist()
    pickles = [name for name in names if name.split("/")[-1] == "data.pkl"]
    if not pickles:
        if not all(name.endswith(".npy") for name in names):
            raise UserError("a zip archive, but neither PyTorch's nor NumPy's")
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
        raise UserError("its numbers are big-endian, which is not supported")
    storages: dict[str, _Storage] = {}

    def storage(pid):
        _, kind, key, _location, count = pid
        if key not in storages:
            values = _decoded(archive.read(f"{root}data/{key}"), kind)
            storages[key] = _Storage(kind, count, values)
        return storages[key]

    return _Unpickler(io.BytesIO(archive.read(pickles[0])), storage).load()


def _read_pickle(file: Any) -> Any:
    """Paddle's .pdparams, a pickled dict of arrays; or PyTorch's format before 1.6."""
    first = _Unpickler(file).load()
    if first != _LEGACY_MAGIC:
        return first
    version = _Unpickler(file).load()
    if version != _LEGACY_VERSION:
        raise UserError(f"version {version} of PyTorch's old format is not supported")
    system = _Unpickler(file).load()
    if not system.get("little_endian", True):
        raise UserError("its numbers are big-endian, which is not supported")
    storages: dict[str, _Storage] = {}

    def storage(pid):
        _, kind, key, _location, count, view = pid
        if view is not None:
            raise UserError("views between storages are not supported")
        return storages.setdefault(key, _Storage(kind, count))

    state = _Unpickler(file, storage).load()
    for key in _Unpickler(file).load():
        (count,) = struct.unpack("<q", file.read(8))
        target = storages[key]
        data = file.read(count * _item_size(target.kind))
        target.values = _decoded(data, target.kind)
    return state


def _read_safetensors(file: Any) -> dict[str, np.ndarray]:
    """A JSON table of names, types, shapes and byte ranges, then the bytes."""
    (length,) = struct.unpack("<Q", file.read(8))
    size = os.fstat(file.fileno()).st_size
    if length > size - 8:
        raise UserError("not a weight file (is it a web page or a pointer to the real file?)")
    table = json.loads(file.read(length))
    data = file.read()
    tensors = {}
    for name, entry in table.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        if entry["dtype"] not in _SAFETENSORS:
            raise UserError(f"{name} is of type {entry['dtype']}, which is not supported")
        kind, shape = _SAFETENSORS[entry["dtype"]], tuple(entry["shape"])
        if end - begin != math.prod(shape) * _item_size(kind) or end > len(data):
            raise UserError(f"the data of {name} do not fit its shape {shape}")
        tensors[name] = _decoded(data[begin:end], kind).reshape(shape)
    return tensors
