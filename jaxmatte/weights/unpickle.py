"""Unpickles what weight files hold, and nothing else: no name in a file is ever imported or called.

PyTorch's and Paddle's files are pickles, which can name any function to call. `Unpickler` knows the
few names that tensors need and refuses every other. `Tolerant` reads checkpoints that hold a whole
network, not only its tensors: whatever it does not know becomes a `StandIn`, which does nothing.
"""

import collections
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxmatte.errors import UserError

STORAGES = {
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

# ------------------------------------------------------------------------------- raw bytes


def decoded(data: bytes, kind: str) -> np.ndarray:
    """Little-endian bytes of one of the kinds above -> a flat array."""
    if kind != "bfloat16":
        return np.frombuffer(data, kind)
    # bfloat16 is the upper half of a float32.
    return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)


def item_size(kind: str) -> int:
    """Bytes of a number of one of the kinds above."""
    return 2 if kind == "bfloat16" else np.dtype(kind).itemsize


@dataclass(eq=False)  # a key of an optimizer's dict can be one
class Storage:
    """The flat values behind tensors; a file's data may come after the tensors that use it."""

    kind: str
    count: int
    values: np.ndarray | None = None


@dataclass(eq=False)  # a key of an optimizer's dict can be one
class Tensor:
    """A strided view of a storage."""

    storage: Storage
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


def _rebuild_tensor(storage, offset, shape, strides, *_unused) -> Tensor:
    """Stands for torch._utils._rebuild_tensor and _rebuild_tensor_v2."""
    return Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data, *_unused) -> Tensor:
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
    **{("torch", name): kind for name, kind in STORAGES.items()},
    **_numpy_globals(),
}


class Refused(UserError):
    """A pickle asks for more than tensors."""


class Unpickler(pickle.Unpickler):
    """Loads tensors, arrays and plain containers; refuses every other global.

    Text of Python 2 is read as Latin-1, in which it can be anything, bytes too.
    """

    def __init__(self, file: Any, storage: Callable[[tuple], Storage] | None = None):
        super().__init__(file, encoding="latin1")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in of a known global; never an import."""
        if (module, name) not in _GLOBALS:
            raise Refused(
                f"refused: it asks to run {module}.{name}, which tensors do not need;"
                " save the bare state dict again with its own framework"
            )
        return _GLOBALS[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """A reference ("storage", kind, key, location, count, ...) to a tensor's data."""
        if self._storage is None or not isinstance(pid, tuple) or pid[0] != "storage":
            raise UserError(f"refused: an unknown reference {pid!r}")
        return self._storage(pid)


# ------------------------------------------------------------------------------ whole networks


class StandIn:
    """An object of any class, or what any function gives: it keeps its state and does nothing."""

    def __init__(self, *_arguments: Any, **_options: Any):
        self.state: dict[Any, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}

    def __setitem__(self, _key: Any, _value: Any) -> None:
        """As pickles fill dicts."""

    def append(self, _item: Any) -> None:
        """As pickles fill lists and sets."""

    add = extend = append


class Tolerant(Unpickler):
    """Puts a `StandIn` wherever `Unpickler` refuses; neither imports or calls anything."""

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in of a known global, or of any."""
        return _GLOBALS.get((module, name), StandIn)

    def persistent_load(self, pid: Any) -> Any:
        """A reference to data, or ("module", class, file, source) to a network's source text."""
        if isinstance(pid, tuple) and pid[0] == "module":
            return pid[1]
        return super().persistent_load(pid)


def is_network(value: Any) -> bool:
    """Whether it stands for a network of PyTorch's."""
    return isinstance(value, StandIn) and isinstance(value.state.get("_modules"), Mapping)


def tensors_of(network: StandIn, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers of a network and of its parts, by the names of its state dict."""
    for group in ("_parameters", "_buffers"):
        for name, value in network.state.get(group, {}).items():
            if isinstance(value, Tensor):
                yield f"{prefix}{name}", value
    for name, part in network.state["_modules"].items():
        if is_network(part):
            yield from tensors_of(part, f"{prefix}{name}.")
