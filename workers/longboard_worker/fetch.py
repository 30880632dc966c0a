"""`python -m longboard_worker.fetch ID REVISION`: puts a hub model into the local cache, before the network is cut.

A process of its own: the client leaves threads behind, and the evaluator needs to have one alone when it leaves the network.
"""

from __future__ import annotations

import sys

from longboard_worker.isolation import die_with_parent

PATTERNS = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]  # no pickles, no Python


def main(repository: str, revision: str) -> int:
    die_with_parent()
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(repository, revision=revision, allow_patterns=PATTERNS)
    except Exception as error:  # the client raises a dozen kinds; the loader says it again to the person who asked
        print(f"fetch: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
