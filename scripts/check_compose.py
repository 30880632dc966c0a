"""Is docker-compose.yml a valid compose file? Needs no engine; also asks docker-compose where there is one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from compose_pydantic import ComposeSpecification

FILE = Path(__file__).resolve().parents[1] / "docker-compose.yml"
SERVICES = {"web", "worker", "beat", "postgres", "redis"}


def main() -> int:
    plain = yaml.safe_load(FILE.read_text())
    # x- keys are the format's own extension points, which the schema class does not know at the top.
    specification = ComposeSpecification.model_validate({k: v for k, v in plain.items() if not k.startswith("x-")})
    if missing := SERVICES - set(specification.services or {}):
        print(f"{FILE.name} lacks {', '.join(sorted(missing))}.", file=sys.stderr)
        return 1
    if tool := shutil.which("docker-compose"):
        return subprocess.run([tool, "-f", str(FILE), "config", "-q"], check=False, timeout=60).returncode  # noqa: S603
    return 0


if __name__ == "__main__":
    sys.exit(main())
