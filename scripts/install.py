"""Makes the virtual environment and installs into it, never the multi-GB CUDA build of torch by accident.

Standard library only: it runs with the system's Python before anything is installed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEAST = (3, 11)
HOW_TO_CPU = """\
pip would fetch the CUDA build of torch here ({names}, several GB).
For the small CPU build, point pip at PyTorch's own CPU wheels (pytorch.org, "Get Started", CPU, shows their address):
    PIP_EXTRA_INDEX_URL=<that address> make demo
On a machine with an NVIDIA GPU, take the CUDA build on purpose:
    LONGBOARD_CUDA=1 make demo"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, required=True)
    parser.add_argument("--extras", required=True)
    parser.add_argument("--stamp", type=Path, required=True)
    args = parser.parse_args()
    if sys.version_info < LEAST:
        print(
            f"Longboard needs Python {LEAST[0]}.{LEAST[1]} or newer; this is {sys.version.split()[0]}.", file=sys.stderr
        )
        return 1
    python = args.venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        print(f"Making {args.venv}.", flush=True)
        venv.create(args.venv, with_pip=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    constraints = ["-c", str(ROOT / "constraints" / "cpu.txt")]
    if os.environ.get("LONGBOARD_CUDA") != "1" and (names := _cuda_packages(pip, constraints)):
        print(HOW_TO_CPU.format(names=", ".join(names[:4])), file=sys.stderr)
        return 1
    print(f"Installing Longboard with [{args.extras}]; the first time takes minutes.", flush=True)
    # Compiled now, at install: else the first run of each process pays for it.
    command = [*pip, "install", "--quiet", "--compile", *constraints, "-e", f"{ROOT}[{args.extras}]"]
    if subprocess.run(command, check=False).returncode != 0:  # noqa: S603 (our own arguments)
        return 1
    args.stamp.touch()
    return 0


def _cuda_packages(pip: list[str], constraints: list[str]) -> list[str]:
    """Names of CUDA packages that installing torch would bring; none when torch is there already."""
    asked = [*pip, "install", "--quiet", "--dry-run", "--report", "-", *constraints, "torch"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=600)  # noqa: S603
    if done.returncode != 0:
        return []  # the real install will say what is wrong
    report = json.loads(done.stdout)
    return [item["metadata"]["name"] for item in report["install"] if item["metadata"]["name"].startswith("nvidia-")]


if __name__ == "__main__":
    sys.exit(main())
