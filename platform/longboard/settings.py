"""Every setting, from environment variables alone (README has the table). The defaults run on a bare laptop."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from longboard import env

REPOSITORY = Path(__file__).resolve().parents[2]
DATA_DIR = Path(env.text("LONGBOARD_DATA_DIR", str(REPOSITORY / "var"))).resolve()
DATA_DIR.mkdir(parents=True, exist_ok=True)


def _embedded_secret() -> str:
    """A secret made once and kept in the data folder, for a site that nobody configured."""
    path = DATA_DIR / "secret_key"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(48))
    return path.read_text()


SECRET_KEY = env.text("LONGBOARD_SECRET_KEY") or _embedded_secret()
# 64 hex digits: the key that signs tickets and receipts. Empty: made from SECRET_KEY, so one secret is enough to keep.
SIGNING_KEY = env.text("LONGBOARD_SIGNING_KEY")
DEBUG = env.flag("LONGBOARD_DEBUG", False)
ALLOWED_HOSTS = env.words("LONGBOARD_ALLOWED_HOSTS", "localhost 127.0.0.1 [::1] testserver")
CSRF_TRUSTED_ORIGINS = env.words("LONGBOARD_TRUSTED_ORIGINS")
SITE_URL = env.text("LONGBOARD_SITE_URL", "http://127.0.0.1:8000")
BEHIND_TLS = SITE_URL.startswith("https://")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_htmx",
    "ninja",  # serves its API docs page from our own host
    "longboard.accounts",
    "longboard.registry",
    "longboard.fleet",
    "longboard.submissions",
    "longboard.results",
    "longboard.boards",
    "longboard.reports",
    "longboard.checkpoints",
    "longboard.webhooks",
    "longboard.literature",
    "longboard.api",
    "longboard.embedded",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "longboard.security.ContentSecurityPolicy",
    "longboard.security.BodyLimit",
    "longboard.api.traffic.ApiTraffic",
    "django.middleware.gzip.GZipMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]
ROOT_URLCONF = "longboard.urls"
WSGI_APPLICATION = "longboard.wsgi.application"
# The repository's folder first: an editable install leaves a stale copy beside the package.
_TEMPLATES = next(p for p in (REPOSITORY / "templates", Path(__file__).parent / "templates") if p.is_dir())
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [_TEMPLATES],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": env.database("LONGBOARD_DATABASE_URL", DATA_DIR / "longboard.sqlite3")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "/accounts/sign-in/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATIC_ROOT.mkdir(exist_ok=True)  # WhiteNoise warns about a missing one
STATICFILES_DIRS = [Path(__file__).parent / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "longboard.static_files.StaticFiles"
        if not DEBUG
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
# Without a collectstatic run (tests, a first `runserver`) files are served from where they lie.
WHITENOISE_USE_FINDERS = True
MEDIA_ROOT = DATA_DIR / "media"
DATA_UPLOAD_MAX_MEMORY_SIZE = 40 * 2**20  # a bundle is at most 32 MiB

SESSION_ENGINE = "longboard.accounts.sessions"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = BEHIND_TLS
SESSION_COOKIE_HTTPONLY = True
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 31_536_000 if BEHIND_TLS else 0
SECURE_SSL_REDIRECT = False  # the proxy's task
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_TLS else None
X_FRAME_OPTIONS = "DENY"

# The message is only a hint: a run id. The database is the truth, and the sweep repairs what the broker loses.
CELERY_BROKER_URL = env.text("LONGBOARD_BROKER_URL") or "filesystem://"
BROKER_DIR = DATA_DIR / "broker"


def _caches(broker_url: str) -> dict[str, dict[str, Any]]:
    """Rendered pages stay in each process. Counts of requests go to Redis where the site has one, so that they are one for all
    its processes; a site without is one process, whose memory is enough."""
    local: dict[str, Any] = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    if not broker_url.startswith(("redis://", "rediss://")):
        return {"default": local, "traffic": local | {"LOCATION": "traffic"}}
    shared = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": broker_url,
        "KEY_PREFIX": "longboard-traffic",
        # A Redis that is away must not hold requests up: `api.traffic` then counts in the process.
        "OPTIONS": {"socket_connect_timeout": 0.25, "socket_timeout": 0.25},
    }
    return {"default": local, "traffic": shared}


CACHES = _caches(CELERY_BROKER_URL)

LEASE_S = env.seconds("LONGBOARD_LEASE_S", 180, least=0.5)
BEAT_S = env.seconds("LONGBOARD_BEAT_S", 30, least=0.1)
SWEEP_S = env.seconds("LONGBOARD_SWEEP_S", 15, least=0.2)
# A run that was exported to a machine with no way out: nobody beats for it.
OFFLINE_LEASE_S = env.seconds("LONGBOARD_OFFLINE_LEASE_S", 7 * 86_400, least=60)
NODE_TOKEN_S = env.seconds("LONGBOARD_NODE_TOKEN_S", 900, least=1)
# GPU-seconds that everybody may use in 30 days; 0: no limit. A person's own figure goes first.
QUOTA_GPU_S = env.seconds("LONGBOARD_QUOTA_GPU_S", 360_000, least=0)
MAX_ATTEMPTS = 3
RUN_WALL_S = int(env.seconds("LONGBOARD_RUN_WALL_S", 3_600, least=1))
TRAINING_WALL_S = int(env.seconds("LONGBOARD_TRAINING_WALL_S", 86_400, least=1))

# Of one caller: by address without a token, by token with one; tables and full exports count for themselves.
REQUESTS_PER_MINUTE = {
    "anonymous": env.count("LONGBOARD_API_ANONYMOUS_PER_MINUTE", 120),
    "token": env.count("LONGBOARD_API_TOKEN_PER_MINUTE", 600),
    "export": env.count("LONGBOARD_EXPORTS_PER_MINUTE", 30),
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "longboard.logs.FieldFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.text("LONGBOARD_LOG_LEVEL", "INFO")},
    "loggers": {"django.server": {"level": "WARNING"}, "kombu": {"level": "WARNING"}, "amqp": {"level": "WARNING"}},
}
