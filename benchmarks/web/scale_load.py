"""Clients that ask a gunicorn of two workers for pages, for `scale.py`: its full speed, then latencies at half of it."""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def spread(times: list[float]) -> dict[str, float]:
    times = sorted(times)
    return {
        "p50_ms": round(statistics.median(times), 2),
        "p95_ms": round(times[min(len(times) - 1, round(0.95 * len(times)))], 2),
        "max_ms": round(times[-1], 2),
        "n": len(times),
    }


class Clients:
    """Threads that ask a server, each at its own pace; latencies in ms."""

    def __init__(self, base: str, paths: list[str], *, threads: int, seconds: float, rate: float = 0.0) -> None:
        self.latencies: list[float] = []
        self.errors = 0
        self._next = iter(paths)
        self._lock = threading.Lock()
        start = time.perf_counter()
        workers = [
            threading.Thread(
                target=self._work,
                args=(base, start + (i / rate if rate else 0), threads / rate if rate else 0, start + seconds),
            )
            for i in range(threads)
        ]
        [w.start() for w in workers]
        [w.join() for w in workers]
        self.rate = len(self.latencies) / (time.perf_counter() - start)

    def _work(self, base: str, begin: float, every: float, end: float) -> None:
        due = begin
        while (now := time.perf_counter()) < end:
            if every:
                time.sleep(max(0.0, due - now))
                due += every
            with self._lock:
                path = next(self._next, None)
            if path is None:
                return
            start = time.perf_counter()
            try:
                ask = urllib.request.Request(base + path, headers={"Accept-Encoding": "gzip"})  # noqa: S310 (our own server)
                with urllib.request.urlopen(ask, timeout=30) as answer:  # noqa: S310 (our own server)
                    answer.read()
            except OSError:
                self.errors += 1
                continue
            self.latencies.append((time.perf_counter() - start) * 1_000)


def under_load(database: str, cold: list[str], seconds: float) -> dict[str, Any]:
    """gunicorn, two workers: the rate at full speed, then latencies at half of it, for cold and for warm pages.

    `cold`: addresses that nobody has asked for yet.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "LONGBOARD_DATABASE_URL": os.environ["LONGBOARD_DATABASE_URL"].rsplit("/", 1)[0] + f"/{database}",
        "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT / 'tasks'}",
        "LONGBOARD_LOG_LEVEL": "ERROR",
    }
    command = [sys.executable, "-m", "gunicorn", "longboard.wsgi", "--bind", f"127.0.0.1:{port}", "--workers", "2",
               "--threads", "2", "--log-level", "error", "--preload"]  # fmt: skip
    server = subprocess.Popen(command, env=environment, cwd=ROOT)
    base, found = f"http://127.0.0.1:{port}", {}
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"{base}/healthz", timeout=5).read()  # noqa: S310 (our own server)
                break
            except OSError:
                time.sleep(0.3)
        Clients(base, ["/boards/niah/?length=4096"] * 40, threads=4, seconds=20)
        for kind, paths in (("cold", cold), ("warm", ["/boards/niah/?length=4096"] * 100_000)):
            full = Clients(base, paths, threads=4, seconds=seconds)
            rest = paths[len(full.latencies) + full.errors + 8 :] if kind == "cold" else paths
            half = Clients(base, rest, threads=4, seconds=seconds * 2, rate=full.rate / 2)
            found[kind] = {
                "full_speed_per_s": round(full.rate, 1),
                "asked_per_s": round(full.rate / 2, 1),
                "answered_per_s": round(half.rate, 1),
                "latency": spread(half.latencies),
                "errors": full.errors + half.errors,
            }
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)
    return found
