"""What tells one function written in Python from another: a run in a folder goes on with the same stand-ins alone."""

from __future__ import annotations

import functools
import hashlib
import inspect
import sysconfig
import types
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hpm import _engine

_AS_WRITTEN = (
    type(None), bool, int, float, complex, str, bytes, range, slice, torch.dtype, torch.device, torch.Size,
)  # fmt: skip
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def identity_of(function: Any) -> str:
    """SHA-256 of what a function computes with, as far as Python shows it.

    Of a torch.nn.Module: its parameters and buffers, the class, the code and the settings of each submodule. Of any
    other function: its bytecode, its defaults, and the values that it refers to, among them modules, tensors, numbers,
    texts, lists, dictionaries and further functions. What is not seen: code of installed packages (its name counts),
    the contents of other objects (their type counts), files, what compiled code keeps to itself. Another release of
    Python has other bytecode.
    """
    parts = _Parts()
    parts.add(function)
    return parts.hash.hexdigest()


class _Parts:
    """A hash of values, each as its type and its contents; one that comes again is named by its place."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # while an object lives, its id is its own

    def add(self, value: Any) -> None:
        if isinstance(value, _AS_WRITTEN):
            self._say(type(value).__name__, repr(value))
        elif id(value) in self._seen:
            self._say("again", str(self._seen[id(value)]))
        else:
            self._seen[id(value)] = len(self._seen)
            self._kept.append(value)
            self._say(type(value).__module__, type(value).__qualname__)
            self._add_contents(value)

    def _say(self, *words: str) -> None:
        for word in words:
            self.hash.update(f"{len(word)}:{word}".encode())

    def _add_contents(self, value: Any) -> None:
        if isinstance(value, Tensor):
            self._say(_engine.sha256_of_tensors([value]))
        elif isinstance(value, nn.Module):
            self._add_module(value)
        elif isinstance(value, types.CodeType):
            self._say(value.co_code.hex(), *value.co_names)
            self._add_all(value.co_consts)
        elif isinstance(value, types.FunctionType):
            self._add_function(value)
        elif isinstance(value, types.MethodType):
            self._add_all((value.__func__, value.__self__))
        elif isinstance(value, functools.partial):
            self._add_all((value.func, value.args, value.keywords))
        elif isinstance(value, (staticmethod, classmethod)):
            self.add(value.__func__)
        elif isinstance(value, (types.ModuleType, types.BuiltinFunctionType)):
            self._say(getattr(value, "__name__", ""))
        elif isinstance(value, type):
            self._add_class(value)
        elif isinstance(value, Mapping):
            self._add_named(value)
        elif isinstance(value, (set, frozenset)):
            self._say(*sorted(repr(part) for part in value))
        elif isinstance(value, (list, tuple)):
            self._add_all(value)
        elif isinstance(getattr(value, "_engine_model", None), _engine.Model):  # a NativeModel
            self._add_named(value.state_dict())
        elif callable(value):  # its class tells what it does, its attributes with what
            self.add(type(value))
            self._add_named(getattr(value, "__dict__", {}))

    def _add_all(self, values: Any) -> None:
        self._say(str(len(values)))
        for value in values:
            self.add(value)

    def _add_named(self, values: Mapping[Any, Any]) -> None:
        self._say(str(len(values)))
        for name, value in values.items():
            self._say(str(name))
            self.add(value)

    def _add_module(self, module: nn.Module) -> None:
        self.add(type(module))
        own = {n: t for n, t in [*module._parameters.items(), *module._buffers.items()] if t is not None}
        settings = {n: v for n, v in vars(module).items() if not n.startswith("_")}
        for part in (own, settings, {n: m for n, m in module._modules.items() if m is not None}):
            self._add_named(part)

    def _add_function(self, function: types.FunctionType) -> None:
        if function.__code__.co_filename.startswith(_INSTALLED):
            return self._say(function.__module__ or "", function.__qualname__)
        self.add(function.__code__)
        self._add_all((function.__defaults__, function.__kwdefaults__))
        for cell in function.__closure__ or ():
            try:
                self.add(cell.cell_contents)
            except ValueError:  # nothing in it yet
                self._say("empty")
        read = _names_in(function.__code__)
        self._add_named({n: function.__globals__[n] for n in read if n in function.__globals__})

    def _add_class(self, kind: type) -> None:
        self._say(kind.__module__, kind.__qualname__)
        if not _is_written_here(kind):
            return
        self._add_all(kind.__bases__)
        seen = (types.FunctionType, staticmethod, classmethod, *_AS_WRITTEN)
        about = ("__doc__", "__module__", "__firstlineno__")  # the class, not what it does
        self._add_named({n: v for n, v in vars(kind).items() if isinstance(v, seen) and n not in about})


def _is_written_here(kind: type) -> bool:
    """Whether a class is the user's own: neither compiled nor of an installed package."""
    try:
        return not inspect.getfile(kind).startswith(_INSTALLED)
    except (TypeError, OSError):  # compiled, or typed into a terminal
        return kind.__module__ == "__main__"


def _names_in(code: types.CodeType) -> list[str]:
    """The names that a function and the functions within it look up."""
    names = list(code.co_names)
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            names += _names_in(part)
    return list(dict.fromkeys(names))
