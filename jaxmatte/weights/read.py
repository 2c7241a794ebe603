"""Reads published weight files to NumPy without their framework, and without running their code.

PyTorch's and Paddle's files are pickles; `weights.unpickle` reads those.
"""

import io
import json
import math
import os
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxmatte.errors import UserError
from jaxmatte.weights.unpickle import (
    Refused,
    Storage,
    Tensor,
    Tolerant,
    Unpickler,
    decoded,
    is_network,
    item_size,
    tensors_of,
)

# Keys under which trainers put the state dict beside optimizers and counters.
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "params", "network")

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
        or .npz. A state dict inside of a trainer's checkpoint is found; so is a whole network
        that was pickled with its classes, of which none is needed here.

    Returns:
      name -> array; bfloat16 becomes float32, everything else keeps its type. Entries that are
      no tensors (counters, names) are left out.

    Raises:
      UserError: if the file cannot be read or needs more than tensors to be read.
    """
    path = os.fspath(path)
    try:
        with open(path, "rb") as file:
            try:
                state = _read(file, Unpickler)
            except Refused:
                state = _read_network(file)
                if state is None:
                    raise
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:
        # Damaged bytes make pickle, zipfile, json and NumPy raise whatever they like.
        detail = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: not a weight file, or a damaged one ({detail})") from error
    return _tensors(state, path)


def _read(file: Any, unpickler: type[Unpickler]) -> Any:
    """What the file holds, whatever its format."""
    file.seek(0)
    start = file.read(8)
    file.seek(0)
    if start.startswith(b"PK"):
        return _read_zip(file, unpickler)
    if start.startswith(b"\x80"):
        return _read_pickle(file, unpickler)
    return _read_safetensors(file)


def _read_network(file: Any) -> dict[str, Tensor] | None:
    """The tensors of a whole network, pickled as it is or in a trainer's checkpoint, if it is."""
    state = _read(file, Tolerant)
    held = [state.get(key) for key in WRAPPERS] if isinstance(state, Mapping) else [state]
    network = next((value for value in held if is_network(value)), None)
    return dict(tensors_of(network)) if network is not None else None


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
    return pair or isinstance(value, np.ndarray | Tensor)


def _array(value: Any) -> np.ndarray:
    if isinstance(value, Tensor):
        return value.array()
    return value[1] if isinstance(value, tuple) else value


# ------------------------------------------------------------------------------ the formats


def _read_zip(file: Any, unpickler: type[Unpickler]) -> Any:
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
    storages: dict[str, Storage] = {}

    def storage(pid):
        _, kind, key, _location, count = pid
        if key not in storages:
            values = decoded(archive.read(f"{root}data/{key}"), kind)
            storages[key] = Storage(kind, count, values)
        return storages[key]

    return unpickler(io.BytesIO(archive.read(pickles[0])), storage).load()


def _read_pickle(file: Any, unpickler: type[Unpickler]) -> Any:
    """Paddle's .pdparams, a pickled dict of arrays; or PyTorch's format before 1.6."""
    first = unpickler(file).load()
    if first != _LEGACY_MAGIC:
        return first
    version = unpickler(file).load()
    if version != _LEGACY_VERSION:
        raise UserError(f"version {version} of PyTorch's old format is not supported")
    system = unpickler(file).load()
    if not system.get("little_endian", True):
        raise UserError("its numbers are big-endian, which is not supported")
    storages: dict[str, Storage] = {}

    def storage(pid):
        _, kind, key, _location, count, view = pid
        if view is not None:
            raise UserError("views between storages are not supported")
        return storages.setdefault(key, Storage(kind, count))

    state = unpickler(file, storage).load()
    for key in unpickler(file).load():
        (count,) = struct.unpack("<q", file.read(8))
        target = storages[key]
        data = file.read(count * item_size(target.kind))
        target.values = decoded(data, target.kind)
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
        if end - begin != math.prod(shape) * item_size(kind) or end > len(data):
            raise UserError(f"the data of {name} do not fit its shape {shape}")
        tensors[name] = decoded(data[begin:end], kind).reshape(shape)
    return tensors
