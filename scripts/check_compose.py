"""Are the compose files valid? Needs no engine; also asks docker-compose where there is one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from compose_pydantic import ComposeSpecification

ROOT = Path(__file__).resolve().parents[1]
SERVICES = {
    "docker-compose.yml": {"web", "worker", "beat", "postgres", "redis"},
    "docker/node-compose.yml": {"node"},
}


def main() -> int:
    return max(_check(ROOT / name, services) for name, services in SERVICES.items())


def _check(file: Path, services: set[str]) -> int:
    plain = yaml.safe_load(file.read_text())
    # x- keys are the format's own extension points, which the schema class does not know at the top.
    specification = ComposeSpecification.model_validate({k: v for k, v in plain.items() if not k.startswith("x-")})
    if missing := services - set(specification.services or {}):
        print(f"{file.name} lacks {', '.join(sorted(missing))}.", file=sys.stderr)
        return 1
    if tool := shutil.which("docker-compose"):
        return subprocess.run([tool, "-f", str(file), "config", "-q"], check=False, timeout=60).returncode  # noqa: S603
    return 0


if __name__ == "__main__":
    sys.exit(main())
