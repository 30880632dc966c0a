"""Plotly's basic bundle (scatter, bar, pie), as its makers built it: 395 KB packed, where the whole library is 1.5 MB.

From the npm package plotly.js-basic-dist-min, MIT (LICENSE beside it), unchanged but for the packing. The version is in the
address, so that browsers may keep it for a year.
"""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from pathlib import Path

VERSION = "4.1.1"
SHA256 = "99784e3abfb07b142a15e521a439e6d9addceadb3f79553fd24c72774f0649ba"  # of the unpacked file


class BundleChanged(Exception):
    """The file is not the one that this release names."""


@cache
def packed() -> bytes:
    """The script, compressed with gzip. Raises BundleChanged when it is not what SHA256 says."""
    content = Path(__file__).with_name("plotly-basic.min.js.gz").read_bytes()
    if (found := hashlib.sha256(gzip.decompress(content)).hexdigest()) != SHA256:
        raise BundleChanged(
            f"plotly-basic.min.js has the SHA-256 {found}, not {SHA256}: get the package of {VERSION} again."
        )
    return content


def plain() -> bytes:
    return gzip.decompress(packed())
