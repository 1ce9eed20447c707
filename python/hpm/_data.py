"""Data sets as tensors."""

from __future__ import annotations

import os
from dataclasses import dataclass

from torch import Tensor

from hpm import _engine
from hpm._progress import warn


@dataclass(frozen=True)
class Data:
    """Images x [N,C,H,W] float32 in [0,1], labels y [N] int64, and what the classes are called."""

    x: Tensor
    y: Tensor
    name: str
    split: str
    folder: str
    class_names: tuple[str, ...]


def data(
    name: str,
    split: str = "test",
    *,
    root: str | os.PathLike[str] = "",
    first: int = 0,
    count: int = 0,
    resize: int = 0,
    crop: int = 0,
) -> Data:
    """Loads a data set that is on the disk; nothing is downloaded.

    Arguments:
        name: cifar10, cifar100, mnist, fashion-mnist or svhn as downloaded; images:DIR, npz:FILE or npy:FILE.
        split: "test" or "train".
        root: the parent of its folder; empty: $HPM_DATA and the usual places.
        first, count: images first to first + count - 1; count 0: all that follow.
        resize, crop: of image folders: the shorter side, and the square cut from the middle, in pixels.

    Returns: Data. Raises ValueError for an unknown name, RuntimeError, with where it was looked for, for a missing or
    broken one.

    Example:
        test = hpm.data("cifar10", root="DATA", count=1000)
        result = hpm.evaluate(model, test.x, test.y)
    """
    x, y, about = _engine.load_dataset(name, split, str(root), first, count, {"resize": resize, "crop": crop})
    for note in about["notes"]:
        warn(f"data: {note}")
    return Data(x, y, about["name"], about["split"], about["folder"], tuple(about["class_names"]))
