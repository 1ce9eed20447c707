"""Folders of runs that nobody named."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref

_MEMORY = "/dev/shm"
_SMALL = 256 * 2**20  # bytes of images; larger runs go to the disk


class Scratch:
    """A temporary folder that goes when this object does. Of small runs it is in memory: nothing waits for the disk."""

    def __init__(self, size: int) -> None:
        inside = _MEMORY if size <= _SMALL and os.access(_MEMORY, os.W_OK) else None
        self.name = tempfile.mkdtemp(prefix="hpm-", dir=inside)
        weakref.finalize(self, shutil.rmtree, self.name, ignore_errors=True)
