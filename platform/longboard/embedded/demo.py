"""The demo: the shipped models through the public API and the queue, with progress, and a check of the page at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import requests

POLL_S = 1.0  # six submissions a second are 360 calls a minute; a token has 600
TIMEOUT_S = 20
FINAL = {"accepted", "failed", "cancelled", "rejected"}


class DemoFailed(Exception):
    """Something that the demo promises did not happen; the message says what."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One model's part of the demo; few samples, so that two cores are done in minutes."""

    model: str
    context_lengths: tuple[int, ...]
    suite_samples: tuple[tuple[str, int], ...]
    tasks: tuple[str, ...] = ("niah/single", "efficiency/generate")


class SiteApi:
    """The public REST API as any script would use it."""

    def __init__(self, site: str, token: str) -> None:
        self.site = site
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {token}"

    def submit(self, ask: Ask, pool: str) -> list[dict[str, Any]]:
        return [
            self._call(
                "POST",
                "/submissions",
                json={
                    "model": ask.model,
                    "suites": [suite],
                    "tasks": [task for task in ask.tasks if task.startswith(f"{suite}/")],
                    "context_lengths": list(ask.context_lengths),
                    "pools": [pool],
                    "samples": samples,
                    "note": "demo",
                    "idempotency_key": f"demo-{ask.model}-{suite}-{samples}-{'-'.join(map(str, ask.context_lengths))}",
                },
            )
            for suite, samples in ask.suite_samples
        ]

    def submission(self, submission_id: str) -> dict[str, Any]:
        return self._call("GET", f"/submissions/{submission_id}")

    def run(self, run_id: str) -> dict[str, Any]:
        return self._call("GET", f"/runs/{run_id}")

    def board(self, *, context_length: int, hardware: str, cost_metric: str) -> dict[str, Any]:
        query = {"context_length": context_length, "hardware": hardware, "cost_metric": cost_metric}
        return self._call("GET", "/boards/niah", params=query)

    def page(self, path: str, **query: Any) -> str:
        response = requests.get(self.site + path, params=query, timeout=TIMEOUT_S)
        if response.status_code != 200:
            raise DemoFailed(f"{path} answered {response.status_code}.")
        return response.text

    def _call(self, verb: str, path: str, **kwargs: Any) -> dict[str, Any]:
        response = self.session.request(verb, f"{self.site}/api/v1{path}", timeout=TIMEOUT_S, **kwargs)
        if response.status_code == 429:  # once: a limit a minute is over within it
            time.sleep(min(60.0, float(response.headers.get("Retry-After", "60"))))
            response = self.session.request(verb, f"{self.site}/api/v1{path}", timeout=TIMEOUT_S, **kwargs)
        if response.status_code >= 300:
            raise DemoFailed(f"{verb} {path} answered {response.status_code}: {response.text[:300]}")
        return response.json()


def watch(api: SiteApi, submission_ids: Sequence[str], *, alive: Callable[[], None], limit_s: float) -> None:
    """Shows progress until every Run is final. Raises DemoFailed when one did not make it."""
    deadline = time.monotonic() + limit_s
    shown = ""
    found: dict[str, list[dict[str, Any]]] = {}
    while True:
        alive()
        for submission_id in submission_ids:
            if submission_id not in found or any(run["state"] not in FINAL for run in found[submission_id]):
                found[submission_id] = api.submission(submission_id)["runs"]
        runs = [run for mine in found.values() for run in mine]
        ended = [run for run in runs if run["state"] in FINAL]
        line = _line(runs, len(ended))
        if line != shown:
            _show(line)
            shown = line
        if len(ended) == len(runs):
            break
        if time.monotonic() > deadline:
            raise DemoFailed(f"Only {len(ended)} of {len(runs)} runs ended within {limit_s:g} s.")
        time.sleep(POLL_S)
    if sys.stdout.isatty():
        print()
    for run in runs:
        if run["state"] != "accepted":
            detail = api.run(run["id"])
            raise DemoFailed(
                f"{run['suite']} at {run['context_length']} of {run['system']} is {run['state']}: "
                f"{detail['failure_class']}: {detail['failure_message']}\n{detail['log_tail'][-2_000:]}"
            )


def _line(runs: Sequence[dict[str, Any]], ended: int) -> str:
    now = next((run for run in runs if run["state"] in ("leased", "running", "uploaded")), None)
    if now is None:
        return f"{ended}/{len(runs)} runs done"
    progress = now["progress"]
    count = f" {progress['done']}/{progress['total']}" if progress["total"] else ""
    return f"{ended}/{len(runs)} runs done; {now['system']}: {now['suite']} at {now['context_length']}{count}"


def _show(line: str) -> None:
    if sys.stdout.isatty():
        print(f"\r\x1b[K{line[:150]}", end="", flush=True)
    else:
        print(line, flush=True)


def check_board(api: SiteApi, *, asks: Sequence[Ask], hardware: str) -> list[str]:
    """Compares API and page: each model has both numbers, each front is not empty, and the page says what the API says."""
    lines = []
    for length in sorted({length for ask in asks for length in ask.context_lengths}):
        models = [ask.model for ask in asks if length in ask.context_lengths]
        board = api.board(context_length=length, hardware=hardware, cost_metric="ttft_ms")
        rows = {row["model"]: row for row in board["rows"]}
        if missing := [model for model in models if model not in rows]:
            raise DemoFailed(f"The board at {length} tokens lacks {', '.join(missing)}.")
        if not any(row["on_front"] for row in board["rows"]):
            raise DemoFailed(f"The board at {length} tokens has an empty front.")
        page = api.page("/boards/niah/", length=length, hardware=hardware, cost="ttft_ms")
        if "<svg" not in page or "<table" not in page:
            raise DemoFailed(f"The board page at {length} tokens lacks its figure or its table.")
        for row in rows.values():
            if row["label"] not in page:
                raise DemoFailed(f"The board page at {length} tokens does not name {row['label']}.")
            star = "*" if row["on_front"] else " "
            lines.append(
                f"{star} {length:>6}  {row['label']:<44} accuracy {row['gain']:.2f} "
                f"[{row['gain_low']:.2f}, {row['gain_high']:.2f}] n={row['gain_n']:<3}  TTFT {row['cost']:>9,.0f} ms"
            )
    return lines
