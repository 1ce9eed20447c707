"""The sensitivity study."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from hpm import _engine
from hpm._engine_model import engine_model
from hpm._evaluation import Radius, option_texts
from hpm._inputs import Model, check_images, check_labels, check_mode, device_of, logits_of
from hpm._progress import Progress
from hpm._scratch import Scratch


class Analysis:
    """What analyze() measured: `results` is analysis.json (docs/analysis.md); `folder` has charts and report.html."""

    def __init__(self, text: str, folder: str, scratch: Scratch | None) -> None:
        self.results: dict[str, Any] = json.loads(text)
        self.folder = Path(folder)
        self._scratch = scratch

    def __repr__(self) -> str:
        heads = ", ".join(str(h.get("name")) for h in self.results.get("heads", []))
        return f"Analysis(heads {heads}; {self.folder / 'report.html'})"


def analyze(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    norm: str = "Linf",
    eps: Radius = 8 / 255,
    iterations: Sequence[int] | None = None,
    loss: str | None = None,
    seed: int = 0,
    batch_size: int = 256,
    threads: int | None = None,
    out: str | os.PathLike[str] | None = None,
    verbose: bool = False,
) -> Analysis:
    """The sensitivity study: the FC layer, the l2 classifier and HPM of one model on the same features, under APGD.

    Arguments:
        model: what attach(), load() or native() gave: the study needs penultimate features.
        x, y: images [N,C,H,W] float32 in [0,1], labels [N] int64.
        norm, eps: the threat model; several radii are the points of a curve.
        iterations: steps of APGD for the curve against iterations. loss: "ce" or "dlr".
        seed: of all random numbers. batch_size: images a pass. threads: for the time of the study.
        verbose: progress on stderr.
        out: a folder for analysis.json, charts and report.html; None: a temporary one.

    Returns: Analysis. Raises ValueError for a model without features. Source: docs/analysis.md.
    """
    check_images(x, y, "analyze")
    check_mode(model, "analyze", False)
    device = device_of(model, x)
    classes = logits_of(model, x[: min(len(x), 2)].to(device)).shape[1]
    check_labels(y, classes, "analyze")
    options = option_texts(
        {"norm": norm, "eps": eps, "iterations": iterations, "loss": loss, "seed": seed, "batch_size": batch_size,
         "threads": threads}
    )  # fmt: skip
    scratch = Scratch(x.numel() * x.element_size()) if out is None else None
    folder = str(out) if scratch is None else scratch.name
    images = _engine.EvaluatedImages(x, y, "images in memory", "all", [])
    with engine_model(model, x, device, classes) as made:
        text = _engine.analyze(made, images, options, folder, Progress(verbose))
    return Analysis(text, folder, scratch)
