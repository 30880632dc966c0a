"""The house keeps its shape: source roots without __init__.py, a platform without torch, one version of each fact."""

import platform
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("platform", "workers", "tasks", "kernels")


@pytest.mark.parametrize("root", [*SOURCES, "templates"])
def test_a_source_root_is_no_package(root):
    assert not (ROOT / root / "__init__.py").exists()


def test_the_standard_librarys_platform_is_not_hidden():
    assert platform.python_version()
    asked = [sys.executable, "-c", "import platform; print(platform.system())"]
    assert subprocess.check_output(asked, cwd=ROOT, text=True).strip()


def test_the_platform_starts_without_torch_or_the_worker():
    code = (
        "import sys; [sys.path.insert(0, r) for r in ('platform', 'workers', 'tasks', 'kernels')]\n"
        "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'longboard.settings'\n"
        "import django; django.setup(); import longboard.urls, longboard.celery_app, longboard.submissions.jobs\n"
        "print([m for m in ('torch', 'transformers', 'triton', 'longboard_worker') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_every_setting_stands_in_the_readmes_table():
    code = "".join(path.read_text() for root in SOURCES for path in (ROOT / root).rglob("*.py"))
    used = set(re.findall(r"\bLONGBOARD_[A-Z_]+\b", code)) - {"LONGBOARD_ENROL_CODE", "LONGBOARD_"}
    told = set(re.findall(r"\bLONGBOARD_[A-Z_]+\b", (ROOT / "README.md").read_text()))
    assert used <= told, f"README lacks {sorted(used - told)}"


def test_constraints_pin_what_pyproject_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["worker"]]
    names = {re.split(r"[\[<>=;! ]", line)[0].lower().replace("-", "_") for line in asked}
    pinned = {
        line.split("==")[0].lower().replace("-", "_")
        for line in (ROOT / "constraints/cpu.txt").read_text().splitlines()
        if "==" in line
    }
    assert names <= pinned, f"constraints lack {sorted(names - pinned)}"


def test_the_readmes_two_commands_are_targets_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    for target in ("demo", "test", "check", "up"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_no_two_routes_share_a_name():
    """`reverse` would silently take the last one, and links of one page would lead to another."""
    from collections import Counter

    from django.urls import URLPattern, get_resolver

    def names(resolver, prefix=""):
        for pattern in resolver.url_patterns:
            if isinstance(pattern, URLPattern):
                yield f"{prefix}{pattern.name}", str(pattern.pattern)
            else:
                yield from names(pattern, f"{prefix}{pattern.namespace}:" if pattern.namespace else prefix)

    named = [(name, path) for name, path in names(get_resolver()) if not name.endswith("None")]
    twice = {name for name, count in Counter(name for name, _ in named).items() if count > 1 and ":" not in name}
    assert not twice, [pair for pair in named if pair[0] in twice]
