"""A node's side of a result, for tests: its key, and bundles whose numbers follow from answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import fmean

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from longboard_tasks.catalogue.metrics import METRICS
from longboard_tasks.catalogue.suites import SUITES
from longboard_tasks.contract import (
    HardwareReport,
    Manifest,
    Measurement,
    ResultBundle,
    RunSpec,
    SampleRecord,
    SignedBundle,
    canonical_json,
    sha256,
)
from longboard_tasks.intervals import wilson
from longboard_tasks.suites.niah.plan import plan_single

REPORT = HardwareReport(device="CPU", kind="cpu", memory_bytes=8 * 2**30, cores=2)


def make_key() -> tuple[Ed25519PrivateKey, str]:
    key = Ed25519PrivateKey.generate()
    return key, key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def sign_payload(payload: bytes, key: Ed25519PrivateKey) -> SignedBundle:
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    return SignedBundle(payload=payload.decode(), public_key=public, signature=key.sign(payload).hex())


def sign_bundle(bundle: ResultBundle, key: Ed25519PrivateKey) -> SignedBundle:
    return sign_payload(canonical_json(bundle), key)


def always_right(target: str) -> str:
    return f" {target}. And so on."


def make_bundle(
    run: RunSpec, *, attempt_id: str, fence: int, answer: Callable[[str], str] = always_right, ttft_ms: float = 100.0
) -> ResultBundle:
    """A bundle as an honest node makes it, for either kind of suite."""
    measurements, samples = (
        _accuracy(run, answer) if SUITES[run.suite].kind == "accuracy" else (_efficiency(run, ttft_ms), [])
    )
    return ResultBundle(
        run=run,
        attempt_id=attempt_id,
        fence=fence,
        measurements=tuple(measurements),
        samples=tuple(samples),
        manifest=Manifest(
            architecture="LlamaForCausalLM",
            parameters=3_500_000,
            hardware=REPORT,
            started_at=datetime(2026, 11, 24, 12, tzinfo=UTC),
            wall_s=1.5 + run.samples * ttft_ms / 1_000,
        ),
    )


def _accuracy(run: RunSpec, answer: Callable[[str], str]) -> tuple[list[Measurement], list[SampleRecord]]:
    samples, groups = [], defaultdict(list)
    for index in range(run.samples):
        plan = plan_single(context_length=run.context_length, seed=run.seed, index=index)
        text = answer(plan.target)
        score = float(plan.target in text)
        samples.append(
            SampleRecord(
                task="single",
                index=index,
                prompt_tokens=run.context_length,
                prompt_sha256=sha256(f"{run.seed}/{index}".encode()),
                depth=plan.depth,
                target=plan.target,
                answer=text,
                score=score,
            )
        )
        groups["accuracy", None].append(score)
        groups["accuracy_by_depth", plan.depth].append(score)
    measurements = []
    for (metric, depth), scores in groups.items():
        share = fmean(scores)
        low, high = wilson(share, len(scores))
        measurements.append(
            Measurement(
                task="single", metric=metric, depth=depth, context_length=run.context_length,
                value=share, ci_low=low, ci_high=high, n=len(scores), unit="share",
            )
        )  # fmt: skip
    return measurements, samples


def _efficiency(run: RunSpec, ttft_ms: float) -> list[Measurement]:
    values = {
        "ttft_ms": ttft_ms,
        "tpot_ms": 5.0,
        "prefill_tokens_per_s": run.context_length / ttft_ms * 1_000,
        "decode_tokens_per_s": 200.0,
        "peak_memory_bytes": 3e8,
        "cache_bytes": 1e6,
    }
    return [
        Measurement(
            task="generate", metric=metric, context_length=run.context_length,
            value=value, ci_low=value * 0.95, ci_high=value * 1.05, n=run.samples, unit=METRICS[metric].unit,
        )
        for metric, value in values.items()
    ]  # fmt: skip
