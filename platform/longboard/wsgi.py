import gc
import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "longboard.settings")
application = get_wsgi_application()
get_resolver().url_patterns  # noqa: B018  (imports every view now, not with the first request)
# What is loaded stays: 170,000 objects, which every full collection walked again, 90 ms about every 80 board pages.
gc.collect()
gc.freeze()
