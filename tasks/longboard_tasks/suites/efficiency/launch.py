"""The child process of `measure`: imports its libraries, waits for one Request on standard input, measures it, leaves.

Started before its turn, so that no device waits for imports. Touches the device only once it was asked.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path


def main() -> int:
    import torch  # noqa: F401  # before the wait: this is what takes long
    import transformers  # noqa: F401

    from longboard_tasks.suites.efficiency.request import Request
    from longboard_tasks.suites.efficiency.system import measure_system

    line = sys.stdin.readline()
    if not line.strip():
        return 0
    out, _, body = line.partition("\t")
    models = os.environ.get("LONGBOARD_MODELS_DIR", "")
    try:
        request = Request.model_validate_json(body)
        measure_system(request, Path(out), models_dir=Path(models) if models else None)
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # torch's teardown on a GPU takes seconds and has nothing left to save
