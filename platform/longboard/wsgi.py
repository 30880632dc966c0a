import gc
import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "longboard.settings")
application = get_wsgi_application()
get_resolver().url_patterns  # noqa: B018  (imports every view now, not with the first request)
# What is loaded stays: a full collection in the middle of a page need not walk it again.
gc.collect()
gc.freeze()
