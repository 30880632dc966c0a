#!/usr/bin/env python
import os
import sys
from pathlib import Path

# The four source roots have no __init__.py (a package named `platform` would hide the standard library's), so that an
# uninstalled checkout finds the packages inside them only through the path.
for root in ("platform", "workers", "tasks", "kernels"):
    sys.path.insert(0, str(Path(__file__).resolve().parent / root))

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "longboard.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
