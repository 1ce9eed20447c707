"""What an evaluation came to."""

from __future__ import annotations

import html
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from hpm._pictures import gallery_html
from hpm._scratch import Scratch

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped,unused-ignore]


@dataclass(frozen=True)
class Check:
    """A check of the evaluation: `status` is "passed", "failed", "reported" or "not run"."""

    name: str
    status: str
    value: float | None
    limit: float | None
    unit: str
    detail: str
    context: str


@dataclass(frozen=True)
class Context:
    """The figures in one context; a model without an HPM head has one, with an empty name.

    Accuracies are in percent; NaN where nothing was attacked. flags, clean_flags: [N] bool: right under attack, and on the images as they are.
    """

    name: str
    clean_accuracy: float
    robust_accuracy: float
    interval: tuple[float, float]
    clean_flags: Tensor
    flags: Tensor
    surrogates: list[dict[str, Any]]


class Result:
    """What evaluate(), msa() and fast() give.

    Attributes:
        robust_accuracy, clean_accuracy: percent, in the first context; NaN where nothing was attacked.
        interval: the 95 % Wilson interval of robust_accuracy.
        flags: [N] bool: right under every attack. clean_flags: [N] bool: right on the images as they are.
        adversarial: [N,C,H,W]: the image that broke each, else the original; None where nothing was attacked.
        contexts: a Context for each context that was evaluated.
        checks: a Check for each check. suspect: whether one failed; reasons: which.
        notes: what a reader of the figures must know.
        attacks: a dict for each attack: name, robust_accuracy after it, passes, seconds.
        results: everything, as docs/results-format.md describes results.json.
    """

    def __init__(
        self,
        text: str,
        tensors: dict[str, Any],
        x: Tensor,
        y: Tensor,
        folder: str,
        scratch: Scratch | None,
    ) -> None:
        self.results: dict[str, Any] = json.loads(text)
        self._x = x.detach()
        self._y = y
        self._folder = Path(folder)
        self._scratch = scratch
        found = tensors["adversarial"]
        self.adversarial: Tensor | None = None if found is None else found.to(x.device)
        figures = self.results.get("contexts") or [self.results]
        self.contexts = [_context(f, t, y) for f, t in zip(figures, tensors["contexts"], strict=True)]
        self.checks = [_check(c) for c in self.results.get("checks", [])]
        self.suspect: bool = bool(self.results.get("suspect", False))
        self.reasons: list[str] = list(self.results.get("reasons", []))
        self.notes: list[str] = list(self.results.get("notes", []))
        self.attacks: list[dict[str, Any]] = list(self.results.get("attacks", []))

    @property
    def robust_accuracy(self) -> float:
        return self.contexts[0].robust_accuracy

    @property
    def clean_accuracy(self) -> float:
        return self.contexts[0].clean_accuracy

    @property
    def interval(self) -> tuple[float, float]:
        return self.contexts[0].interval

    @property
    def flags(self) -> Tensor:
        return self.contexts[0].flags

    @property
    def clean_flags(self) -> Tensor:
        return self.contexts[0].clean_flags

    @property
    def folder(self) -> Path:
        """The folder of the run: results.json, verdicts, environment, configuration."""
        return self._folder

    def save(self, folder: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Copies the run to a folder that `hpm report` and hpm.report() read. Raises ValueError where one is there."""
        target = Path(folder)
        if target.exists() and any(target.iterdir()) and not overwrite:
            raise ValueError(f"save: {target} is not empty; give another folder, or overwrite=True")
        shutil.copytree(self._folder, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("lock"))
        return target

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Writes the report, one self-contained HTML page."""
        from hpm._report import report

        return report([self], path)

    def to_pandas(self) -> pandas.DataFrame:
        """A row an image: label, predictions, and in each context clean_correct and robust. Needs pandas."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_pandas needs pandas: pip install pandas") from error
        columns: dict[str, Any] = {"label": self._y.tolist()}
        predictions = self.results.get("predictions") or {}
        for kind in ("clean", "adversarial"):
            if predictions.get(kind):
                columns[f"{kind}_prediction"] = predictions[kind]
        for context in self.contexts:
            ending = f"_{context.name}" if context.name else ""
            columns[f"clean_correct{ending}"] = context.clean_flags.tolist()
            columns[f"robust{ending}"] = context.flags.tolist()
        return pandas.DataFrame(columns).rename_axis("image")

    def to_robustbench(self, **about: Any) -> dict[str, Any]:
        """The entry of a model in RobustBench's format (model_info/<dataset>/<threat model>/<name>.json).

        `about`: what only its authors know: name, authors, link, venue, architecture, dataset, additional_data,
        number_forward_passes, reported, footnote. Raises ValueError for an evaluation that is not AutoAttack's.
        """
        from hpm._robustbench import entry

        return entry(self, about)

    def __repr__(self) -> str:
        r = self.results
        what = f"{r['protocol']} {r.get('version') or ''}".strip()
        low, high = self.interval
        suspect = f", SUSPECT: {'; '.join(self.reasons)}" if self.suspect else ""
        more = "".join(f", {c.name} {c.robust_accuracy:.1f} %" for c in self.contexts[1:])
        head = f" in {self.contexts[0].name}" if self.contexts[0].name else ""
        return (
            f"Result({what}, {r['norm']} {r['eps']:.6g}, {r['n']} images: clean {self.clean_accuracy:.1f} %, "
            f"robust{head} {self.robust_accuracy:.1f} % ({low:.1f}-{high:.1f}){more}{suspect})"
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(c.name or 'model')}</td><td>{c.clean_accuracy:.1f} %</td>"
            f"<td><b>{c.robust_accuracy:.1f} %</b> ({c.interval[0]:.1f}-{c.interval[1]:.1f})</td></tr>"
            for c in self.contexts
        )
        attacks = "".join(
            f"<tr><td>{html.escape(a['name'])} {html.escape(a.get('surrogate') or '')}</td>"
            f"<td>{'' if a.get('robust_accuracy') is None else format(a['robust_accuracy'], '.1f') + ' %'}</td>"
            f"<td>{a.get('seconds', 0):.1f} s</td></tr>"
            for a in self.attacks
        )
        marks = {"passed": "&#10003;", "failed": "<b>&#10007;</b>", "reported": "&#8226;", "not run": "&#8211;"}
        checks = ", ".join(f"{marks.get(c.status, '')} {html.escape(c.name)}" for c in self.checks)
        r = self.results
        title = html.escape(f"{r['protocol']} {r.get('version') or ''}, {r['norm']} {r['eps']:.6g}, {r['n']} images")
        verdict = f"<p><b>Suspect:</b> {html.escape('; '.join(self.reasons))}</p>" if self.suspect else ""
        return (
            f"<div><p><b>hpm</b>: {title}</p>{verdict}<table><tr><th></th><th>clean</th><th>robust (95 %)</th></tr>"
            f"{rows}</table><table><tr><th>attack</th><th>robust after it</th><th></th></tr>{attacks}</table>"
            f"<p>checks: {checks or 'none'}</p>{gallery_html(self._x, self.adversarial, self.clean_flags & ~self.flags)}</div>"
        )


def _context(figures: dict[str, Any], tensors: dict[str, Any], y: Tensor) -> Context:
    low, high = _interval(figures)
    return Context(
        name=str(tensors["context"]),
        clean_accuracy=float(figures["clean_accuracy"]),
        robust_accuracy=_number(figures.get("robust_accuracy")),
        interval=(low, high),
        clean_flags=tensors["clean_correct"].to(y.device),
        flags=tensors["robust"].to(y.device),
        surrogates=list(figures.get("surrogates") or []),
    )


def _interval(figures: dict[str, Any]) -> tuple[float, float]:
    given = figures.get("interval")
    if isinstance(given, dict):
        return float(given["low"]), float(given["high"])
    if given:
        return float(given[0]), float(given[1])
    return float("nan"), float("nan")


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _check(c: dict[str, Any]) -> Check:
    return Check(
        name=c["name"],
        status=c["status"],
        value=c.get("value"),
        limit=c.get("limit"),
        unit=c.get("unit") or "",
        detail=c.get("detail") or "",
        context=c.get("context") or "",
    )
