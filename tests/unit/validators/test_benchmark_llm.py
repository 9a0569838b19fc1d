"""Streamed answers: read piece by piece, timed, summed up; faults become limitations."""

from __future__ import annotations

import contextlib
import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Metric
from model_approval.validators.gpu_benchmark.endpoint import Endpoint
from model_approval.validators.gpu_benchmark.extra_parameters import LlmParameters
from model_approval.validators.gpu_benchmark.llm import LlmFigures, measure_llm
from model_approval.validators.gpu_benchmark.llm_load import prompts
from model_approval.validators.gpu_benchmark.streaming import StreamedAnswer
from tests.support.streaming_server import Speaker, speaking

pytestmark = pytest.mark.unit

_CHUNKS = (
    b'data: {"choices": [{"text": "',
    b'a"}]}\r\n\r\n: a comment\n\ndata: {',
    b"\n",
    b'data: "choices": [{"delta": {"content": "b\xc3\xa4"}}]}\n\n',
    b'data: {"usage": {"completion_tokens": 7}}\n\n',
    b"data: [DONE]\n\n",
    b"",
)
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_STREAM = _HEAD + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in _CHUNKS)


@given(st.lists(st.integers(1, len(_STREAM) - 1), max_size=12))
@settings(deadline=None)  # a busy machine is no failure
def test_a_stream_means_the_same_however_it_is_cut(cuts: list[int]) -> None:
    bounds = [0, *sorted(set(cuts)), len(_STREAM)]
    answer = StreamedAnswer()
    for now, (begin, end) in enumerate(pairwise(bounds)):
        answer.feed(_STREAM[begin:end], now)
    assert (answer.status, answer.tokens, answer.text_bytes, answer.finished) == (200, 7, 4, True)
    assert len(answer.pieces_ns) == 2
    assert answer.pieces_ns == sorted(answer.pieces_ns)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"x" * 70_000, "does not end"),
        (b"SSH-2.0\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\ndata: {\n\n", "no JSON"),
        (b"HTTP/1.1 200 OK\r\n\r\ndata: 3\n\n", "no JSON object"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2**21, "longer than any token"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "not chunked"),
    ],
)
def test_what_is_no_stream_is_told(data: bytes, words: str) -> None:
    with pytest.raises(EvidenceError, match=words):
        StreamedAnswer().feed(data, 0)


@given(st.binary(max_size=300), st.booleans())
@settings(deadline=None)  # a busy machine is no failure
def test_no_bytes_break_the_reader(data: bytes, chunked: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + (b"Transfer-Encoding: chunked\r\n" if chunked else b"") + b"\r\n"
    answer = StreamedAnswer()
    with contextlib.suppress(EvidenceError):
        answer.feed(head + data, 1)
    assert answer.status == 200


def test_prompts_have_the_wanted_length_and_share_no_beginning() -> None:
    made = prompts(LlmParameters(prompt_words=12), seed=1)
    several = [next(made) for _ in range(50)]
    assert {len(prompt.split()) for prompt in several} == {12}
    assert len({prompt.split()[0] for prompt in several}) == 50


def _measure(folder: Path, speaker: Speaker, **wanted: object) -> tuple[dict[str, Metric], LlmFigures]:
    parameters = LlmParameters.model_validate({"requests": 12, "output_tokens": 4, "prompt_words": 5, **wanted})
    with speaking(folder, speaker) as path:
        figures = measure_llm(Endpoint.at(path, model="small", timeout_s=5.0), parameters, seed=3)
    return {metric.name: metric for metric in figures.metrics}, figures


@pytest.mark.parametrize(
    ("api", "path"),
    [
        ("completions", "/v1/completions"),
        ("chat", "/v1/chat/completions"),
        ("generate_stream", "/v2/models/small/generate_stream"),
    ],
)
def test_planted_delays_are_found_again(tmp_path: Path, api: str, path: str) -> None:
    speaker = Speaker(first_s=0.02, between_s=0.005)
    metrics, figures = _measure(tmp_path, speaker, api=api)
    assert metrics["time_to_first_token_p50"].value >= 20
    assert metrics["inter_token_latency_p50"].value >= 4  # a piece may be noticed late, and the next one in time
    assert metrics["time_per_output_token_p50"].value >= 4
    assert metrics["answer_time_p50"].value >= 35
    assert metrics["inter_token_latency_p50"].samples == 12 * 3
    assert 0 < metrics["output_token_throughput"].value <= 4 / 0.035
    assert figures.limitations == ()
    assert {asked for asked, _ in speaker.asked} == {path}
    assert len({json.dumps(document) for _, document in speaker.asked}) == 12


def test_only_percentiles_that_the_requests_allow_are_given(tmp_path: Path) -> None:
    metrics, figures = _measure(tmp_path, Speaker(), requests=70, concurrency=4)
    assert {"time_to_first_token_p50", "time_to_first_token_p90"} <= set(metrics)
    assert "time_to_first_token_p99" not in metrics
    assert figures.environment["llm.percentiles"] == "70 finished requests allow p50, p90"


def test_the_wanted_number_of_requests_is_under_way(tmp_path: Path) -> None:
    speaker = Speaker(first_s=0.01)
    _measure(tmp_path, speaker, concurrency=3)
    assert (speaker.at_once, len(speaker.asked)) == (3, 12)


def test_tokens_are_counted_by_the_server_where_it_does(tmp_path: Path) -> None:
    _, told = _measure(tmp_path, Speaker())
    assert told.environment["llm.tokens"].startswith("the server's own count; 4 to 4")
    (tmp_path / "silent").mkdir()
    _, untold = _measure(tmp_path / "silent", Speaker(counts=False))
    assert untold.environment["llm.tokens"].startswith("pieces of the stream")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("break", "the stream broke off before its end"),
        ("refuse", 'answered 503: {"error": "busy"}'),
        ("silent", "the answer holds no text"),
        ("error", 'an error in the stream: {"message": "out of blocks"}'),
        ("hang", "no end of the answer within 0.3 s"),
        ("garbage", "an event is no JSON"),
    ],
)
def test_an_answer_without_its_end_is_a_limitation_and_no_figure(tmp_path: Path, fault: str, words: str) -> None:
    speaker = Speaker(behave=lambda number: fault if number == 1 else "answer")
    metrics, figures = _measure(tmp_path, speaker, timeout_s=0.3 if fault == "hang" else 30.0)
    (limitation,) = figures.limitations
    assert limitation.startswith("1 of 12 streamed answers did not come to their end: 1 x ")
    assert words in limitation
    assert metrics["time_to_first_token_p50"].samples == 11


def test_too_few_answers_are_a_limitation(tmp_path: Path) -> None:
    metrics, figures = _measure(tmp_path, Speaker(), requests=3)
    assert "time_to_first_token_p50" not in metrics
    assert figures.limitations == ("only 3 streamed answers were measured, 10 are needed for a p50",)


def test_where_nobody_listens_is_told(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="no model server at"):
        measure_llm(Endpoint.at(str(tmp_path / "none")), LlmParameters(), seed=1)
