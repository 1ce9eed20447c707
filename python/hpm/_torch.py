"""The PyTorch that the engine was built for. It is imported first: the engine uses its LibTorch and brings none."""

from __future__ import annotations

from hpm._build import TORCH_VERSION


def _release(version: str) -> tuple[str, ...]:
    """Major and minor number: LibTorch's C++ interface changes with them."""
    return tuple(version.split("+")[0].split(".")[:2])


def require_torch() -> None:
    """Imports torch. Raises ImportError, with what to do, where it is missing or of another release."""
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"hpm needs PyTorch {TORCH_VERSION}, which is not installed here: pip install torch=={TORCH_VERSION.split('+')[0]}"
        ) from error
    if _release(torch.__version__) != _release(TORCH_VERSION):
        raise ImportError(
            f"hpm was built for PyTorch {TORCH_VERSION}, but this is {torch.__version__}: install torch=="
            f"{TORCH_VERSION.split('+')[0]}, or build hpm again beside this one (pip install . --no-build-isolation)"
        )
