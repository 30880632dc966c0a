"""Failure classes in words, and who can do something about each."""

from __future__ import annotations

FAILURE_WORDS = {
    "bad_input": "bad input",
    "oom": "out of memory",
    "timeout": "time limit",
    "model_error": "model error",
    "node_error": "node error",
    "lost": "node lost",
    "cancelled": "cancelled",
    "disk_full": "disk full",
}
WHO_CAN_ACT = {
    "bad_input": "its author. Change the request and submit again.",
    "oom": "its author. Choose a shorter context, a smaller budget, or a pool with more memory.",
    "timeout": "its author. Ask for fewer samples or a shorter context, or choose a faster pool.",
    "model_error": "its author. The model itself failed on this input: see the last log lines.",
    "node_error": "the node's owner. The machine or its software failed; afterwards, run it again.",
    "lost": "the node's owner. The machine stopped answering; afterwards, run it again.",
    "disk_full": "the node's owner. Free some disk space there; afterwards, run it again.",
    "cancelled": "its author. Run it again whenever it suits.",
}
