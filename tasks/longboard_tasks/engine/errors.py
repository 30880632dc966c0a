"""What can go wrong in an evaluation, said to the person who will read it. No torch here.

Every error has a stable `code` and a `failure_class` from the contract: a node puts both into the Attempt that it closes.
"""

from __future__ import annotations

from longboard_tasks.contract import FailureClass


class EvaluationError(Exception):
    """Base of everything that the engine and the suites raise on purpose."""

    code = "evaluation_failed"
    failure_class: FailureClass = "model_error"


class SuiteError(EvaluationError):
    """The suite cannot make what was asked for: a length too short or too long, a task that does not exist."""

    code = "suite_refused"
    failure_class: FailureClass = "bad_input"


class PositionLimitError(EvaluationError):
    """The context is longer than the positions that the model has."""

    code = "beyond_positions"
    failure_class: FailureClass = "bad_input"


class TruncationRefused(EvaluationError):
    """A prompt does not fit the model and the policy is to refuse."""

    code = "prompt_too_long"
    failure_class: FailureClass = "bad_input"


class MethodError(EvaluationError):
    """A Method that does not exist, or that does not fit the model."""

    code = "method_refused"
    failure_class: FailureClass = "bad_input"


class ModelLoadError(EvaluationError):
    """The weights or the tokenizer cannot be loaded."""

    code = "model_not_loaded"


class UnsafeWeights(ModelLoadError):
    """Weights that could run code when loaded: pickles, or a repository that brings its own Python."""

    code = "unsafe_weights"
    failure_class: FailureClass = "bad_input"


class NonFiniteLogits(EvaluationError):
    """The model answered with NaN or infinity."""

    code = "non_finite_logits"


class OutOfMemory(EvaluationError):
    """No batch and no chunk is small enough for this machine."""

    code = "out_of_memory"
    failure_class: FailureClass = "oom"


class DiskFull(EvaluationError):
    """The journal could not be written; what was finished before is safe."""

    code = "disk_full"
    failure_class: FailureClass = "disk_full"


class JournalMismatch(EvaluationError):
    """The journal in the working directory belongs to another run or another engine setting."""

    code = "journal_mismatch"
    failure_class: FailureClass = "bad_input"
