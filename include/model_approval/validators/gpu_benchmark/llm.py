"""What a user of a language model feels: the wait for the first token, the pace of the others, and tokens a second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from model_approval.domain.evidence import Metric
from model_approval.validators.gpu_benchmark.endpoint import Endpoint
from model_approval.validators.gpu_benchmark.extra_parameters import LlmParameters
from model_approval.validators.gpu_benchmark.llm_load import Exchange, Load, run_load
from model_approval.validators.gpu_benchmark.statistics import percentile, percentile_interval

FEWEST = {50: 10, 90: 64, 99: 200}
"""Finished requests that a percentile takes. LoadGen asks 64 for a p90 at 99 % confidence."""


@dataclass(frozen=True)
class LlmFigures:
    """What the load brought."""

    metrics: tuple[Metric, ...]
    environment: dict[str, str]
    limitations: tuple[str, ...] = ()


def measure_llm(endpoint: Endpoint, wanted: LlmParameters, *, seed: int) -> LlmFigures:
    """Put the wanted load on the server and sum up. Raises EvidenceError when nothing can be sent to it."""
    return sum_up(run_load(endpoint, wanted, seed=seed), wanted)


def sum_up(load: Load, wanted: LlmParameters) -> LlmFigures:
    """Figures of the exchanges that came to their proper end; any other is a limitation.

    Time to first token runs from the request's first byte sent to the arrival of the first piece with text. Time per
    output token is the rest of the answer's time divided by its other tokens, as LoadGen and vLLM count it. Inter-token
    latency is the gap between two pieces, which may hold several tokens each.
    """
    good = [exchange for exchange in load.exchanges if not exchange.problem]
    first = [(one.answer.pieces_ns[0] - one.sent_ns) / 1e6 for one in good]
    gaps = [(b - a) / 1e6 for one in good for a, b in pairwise(one.answer.pieces_ns)]
    paces = [pace for one in good if (pace := _time_per_token_ms(one)) is not None]
    whole = [(one.answer.pieces_ns[-1] - one.sent_ns) / 1e6 for one in good]
    metrics = [
        *_percentiles("time_to_first_token", first, len(good)),
        *_percentiles("inter_token_latency", gaps, len(good)),
        *_percentiles("time_per_output_token", paces, len(good)),
        *_percentiles("answer_time", whole, len(good)),
        *_rates(good, load.elapsed_s),
    ]
    return LlmFigures(tuple(metrics), _environment(good, wanted), tuple(_limitations(load.exchanges, good)))


def _tokens(exchange: Exchange) -> int:
    return exchange.answer.tokens or len(exchange.answer.pieces_ns)


def _time_per_token_ms(exchange: Exchange) -> float | None:
    tokens, pieces = _tokens(exchange), exchange.answer.pieces_ns
    return (pieces[-1] - pieces[0]) / 1e6 / (tokens - 1) if tokens > 1 and len(pieces) > 1 else None


def _percentiles(name: str, values: Sequence[float], requests: int) -> list[Metric]:
    """Of the percentiles that so many requests allow. Gaps within one answer depend on each other: requests count."""
    ordered = sorted(values)
    metrics = []
    for percent in (50, 90, 99):
        if requests < FEWEST[percent] or not ordered:
            continue
        low, high = percentile_interval(ordered, percent / 100)
        value = percentile(ordered, percent / 100)
        metrics.append(
            Metric(name=f"{name}_p{percent}", value=value, unit="ms", low=low, high=high, samples=len(ordered))
        )
    return metrics


def _rates(good: Sequence[Exchange], elapsed_s: float) -> list[Metric]:
    if not good or elapsed_s <= 0:
        return []
    total = sum(map(_tokens, good))
    each = sorted(_tokens(one) / ((one.answer.pieces_ns[-1] - one.sent_ns) / 1e9) for one in good)
    low, high = percentile_interval(each, 0.5)
    return [
        Metric(name="output_token_throughput", value=total / elapsed_s, unit="tokens/s", samples=len(good)),
        Metric(
            name="output_tokens_per_second_p50", value=percentile(each, 0.5), unit="tokens/s", low=low, high=high,
            samples=len(good),
        ),
        Metric(name="request_throughput", value=len(good) / elapsed_s, unit="requests/s", samples=len(good)),
    ]  # fmt: skip


def _environment(good: Sequence[Exchange], wanted: LlmParameters) -> dict[str, str]:
    counted = sum(one.answer.tokens is not None for one in good)
    lengths = sorted(map(_tokens, good)) or [0]
    told = "the server's own count" if counted == len(good) else "pieces of the stream: the server counts no tokens"
    allowed = ", ".join(f"p{percent}" for percent, fewest in FEWEST.items() if len(good) >= fewest)
    return {
        "llm.load": f"{wanted.requests} requests to {wanted.api}, {wanted.concurrency} at a time, "
        f"prompts of {wanted.prompt_words} made-up words, at most {wanted.output_tokens} tokens each",
        "llm.tokens": f"{told}; {lengths[0]} to {lengths[-1]} in an answer",
        "llm.clock": "the benchmark's own: LoadGen has no scenario of constant concurrency",
        "llm.percentiles": f"{len(good)} finished requests allow {allowed or 'none'}",
    }


def _limitations(exchanges: Sequence[Exchange], good: Sequence[Exchange]) -> list[str]:
    found = []
    if problems := Counter(exchange.problem for exchange in exchanges if exchange.problem):
        named = "; ".join(f"{count} x {problem}" for problem, count in problems.most_common(3))
        found.append(f"{problems.total()} of {len(exchanges)} streamed answers did not come to their end: {named}")
    if len(good) < FEWEST[50]:
        found.append(f"only {len(good)} streamed answers were measured, {FEWEST[50]} are needed for a p50")
    return [one[:4000] for one in found]
