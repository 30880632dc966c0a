"""No secret in any URL, log, queue or dump: known ones are planted in every flow, and everything is searched for them."""

from __future__ import annotations

import base64
import os
import subprocess

import requests
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.faults.site import DB_PASSWORD, ROOT

PASSWORD = "canary-password-93ab"
EVERY = ("lb_", "lbn_", "lbe_")  # our tokens' prefixes: none may show, known or not


def sign_up(site) -> set[str]:
    """A person with a password, a session and an API token, made through the pages. The secrets that they hold."""
    browser = requests.Session()

    def post(path: str, **fields: str) -> requests.Response:
        browser.get(site.url + path, timeout=20)
        fields["csrfmiddlewaretoken"] = browser.cookies["csrftoken"]
        return browser.post(site.url + path, data=fields, timeout=20)

    assert post("/accounts/sign-up/", username="canary", password1=PASSWORD, password2=PASSWORD).ok
    page = post("/accounts/tokens/", name="mine", scope="submit", days="3").text
    token = next(word for word in page.replace("<", " ").replace(">", " ").split() if word.startswith("lb_"))
    return {PASSWORD, token, browser.cookies["sessionid"]}


def everything(site) -> dict[str, bytes]:
    """All that an operator might keep or hand on: logs, a dump, the broker's file, each node's folder."""
    dump = subprocess.run(
        [str(site.binaries / "pg_dump"), "-h", "127.0.0.1", "-p", str(site.pg_port), "-U", "postgres", "postgres"],
        env={**os.environ, "PGPASSWORD": DB_PASSWORD}, capture_output=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    found = {"pg_dump": dump}
    for folder in ("logs", "redis", "nodes"):
        for path in (site.folder / folder).rglob("*"):
            if path.is_file() and path.name != "node.key":
                found[str(path.relative_to(site.folder))] = path.read_bytes()
    return found


def test_no_planted_secret_shows_in_a_url_a_log_a_queue_or_a_dump(site, figure):
    secrets = site.secrets | sign_up(site)
    node = site.node()
    site.submit(), site.submit(pool="hinted")
    client = node.client()
    ticket = node.take(client)
    client.hand_in(attempt_id=ticket.attempt_id, fence=ticket.fence, signed=node.bundle(ticket))
    secrets.add(client._token)
    # Refused ones are logged most readily.
    for path in ("/runs/claim", "/nodes/rotate"):
        for wrong in (client._token + "x", site.user_token + "x"):
            requests.post(f"{site.url}/api/v1{path}", json={}, headers={"Authorization": f"Bearer {wrong}"}, timeout=20)
    requests.post(f"{site.url}/accounts/sign-in/", data={"username": "canary", "password": PASSWORD + "x"}, timeout=20)
    # A real process on a broker, too; it starts, takes the hinted run and is stopped again.
    worker = site.node("hinted")
    worker.start("--once")
    raw = node.key().private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    needles = {secret.encode() for secret in secrets} | {raw, raw.hex().encode(), base64.b64encode(raw)}
    places = everything(site)
    hits = [
        f"{name}: {needle[:12]!r}..." for name, content in places.items() for needle in needles if needle in content
    ]
    # pg_dump names columns and constraints; a token's prefix is followed by at least twenty characters of one.
    for name, content in places.items():
        for prefix in EVERY:
            for tail in content.split(prefix.encode())[1:]:
                word = tail[:20]
                if word and all(chr(c).isalnum() or chr(c) in "-_" for c in word) and len(word) == 20:
                    hits.append(f"{name}: a token {prefix}...")
    assert not hits, hits
    assert any(b"/api/v1/runs/claim" in content for name, content in places.items() if name.startswith("logs/web"))
    size = sum(len(content) for content in places.values())
    figure(f"{len(needles)} secrets looked for in {len(places)} files and dumps, {size / 1e6:.1f} MB: 0 found")


def test_the_site_starts_without_a_secret_on_a_command_line(site):
    for pid in [process.pid for process in site.processes.values()]:
        words = open(f"/proc/{pid}/cmdline", "rb").read()  # noqa: SIM115
        assert not any(secret.encode() in words for secret in site.secrets), words
    assert ROOT.exists()
