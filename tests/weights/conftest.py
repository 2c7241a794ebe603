"""Names of PyTorch's, for pickle to refer to."""

import sys
import types

import pytest

from tests.weights.torch_files import KINDS


@pytest.fixture(autouse=True)
def torch_names(monkeypatch):
    """Modules of PyTorch's names, so that pickle can write (never read) references to them."""

    def named(module, name, value):
        value.__module__, value.__qualname__, value.__name__ = module, name, name
        setattr(sys.modules[module], name, value)

    for module in ("torch", "torch._utils"):
        monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        named("torch._utils", name, lambda *arguments: pytest.fail("ran foreign code"))
    for name in (*KINDS, "BFloat16Storage"):
        named("torch", name, type(name, (), {}))
