"""Entries in RobustBench's format."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpm._result import Result

_TEXTS = ("link", "name", "authors", "dataset", "venue", "architecture", "footnote", "reported")


def _radius(eps: float, norm: str) -> str:
    """A radius as RobustBench writes it: Linf in 255ths, others as a number."""
    of_255 = Fraction(eps * 255).limit_denominator(10)
    if norm == "Linf" and abs(float(of_255) / 255 - eps) < 1e-9:
        return f"{of_255.numerator}/255" if of_255.denominator == 1 else f"{float(of_255):g}/255"
    return f"{eps:g}"


def entry(result: Result, about: dict[str, Any]) -> dict[str, Any]:
    r = result.results
    if r["protocol"] != "autoattack" or r.get("version") != "standard":
        raise ValueError(
            f"to_robustbench: an entry has AutoAttack's accuracy, of version standard, but this is {r['protocol']} "
            f"{r.get('version') or ''}"
        )
    known = {*_TEXTS, "additional_data", "number_forward_passes", "unreliable"}
    if unknown := sorted(set(about) - known):
        raise ValueError(f"to_robustbench: unknown field {unknown[0]}; known are {', '.join(sorted(known))}")
    model = r.get("model_info") or {}
    filled: dict[str, Any] = {
        "link": about.get("link", ""),
        "name": about.get("name", ""),
        "authors": about.get("authors", ""),
        "additional_data": bool(about.get("additional_data", False)),
        "number_forward_passes": int(about.get("number_forward_passes", 1)),
        "dataset": about.get("dataset", r.get("dataset", "")),
        "venue": about.get("venue", ""),
        "architecture": about.get("architecture", model.get("architecture", "")),
        "eps": _radius(float(r["eps"]), r["norm"]),
        "clean_acc": f"{result.clean_accuracy:.2f}",
        "reported": str(about.get("reported", "")),
        "autoattack_acc": f"{result.robust_accuracy:.2f}",
        "unreliable": bool(about.get("unreliable", result.suspect)),
    }
    if "footnote" in about:
        filled["footnote"] = about["footnote"]
    return filled
