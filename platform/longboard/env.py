"""Typed readers of environment variables: a wrong value stops the start with a sentence that says what to write."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured


def text(name: str, default: str = "") -> str:
    """The variable, or the content of the file that NAME_FILE points to: secrets stay out of the process list."""
    if path := os.environ.get(f"{name}_FILE"):
        try:
            return Path(path).read_text().strip()
        except OSError as error:
            raise ImproperlyConfigured(f"{name}_FILE={path}: {error.strerror}. Give a readable file.") from error
    return os.environ.get(name, default)


def flag(name: str, default: bool) -> bool:
    value = text(name, "1" if default else "0")
    if value not in ("0", "1"):
        raise ImproperlyConfigured(f"{name}={value}: use 1 or 0")
    return value == "1"


def seconds(name: str, default: float, *, least: float) -> float:
    value = text(name, str(default))
    try:
        number = float(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}={value}: give a number of seconds") from error
    if not least <= number < 1e9:
        raise ImproperlyConfigured(f"{name}={value}: at least {least:g} s")
    return number


def count(name: str, default: int) -> int:
    value = text(name, str(default))
    if not (value.isascii() and value.isdecimal() and 0 < int(value) < 10**9):
        raise ImproperlyConfigured(f"{name}={value}: give a whole number above 0")
    return int(value)


def words(name: str, default: str = "") -> list[str]:
    return [word for word in text(name, default).replace(",", " ").split() if word]


def database(name: str, default_sqlite: Path) -> dict[str, object]:
    """`postgresql://user:password@host:port/name?option=value`, or `sqlite:///path`; unset: SQLite in the data dir."""
    url = text(name)
    if not url or url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///")) if url else default_sqlite
        path.parent.mkdir(parents=True, exist_ok=True)
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": path,
            # IMMEDIATE and WAL: with Django's defaults six writers get "database is locked", so none.
            "OPTIONS": {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=20000;",
            },
            # A file, also for tests: in memory, threads share one connection and lock each other out.
            "TEST": {"NAME": str(path.with_name("test-" + path.name))},
        }
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres") or not parts.path.strip("/"):
        raise ImproperlyConfigured(f"{name}: give postgresql://user:password@host:5432/name or sqlite:///path")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.strip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "CONN_HEALTH_CHECKS": True,
        "CONN_MAX_AGE": 60,
        "OPTIONS": {"connect_timeout": 10, **dict(parse_qsl(parts.query))},
    }
