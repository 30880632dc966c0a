"""The process that evaluates: `python -m longboard_worker.child WORK_DIR`. It knows a spec and a folder, no site, no key.

It reads ticket.json, keeps progress.json current, and ends with bundle.json or failure.json, each written whole. Its
parent holds the other end of stdin: when that closes, the parent is gone and this process ends.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import traceback
from pathlib import Path

from longboard_worker.isolation import cut_network, die_with_parent, limit_resources


def main(work_dir: Path) -> int:
    die_with_parent()
    ticket = json.loads((work_dir / "ticket.json").read_text())
    model, limits = ticket["run"]["system"]["model"], ticket["run"]["limits"]
    if model["source"] == "hub":
        # What it says stands in the log; the loader then names what is missing.
        subprocess.run(  # noqa: S603 (our own module, no shell)
            [sys.executable, "-m", "longboard_worker.fetch", model["id"], model["revision"]],
            stdin=subprocess.DEVNULL,
            timeout=limits["wall_s"],
            check=False,
        )
    limit_resources(limits["disk_bytes"])
    network = cut_network()
    print(f"evaluator: network {network}", flush=True)
    threading.Thread(target=_die_with_parent, daemon=True).start()  # not before: see isolation
    from longboard_tasks.contract import Progress, RunSpec
    from longboard_tasks.engine.errors import EvaluationError
    from longboard_tasks.evaluate import evaluate
    from longboard_worker.provenance import with_provenance

    def keep(progress: Progress) -> None:
        write_whole(work_dir / "progress.json", progress.model_dump_json())

    try:
        bundle = evaluate(
            RunSpec.model_validate(ticket["run"]),
            work_dir=work_dir,
            models_dir=Path(ticket["models_dir"]) if ticket["models_dir"] else None,
            on_progress=keep,
            attempt_id=ticket["attempt_id"],
            fence=ticket["fence"],
        )
        bundle = with_provenance(
            bundle, network=network, node=ticket.get("node", ""), ticket_id=ticket.get("ticket_id", "")
        )
    except EvaluationError as error:
        return _fail(work_dir, error.failure_class, str(error))
    except MemoryError:
        return _fail(work_dir, "oom", "The evaluation ran out of memory.")
    except OSError as error:
        # EFBIG: the file limit of limit_resources.
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        return _fail(work_dir, "disk_full" if is_full else "node_error", f"{type(error).__name__}: {error}")
    except Exception as error:
        traceback.print_exc()
        return _fail(work_dir, "model_error", f"{type(error).__name__}: {error}")
    write_whole(work_dir / "bundle.json", bundle.model_dump_json())
    return 0


def _fail(work_dir: Path, failure_class: str, message: str) -> int:
    print(f"{failure_class}: {message}", file=sys.stderr)
    write_whole(work_dir / "failure.json", json.dumps({"failure_class": failure_class, "message": message}))
    return 1


def write_whole(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".part")
    partial.write_text(text)
    partial.replace(path)


def _die_with_parent() -> None:
    # os.read, not sys.stdin: a thread inside a buffered reader makes the interpreter's own end fail.
    while os.read(0, 4_096):
        pass
    os._exit(3)


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # everything is on disk by now, and taking torch down takes a third of a second
