"""Reports and tables from runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hpm import _engine
from hpm._result import Result

Run = str | os.PathLike[str] | Result


def report(
    runs: Run | Sequence[Run],
    path: str | os.PathLike[str] = "report.html",
    *,
    title: str = "",
    labels: Sequence[str] = (),
) -> Path:
    """Writes one page, or one table, from one or several runs; several are compared side by side.

    Arguments:
        runs: folders of runs (Result.save(), `hpm evaluate --out`), or Results.
        path: ends in .html (a self-contained page), or in .md, .tex or .csv (the table alone).
        title: the page's headline. labels: what the runs are called, one each.

    Returns: the path. Raises RuntimeError for a folder that holds no run, ValueError for another ending.
    """
    if isinstance(runs, (str, os.PathLike, Result)):
        runs = [runs]
    folders = [str(run.folder if isinstance(run, Result) else run) for run in runs]
    target = Path(path)
    if target.suffix in (".html", ".htm"):
        _engine.write_report(folders, str(target), title, list(labels))
    elif target.suffix in (".md", ".tex", ".csv"):
        _engine.write_table(folders, str(target), list(labels))
    else:
        raise ValueError(f"report: path needs to end in .html, .md, .tex or .csv, but is {target}")
    return target
