"""A live site, a tiny real model on disk, and nodes as real processes that reach the site over HTTP alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.utils import timezone
from tests.factories import make_model, make_pool, make_suite, make_user

from longboard.fleet.models import Pool
from longboard.fleet.services import make_enrolment_code
from longboard.submissions.models import Run
from longboard_worker.evaluator import TERM_GRACE_S

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory):
    """A folder with one tiny Llama with random weights and a byte tokenizer, saved as anyone would upload it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from longboard_tasks.engine.byte_tokenizer import build_byte_tokenizer

    folder = tmp_path_factory.mktemp("models")
    tokenizer = build_byte_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=4_096,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder / "tiny")
    tokenizer.save_pretrained(folder / "tiny")
    return folder


class NodeProcess:
    """A worker node in a folder of its own, driven by its command line."""

    def __init__(self, home: Path, site: str, models_dir: Path) -> None:
        self.home, self.site, self.models_dir = home, site, models_dir
        self.processes: list[subprocess.Popen[bytes]] = []

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "longboard_worker.cli", "--home", str(self.home), *words]

    def environment(self, **extra: str) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("LONGBOARD_", "DJANGO_"))}
        path = os.pathsep.join(str(ROOT / root) for root in ("workers", "tasks", "kernels"))
        return (
            clean | {"PYTHONPATH": path, "LONGBOARD_MODELS_DIR": str(self.models_dir), "OMP_NUM_THREADS": "1"} | extra
        )

    def enrol(self, pool: Pool, name: str = "box") -> None:
        owner = make_user(is_staff=True)
        code = make_enrolment_code(pool=pool, actor=owner, now=timezone.now())
        done = subprocess.run(
            self.command("enrol", "--site", self.site, "--name", name),
            env=self.environment(LONGBOARD_ENROL_CODE=code),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()

    def once(self, timeout: float = 90) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.command("start", "--once"), env=self.environment(), capture_output=True, timeout=timeout, check=False
        )

    def start(self, **extra: str) -> subprocess.Popen[bytes]:
        log = (self.home / "node.log").open("ab")
        process = subprocess.Popen(
            self.command("start"), env=self.environment(**extra), stdout=log, stderr=log, start_new_session=True
        )
        self.processes.append(process)
        return process

    def log(self) -> str:
        return (self.home / "node.log").read_text()

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(TERM_GRACE_S * 3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def make_node_process(tmp_path, live_server, models_dir):
    nodes: list[NodeProcess] = []

    def make(site: str = "") -> NodeProcess:
        home = tmp_path / f"node{len(nodes)}"
        home.mkdir()
        node = NodeProcess(home, site or live_server.url, models_dir)
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.stop()


@pytest.fixture
def pool(transactional_db):
    make_suite()
    make_model("tiny", source="upload", ref="tiny", max_positions=4_096, parameters=None)
    return make_pool()


def wait_until(true: Callable[[], bool], *, timeout_s: float = 60, what: str = "it") -> float:
    """Seconds that it took; fails the test after `timeout_s`."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < timeout_s, f"{what} did not happen within {timeout_s} s"
        time.sleep(0.05)
    return time.monotonic() - began


def state_of(run: Run) -> str:
    return Run.objects.values_list("state", flat=True).get(pk=run.pk)


def with_port(url: str, port: int) -> str:
    return urlunsplit(urlsplit(url)._replace(netloc=f"127.0.0.1:{port}"))
