"""A whole Longboard service in real processes on one machine: its own PostgreSQL and Redis, web, sweep, nodes.

Nothing of it is shared with other tests or with servers that run already, so it may be killed, flushed and restarted. The
clock is shortened: a lease of 8 s where the service has 180, a beat of 1 s (30), a sweep of 1 s (15).
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg
import redis
import requests
from tests.faults.real_node import RealNode

ROOT = Path(__file__).resolve().parents[2]
LEASE_S, BEAT_S, SWEEP_S = 8.0, 1.0, 1.0
SECRET_KEY = "canary-secret-key-6f1d0c2e9b"  # looked for in every log and dump afterwards
DB_PASSWORD = "canary-db-password-51c7"


def find_binaries() -> Path | None:
    """The newest PostgreSQL's programs, where Debian and most others put them."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(true: Callable[[], bool], *, timeout_s: float, what: str, every_s: float = 0.2) -> float:
    """Seconds that it took; fails the test after `timeout_s`."""
    began = time.monotonic()
    while not true():
        took = time.monotonic() - began
        assert took < timeout_s, f"{what} did not happen within {timeout_s} s"
        time.sleep(every_s)
    return time.monotonic() - began


class Site:
    """`start` it, submit to it, break parts of it, `stop` it. Every process is ours and is ended by its own id."""

    def __init__(self, folder: Path, models_dir: Path) -> None:
        self.folder, self.models_dir = folder, models_dir
        self.binaries = find_binaries()
        self.pg_port, self.redis_port, self.web_port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.web_port}"
        self.redis_url = f"redis://127.0.0.1:{self.redis_port}/0"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.nodes: list[RealNode] = []
        self.user_token = ""
        self.secrets = {SECRET_KEY, DB_PASSWORD}

    # --- its life ---

    def start(self) -> None:
        for name in ("logs", "data", "redis", "nodes"):
            (self.folder / name).mkdir()
        self._make_cluster()
        self.start_postgres()
        self.start_redis()
        self._run("migrate", [sys.executable, str(ROOT / "manage.py"), "migrate", "--verbosity", "0"])
        made = self.django(
            "from longboard.registry.services import sync_catalogue; sync_catalogue()\n"
            "from longboard.accounts.models import User\n"
            "from longboard.accounts.services import make_token\n"
            "from longboard.fleet.models import Hardware, Pool\n"
            "from longboard.registry.models import Model\n"
            "staff = User.objects.create_user('staff', is_staff=True)\n"
            "User.objects.create_user('second', is_staff=True)\n"
            "_, token = make_token(user=staff, name='t', scope='submit', days=2, now=now)\n"
            "h = Hardware.objects.create(slug='cpu', title='CPU', kind='cpu', memory_bytes=2**33)\n"
            "for slug, first in (('hinted', True), ('pulling', False)):\n"
            "    Pool.objects.create(slug=slug, title=slug, hardware=h, is_first_party=first)\n"
            "Model.objects.create(slug='tiny', title='Tiny', source='upload', ref='tiny', max_positions=4096)\n"
            "out = token"
        )
        self.user_token = made
        self.secrets.add(made)
        self.start_web()
        self.start_sweep()

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()
        for name in ("sweep", "web", "redis"):
            self.end(name)
        if (self.folder / "pg" / "postmaster.pid").exists():
            self.stop_postgres()

    def environment(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("LONGBOARD_", "DJANGO_", "PYTEST"))}
        path = os.pathsep.join(str(ROOT / root) for root in ("platform", "workers", "tasks", "kernels"))
        return clean | {
            "PYTHONPATH": f"{path}{os.pathsep}{ROOT}",
            "DJANGO_SETTINGS_MODULE": "longboard.settings",
            "LONGBOARD_DATA_DIR": str(self.folder / "data"),
            "LONGBOARD_DATABASE_URL": f"postgresql://postgres:{DB_PASSWORD}@127.0.0.1:{self.pg_port}/postgres",
            "LONGBOARD_BROKER_URL": self.redis_url,
            "LONGBOARD_SITE_URL": self.url,
            "LONGBOARD_SECRET_KEY": SECRET_KEY,
            "LONGBOARD_LEASE_S": str(LEASE_S),
            "LONGBOARD_BEAT_S": str(BEAT_S),
            "LONGBOARD_SWEEP_S": str(SWEEP_S),
            "LONGBOARD_QUOTA_GPU_S": "0",
            "LONGBOARD_API_TOKEN_PER_MINUTE": "100000",
            "LONGBOARD_API_ANONYMOUS_PER_MINUTE": "100000",
            "OMP_NUM_THREADS": "1",
        }

    def _run(self, name: str, command: Sequence[str]) -> None:
        done = subprocess.run(command, env=self.environment(), capture_output=True, timeout=120, check=False, cwd=ROOT)
        assert done.returncode == 0, f"{name}: {done.stderr.decode()[-2000:]}"

    def spawn(self, name: str, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        with (self.folder / "logs" / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env=environment or self.environment(), stdout=log, stderr=log, cwd=ROOT, start_new_session=True
            )

    def end(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        process = self.processes.pop(name, None)
        if process is None or process.poll() is not None:
            return
        process.send_signal(how)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    # --- its parts ---

    def _as_postgres(self, *words: str) -> list[str]:
        """PostgreSQL refuses to run as root."""
        assert self.binaries is not None
        command = [str(self.binaries / words[0]), *words[1:]]
        if os.getuid() != 0:
            return command
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *command]

    def _make_cluster(self) -> None:
        data, password, logs = self.folder / "pg", self.folder / "pg-password", self.folder / "logs" / "postgres"
        data.mkdir(mode=0o700)
        logs.mkdir()
        password.write_text(DB_PASSWORD)
        password.chmod(0o644)
        if os.getuid() == 0:
            owner = pwd.getpwnam("postgres")
            for folder in (data, logs):
                os.chown(folder, owner.pw_uid, owner.pw_gid)
            self.folder.chmod(0o755)
        self._run(
            "initdb",
            self._as_postgres(
                "initdb", "-D", str(data), "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={password}",
                "--no-sync", "-E", "UTF8",
            ),
        )  # fmt: skip

    def start_postgres(self) -> None:
        # fsync off: the tests crash the server, not the kernel, so what was committed is there all the same.
        options = f"-p {self.pg_port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=120"
        options += " -c fsync=off -c full_page_writes=off"
        data, log = str(self.folder / "pg"), str(self.folder / "logs" / "postgres" / "server.log")
        self._run("pg_ctl", self._as_postgres("pg_ctl", "-D", data, "-w", "-s", "-o", options, "-l", log, "start"))

    def stop_postgres(self, mode: str = "fast") -> None:
        self._run("pg_ctl", self._as_postgres("pg_ctl", "-D", str(self.folder / "pg"), "-w", "-s", "-m", mode, "stop"))

    def start_redis(self) -> None:
        command = ["redis-server", "--port", str(self.redis_port), "--bind", "127.0.0.1", "--save", ""]
        self.spawn("redis", [*command, "--dir", str(self.folder / "redis"), "--appendonly", "yes"])
        wait_until(self._redis_answers, timeout_s=15, what="Redis")

    def _redis_answers(self) -> bool:
        with contextlib.suppress(redis.RedisError):
            return bool(self.redis().ping())
        return False

    def redis(self) -> Any:
        return redis.Redis.from_url(self.redis_url, socket_timeout=5)

    def start_web(self) -> None:
        self.spawn(
            "web",
            [sys.executable, "-m", "gunicorn", "longboard.wsgi", "--bind", f"127.0.0.1:{self.web_port}"]
            + ["--worker-class", "gthread", "--workers", "2", "--threads", "8", "--access-logfile", "-"],
        )
        wait_until(self._web_answers, timeout_s=60, what="the web server")

    def _web_answers(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.url}/healthz", timeout=5).ok
        return False

    def start_sweep(self) -> None:
        self.spawn(
            "sweep",
            [
                sys.executable,
                "-m",
                "celery",
                "-A",
                "longboard.celery_app",
                "worker",
                "--beat",
                "-P",
                "solo",
                "-Q",
                "platform",
            ]
            + ["-n", "platform@%h", "-l", "INFO", "--without-gossip", "--without-mingle", "--without-heartbeat"],
        )

    # --- asking and telling ---

    def django(self, code: str) -> Any:
        """Runs code in a process of the platform's own, with `now` set; gives its variable `out` back."""
        script = (
            "import django, json; django.setup()\nfrom django.utils import timezone\nnow = timezone.now()\nout = None\n"
            f"{code}\nprint('OUT' + json.dumps(out))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], env=self.environment(), capture_output=True, text=True, timeout=120, cwd=ROOT,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.rpartition("OUT")[2])

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(
            host="127.0.0.1",
            port=self.pg_port,
            user="postgres",
            password=DB_PASSWORD,
            dbname="postgres",
            autocommit=True,
        ) as connection:
            return connection.execute(statement, values).fetchall()  # type: ignore[call-overload]

    def value(self, statement: str, *values: Any) -> Any:
        return self.rows(statement, *values)[0][0]

    def api(self, verb: str, path: str, body: Any = None) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.user_token}"}
        return requests.request(verb, f"{self.url}/api/v1{path}", json=body, headers=headers, timeout=30)

    def submit(
        self, *, lengths: Sequence[int] = (256,), pool: str = "pulling", samples: int = 5, seed: int = 0
    ) -> list[str]:
        body = {
            "model": "tiny", "suites": ["niah"], "tasks": ["niah/single"], "context_lengths": list(lengths), "pools": [pool],
            "samples": samples, "seed": seed,
        }  # fmt: skip
        answer = self.api("POST", "/submissions", body)
        assert answer.status_code == 201, answer.text
        return [run["id"] for run in answer.json()["runs"]]

    def run_state(self, run: str) -> str:
        return str(self.value("SELECT state FROM submissions_run WHERE id = %s", run))

    def states(self) -> dict[str, int]:
        return dict(self.rows("SELECT state, count(*) FROM submissions_run GROUP BY state"))

    def enrolment_code(self, pool: str, owner: str = "staff") -> str:
        code = self.django(
            "from longboard.fleet.models import Pool\nfrom longboard.fleet.services import make_enrolment_code\n"
            "from longboard.accounts.models import User\n"
            f"out = make_enrolment_code(pool=Pool.objects.get(slug={pool!r}), "
            f"actor=User.objects.get(username={owner!r}), now=now)"
        )
        self.secrets.add(code)
        return str(code)

    def node(self, pool: str = "pulling", owner: str = "staff") -> RealNode:
        node = RealNode(
            self.folder / "nodes" / f"node{len(self.nodes)}", site_url=self.url, redis_url=self.redis_url,
            models_dir=self.models_dir, secrets=self.secrets,
        )  # fmt: skip
        node.enrol(self.enrolment_code(pool, owner), f"node{len(self.nodes)}")
        self.nodes.append(node)
        return node
