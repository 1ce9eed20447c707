"""Progress on the screen, and warnings, of what the engine does."""

from __future__ import annotations

import os
import sys
import time
import warnings


_HERE = os.path.dirname(__file__)


def warn(line: str) -> None:
    """A RuntimeWarning at the line of the user's that called hpm."""
    depth, frame = 2, sys._getframe(1)
    while frame.f_back is not None and os.path.dirname(frame.f_code.co_filename) == _HERE:
        depth, frame = depth + 1, frame.f_back
    warnings.warn(line, RuntimeWarning, stacklevel=depth)


class Progress:
    """Where the engine reports to: a line that is written again on a terminal and in a notebook, nothing when quiet.

    Warnings go through the module warnings in any case.
    """

    def __init__(self, verbose: bool) -> None:
        self.verbose = verbose
        self._task = ""
        self._unit = ""
        self._total = 0
        self._start = self._drawn = 0.0
        self._visible = False
        self._rewrites = sys.stderr.isatty() or "ipykernel" in sys.modules

    def begin(self, task: str, total: int, unit: str) -> None:
        self._task, self._total, self._unit = task, total, unit
        self._start = self._drawn = time.monotonic()
        self._visible = False

    def step(self, done: int, note: str) -> None:
        if not self.verbose:
            return
        now = time.monotonic()
        if now - self._start < 1 or now - self._drawn < (0.2 if self._rewrites else 10):
            return
        self._drawn = now
        rate = done / (now - self._start)
        left = f", {(self._total - done) / rate:.0f} s left" if rate > 0 and self._total else ""
        share = f"{100 * done / self._total:3.0f} %" if self._total else ""
        text = f"{self._task}: {share} of {self._total} {self._unit}{left}" + (f", {note}" if note else "")
        sys.stderr.write(f"\r\033[K{text}" if self._rewrites else text + "\n")
        sys.stderr.flush()
        self._visible = True

    def end(self) -> None:
        if self._visible and self._rewrites:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
        self._visible = False

    def say(self, line: str) -> None:
        if self.verbose:
            self.end()
            print(line, file=sys.stderr)

    def warn(self, line: str) -> None:
        self.end()
        warn(line)

    def chunk(self, attack: str, rows: int, broken: int) -> None:
        """After each chunk of an attack of AutoAttack."""
