"""Nothing touches the network: a whole run under a hook that forbids connects and name look-ups outside loopback."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_loading import models  # noqa: F401  (a fixture)

ROOT = Path(__file__).parents[2]
GUARDED = """
import sys

def guard(event, args):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        if args[0] not in ("localhost", "127.0.0.1", "::1", None):
            print("LOOKED UP", args[0], flush=True)
            raise RuntimeError(f"name look-up of {args[0]}")
    if event == "socket.connect" and isinstance(args[1], tuple) and not str(args[1][0]).startswith(("127.", "::1")):
        print("CONNECTED", args[1], flush=True)
        raise RuntimeError(f"connect to {args[1]}")

sys.addaudithook(guard)
"""
RUN = """
import os
from pathlib import Path
import torch
torch.set_num_threads(1)
from longboard_tasks.contract import ModelRef, RunSpec, SystemSpec
from longboard_tasks.evaluate import evaluate, open_system

for suite, task in (("niah", "single"), ("efficiency", "generate")):
    spec = RunSpec(
        run_id="r", system=SystemSpec(model=ModelRef(source="upload", id="llama")), suite=suite, suite_version=1,
        tasks=(task,), context_length=300, samples=2, seed=0,
    )
    models = Path(MODELS)
    bundle = evaluate(spec, work_dir=Path(WORK, suite), models_dir=models)
    print(suite, len(bundle.measurements))
"""


def run_guarded(code: str, cwd: Path, **names: str) -> subprocess.CompletedProcess:
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT / "tasks"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
        "HF_EVALUATE_OFFLINE": "1",
    }  # fmt: skip
    constants = "".join(f"{name} = {value!r}\n" for name, value in names.items())
    command = [sys.executable, "-c", GUARDED + constants + code]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=300)


def test_the_guard_itself_stops_a_look_up(tmp_path):
    done = run_guarded("import socket\nsocket.getaddrinfo('example.org', 443)", tmp_path)
    assert done.returncode != 0
    assert "LOOKED UP example.org" in done.stdout


@pytest.mark.parametrize("kind", ["absolute", "relative"])
def test_a_whole_run_makes_no_connect_and_no_look_up(models, tmp_path, kind):  # noqa: F811
    # A relative folder that looks like "org/name" is what lm-eval's own model looks up on the hub.
    shutil.copytree(models / "llama", tmp_path / "org" / "llama")
    folder = str(tmp_path / "org") if kind == "absolute" else "org"
    done = run_guarded(RUN, tmp_path, MODELS=folder, WORK=str(tmp_path / "work"))
    assert done.returncode == 0, done.stderr[-2_000:]
    assert done.stdout.splitlines()[-1] == "efficiency 6"
    assert "LOOKED UP" not in done.stdout + done.stderr
    assert "CONNECTED" not in done.stdout + done.stderr


def test_a_hub_model_that_is_not_here_fails_at_once_and_without_a_look_up(tmp_path):
    code = """
from longboard_tasks.contract import ModelRef, SystemSpec
from longboard_tasks.engine.loading import load_system
try:
    load_system(SystemSpec(model=ModelRef(source="hub", id="someone/thing", revision="0" * 40)))
except Exception as error:
    print(type(error).__name__, error)
"""
    done = run_guarded(code, tmp_path)
    assert done.stdout.startswith("ModelLoadError")
    assert "offline" in done.stdout
    assert "LOOKED UP" not in done.stdout
