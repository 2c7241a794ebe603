"""Files as PyTorch writes them, in both its formats, without PyTorch; also under Python 2."""

import collections
import io
import pickle
import struct
import sys
import zipfile
from typing import ClassVar

import numpy as np

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
KINDS = {
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "DoubleStorage": np.float64,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


class Storage:
    """What a tensor's pickle refers to by a persistent id."""

    def __init__(self, kind, key, data, count):
        self.kind, self.key, self.data, self.count = kind, key, data, count


class Tensor:
    """Pickles itself as PyTorch's tensors do."""

    def __init__(self, storage, shape, strides, offset=0):
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def __reduce__(self):
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        hooks = collections.OrderedDict()
        return rebuild, (self.storage, self.offset, self.shape, self.strides, False, hooks)


class Parameter:
    """Pickles itself as PyTorch's parameters do."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __reduce__(self):
        rebuild = sys.modules["torch._utils"]._rebuild_parameter
        return rebuild, (self.tensor, True, collections.OrderedDict())


class _References:
    """What PyTorch's picklers refer to by a persistent id; `storages` are kept, by their keys."""

    def __init__(self, file, legacy):
        super().__init__(file, protocol=2)
        self.legacy, self.storages, self.sources = legacy, {}, set()

    def persistent_id(self, value):
        if isinstance(value, Storage):
            self.storages[value.key] = value
            kind = getattr(sys.modules["torch"], value.kind)
            pid = ("storage", kind, value.key, "cuda:0", value.count)
            return (*pid, None) if self.legacy else pid
        # The old format keeps the source text of a network's classes, once each.
        if self.legacy and getattr(value, "is_network", False) and value not in self.sources:
            self.sources.add(value)
            return "module", value, "models.py", "class DIMModel: ..."
        return None


class Pickler(_References, pickle.Pickler):
    """As Python 3 writes."""


class Python2Pickler(_References, pickle._Pickler):
    """As Python 2 writes: text as bytes."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_text(self, text):
        data = text.encode("latin1")
        if len(data) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(data)]) + data)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(text)

    dispatch[str] = save_text


def tensor(array, key):
    kind = next(kind for kind, dtype in KINDS.items() if array.dtype == dtype)
    storage = Storage(kind, key, array.tobytes(), array.size)
    return Tensor(storage, array.shape, tuple(s // array.itemsize for s in array.strides))


def write_zip(path, value, byteorder=b"little"):
    pickled = io.BytesIO()
    pickler = Pickler(pickled, legacy=False)
    pickler.dump(value)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled.getvalue())
        archive.writestr("archive/byteorder", byteorder)
        for storage in pickler.storages.values():
            archive.writestr(f"archive/data/{storage.key}", storage.data)
        archive.writestr("archive/version", b"3\n")


def write_legacy(path, value, pickler=Pickler):
    def dump(item):
        writer = pickler(file, legacy=True)
        writer.dump(item)
        return writer.storages

    with open(path, "wb") as file:
        for item in (MAGIC, VERSION, {"protocol_version": VERSION, "little_endian": True}):
            dump(item)
        used = sorted(dump(value).values(), key=lambda storage: storage.key, reverse=True)
        dump([storage.key for storage in used])
        for storage in used:
            file.write(struct.pack("<q", storage.count) + storage.data)


WRITERS = {"zip": write_zip, "legacy": write_legacy}
