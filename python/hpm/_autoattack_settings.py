"""Settings of AutoAttack's attacks, under the names that the official package has, and its log."""

from __future__ import annotations

import os
from typing import Any

from hpm._progress import warn


class _Settings:
    """Settings of one attack. What the engine does not vary is named in `_fixed`; another value is an error."""

    _fixed: dict[str, Any] = {}
    _of_the_whole = ("verbose", "seed", "device", "eps", "norm", "logger")  # the authors' attacks have their own

    def __init__(self, **values: Any) -> None:
        for name, value in {**self._fixed, **values}.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        kind = type(self).__name__
        if name in self._of_the_whole:
            warn(f"AutoAttack: {kind}.{name} has no effect: all attacks have that of the AutoAttack object")
            return
        if name not in self.__dict__:
            raise AttributeError(f"AutoAttack: {kind} has no setting {name}; it has {', '.join(sorted(self.__dict__))}")
        if name in self._fixed and value != self._fixed[name]:
            raise ValueError(f"AutoAttack: {kind}.{name} is {self._fixed[name]} in hpm and cannot be {value!r}")
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.__dict__.items())})"


class Apgd(_Settings):
    """APGD on the cross-entropy (apgd-ce) and on the difference of logits ratio (apgd-dlr)."""

    _fixed = {"rho": 0.75}
    n_restarts: int
    n_iter: int
    eot_iter: int
    use_largereps: bool


class ApgdTargeted(_Settings):
    """APGD on the targeted difference of logits ratio (apgd-t)."""

    _fixed = {"rho": 0.75}
    n_restarts: int
    n_iter: int
    n_target_classes: int
    eot_iter: int
    use_largereps: bool


class Fab(_Settings):
    """FAB (fab) and targeted FAB (fab-t). Running fab-t sets n_restarts to 1, as in the authors' code."""

    _fixed = {"alpha_max": 0.1, "eta": 1.05, "beta": 0.9}
    n_restarts: int
    n_iter: int
    n_target_classes: int


class Square(_Settings):
    """Square (square): random search without gradients."""

    _fixed = {"p_init": 0.8, "resc_schedule": False}
    n_queries: int
    n_restarts: int


class Logger:
    """Prints lines, and appends them to a file where a path is given."""

    def __init__(self, log_path: str | os.PathLike[str] | None = None) -> None:
        self.log_path = log_path

    def log(self, line: str) -> None:
        print(line, flush=True)
        if self.log_path is not None:
            with open(self.log_path, "a", encoding="utf-8") as file:
                file.write(line + "\n")
