"""Faults on a real service. The quick half runs everywhere; `make test-faults` (FAULTS=all) runs the long half too.

Each test prints its figure; they stand together at the end of the output.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.faults.site import Site, find_binaries
from tests.workers.conftest import models_dir

__all__ = ["models_dir"]

_figures: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "long: a fault that takes long to inject; runs with FAULTS=all (make test-faults)"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("FAULTS") == "all":
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="the long half: make test-faults"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _figures:
        terminalreporter.section("figures of the faults")
        for line in _figures:
            terminalreporter.write_line(line)


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keeps one line for the end of the output."""

    def keep(text: str) -> None:
        _figures.append(f"{request.node.name}: {text}")
        print(text)

    return keep


@pytest.fixture(scope="session")
def site(models_dir) -> Iterator[Site]:
    if find_binaries() is None or shutil.which("redis-server") is None:
        pytest.skip("PostgreSQL's and Redis's server programs are not installed here; .ci/run installs them")
    # Not in pytest's folder: PostgreSQL runs as another user, and a second pytest closes that folder to everybody else.
    folder = Path(tempfile.mkdtemp(prefix="longboard-faults-"))
    site = Site(folder, models_dir)
    try:
        site.start()
        yield site
    finally:
        site.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def _idle_afterwards(site: Site) -> Iterator[None]:
    """Every test leaves no node running and no Run open, so that the next one has the queue to itself."""
    yield
    for node in site.nodes:
        node.kill()
    open_runs = [str(row[0]) for row in site.rows(
        "SELECT id FROM submissions_run WHERE state IN ('queued', 'leased', 'running', 'uploaded')"
    )]  # fmt: skip
    for start in range(0, len(open_runs), 500):
        site.api("POST", "/runs/cancel", {"runs": open_runs[start : start + 500]})
