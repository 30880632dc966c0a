"""Scratch files for each test session, so that sessions side by side, or one killed before, disturb no other."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from django.conf import settings

# Before anything imports Triton: kernels are tested in its interpreter unless TRITON_INTERPRET=0 (make test-gpu).
os.environ.setdefault("TRITON_INTERPRET", "1")
# Before anything imports torch: passes run side by side, and a second thread that waits for a busy core spins. On two cores at
# a load of 3, the self-test of a node took 37 s with two threads and 4 s with one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
_scratch = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    # All tests call from one address; those about limits set their own.
    settings.REQUESTS_PER_MINUTE = dict.fromkeys(settings.REQUESTS_PER_MINUTE, 10**8)
    scratch = Path(tempfile.mkdtemp(prefix="longboard-test-"))
    config.stash[_scratch] = str(scratch)
    # Where `make demo` has collected the static files, pages ask for their hashed names, and a live server has only the plain
    # ones: a browser would see no style at all.
    settings.STATIC_ROOT = scratch / "static"
    settings.STATIC_ROOT.mkdir()
    database = settings.DATABASES["default"]
    if "sqlite" in str(database["ENGINE"]):
        # A left-over -wal or -shm file beside a fresh database of the same name is a "disk I/O error".
        database["TEST"]["NAME"] = str(scratch / "test.sqlite3")


def pytest_unconfigure(config: pytest.Config) -> None:
    if folder := config.stash.get(_scratch, ""):
        shutil.rmtree(folder, ignore_errors=True)
