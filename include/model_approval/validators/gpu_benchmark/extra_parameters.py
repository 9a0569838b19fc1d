"""What a policy may ask of a benchmark beyond latency and throughput: one record for each further measurement."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from model_approval.domain.base import Record, Sha256
from model_approval.domain.evidence import Device

Quality = Literal["accuracy", "f1_macro", "auc", "log_loss", "rmse", "mae", "exact_match", "max_deviation"]


class HoldoutParameters(Record):
    """A labelled holdout: what is asked, what the answer should be, and how the two are compared."""

    path: str = "holdout.csv"
    """CSV or JSON file in the artifact."""
    sha256: Sha256 | None = None
    """The file's digest, if the policy's author knows the file: without it, it is the sender's own claim."""
    inputs: dict[str, tuple[str, ...]] = {}
    """CSV: which columns make up each of the model's inputs. Empty: all columns but the label go to the only input."""
    label: str = "label"
    """CSV: the column with the expected answer."""
    output: str | None = None
    """The model's output that holds its answer; unset: the first one."""
    scores: str | None = None
    """The output with scores or probabilities by class, for `auc` and `log_loss`; unset: the first floating one."""
    classes: tuple[str, ...] = ()
    """Labels in the order of the score columns; empty: the column's number is the label."""
    metrics: Annotated[tuple[Quality, ...], Field(min_length=1)] = ("accuracy",)
    """`accuracy`, `f1_macro`, `auc`, `log_loss`, `rmse`, `mae`, `exact_match`, `max_deviation`."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 64
    """Rows in one request, where the signature leaves that open."""
    max_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 100_000
    """A longer file is refused rather than cut."""


class SoakParameters(Record):
    """Steady load for a time, to see whether the server's memory grows."""

    duration_s: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    """At least ten, or there is no figure; the first quarter does not count."""


class SweepParameters(Record):
    """Batch sizes, each measured on its own."""

    batch_sizes: Annotated[tuple[Annotated[int, Field(ge=1, le=65_536)], ...], Field(min_length=1, max_length=32)] = (
        1,
        2,
        4,
        8,
        16,
        32,
    )
    """The sweep ends at the first size that the server refuses."""
    duration_s: Annotated[float, Field(gt=0, le=600)] = 0.5
    """Measuring time for each size."""


class ColdStartParameters(Record):
    """Starts of the server, one after the other."""

    starts: Annotated[int, Field(ge=1, le=50)] = 5
    """The median counts; it has an interval from six starts on."""


class LlmParameters(Record):
    """Load on a server that streams its answer token by token."""

    api: Literal["completions", "chat", "generate_stream"] = "completions"
    """`/v1/completions`, `/v1/chat/completions`, or the Open Inference Protocol's `generate_stream`."""
    requests: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    """In all: 10 allow a p50, 64 a p90, 200 a p99."""
    concurrency: Annotated[int, Field(ge=1, le=800)] = 1
    """Requests under way at any time."""
    prompt_words: Annotated[int, Field(ge=1, le=1_000_000)] = 128
    """Length of the made-up prompts. Words, since the tokens of a model are known to its own tokenizer alone."""
    output_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 64
    """`max_tokens` of each request."""
    ignore_eos: bool = False
    """Ask the server to go on to `output_tokens` whatever the model says (vLLM's and SGLang's extension)."""
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 120.0
    """Longest wait for a whole answer."""


class RemoteParameters(Record):
    """A running server that is measured instead of ours."""

    url: str
    """`http(s)://host[:port][/prefix]`; the one address that the benchmark may reach."""
    protocol: Literal["v2", "openai"] = "v2"
    """`v2`: the Open Inference Protocol (KServe, Triton, ours). `openai`: streamed completions (vLLM and others)."""
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:-]{0,199}$")] = "model"
    """The model's name there."""
    device: Device = Device.NONE
    """What the policy's author knows it runs on; the benchmark cannot see it."""

    @field_validator("url")
    @classmethod
    def _plain_http(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must be http(s)://host[:port][/prefix]")
        if parts.username or parts.password:
            raise ValueError("must hold no credentials: a policy is no place for them")
        if any(ord(char) <= 32 or ord(char) > 126 for char in url) or not _port_is_valid(url):
            raise ValueError("must hold no blanks or control characters, and a port up to 65535")
        if is_forbidden_address(parts.hostname):
            raise ValueError(
                "link-local and metadata addresses are where clouds keep credentials; they are never reached"
            )
        return url


def _port_is_valid(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


_METADATA = frozenset(map(ip_address, ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "fd20:ce::254")))
"""Where AWS, Alibaba Cloud, Azure and Google Cloud tell credentials at addresses that are not link-local."""
_NAT64 = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
"""RFC 6052 and RFC 8215: the last four bytes are an IPv4 address, which a gateway connects to."""


def is_forbidden_address(host: str) -> bool:
    """Whether a host is a literal address that no benchmark has business at.

    That is: link-local, multicast, unspecified, or a cloud's metadata service; as IPv6 also where the address carries
    such an IPv4 address (mapped, compatible, NAT64, 6to4 by RFC 3056, Teredo by RFC 4380).
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return any(
        item.is_link_local or item.is_multicast or item.is_unspecified or item in _METADATA
        for item in (address, *_carried_by(address))
    )


def _carried_by(address: IPv4Address | IPv6Address) -> Iterator[IPv4Address]:
    if isinstance(address, IPv4Address):
        return
    teredo = address.teredo or ()
    yield from filter(None, (address.ipv4_mapped, address.sixtofour, *teredo))
    last = int(address) & 0xFFFF_FFFF
    if any(address in network for network in _NAT64) or (int(address) == last > 1):
        yield IPv4Address(last)


class ExtraParameters(Record):
    """What a policy asks for beyond latency and throughput.

    Nothing of it runs by default but the robustness checks, which take about a second.
    """

    robustness: bool | None = None
    """Whether hostile requests are sent. Unset: to a server of our own yes, to a URL no: others may depend on it."""
    concurrency: Annotated[int, Field(ge=2, le=200)] | None = None
    """Clients at once that the server must answer rightly."""
    holdout: HoldoutParameters | None = None
    """See HoldoutParameters: quality on labelled data."""
    soak: SoakParameters | None = None
    """See SoakParameters: growth of memory."""
    sweep: SweepParameters | None = None
    """See SweepParameters: batch sizes."""
    cold_start: ColdStartParameters | None = None
    """See ColdStartParameters: from the start of the process to the first answer."""
    llm: LlmParameters | None = None
    """See LlmParameters: streamed text, token by token; needs `endpoint`."""
    endpoint: RemoteParameters | None = None
    """See RemoteParameters: a running server to measure instead of one of our own."""

    @model_validator(mode="after")
    def _fit_together(self) -> ExtraParameters:
        if self.endpoint is None:
            if self.llm is not None:
                raise ValueError("llm: needs an `endpoint` that streams text; a server of our own does not")
            return self
        if self.llm is not None and (self.llm.api == "generate_stream") != (self.endpoint.protocol == "v2"):
            raise ValueError("llm.api: generate_stream goes with an endpoint's protocol v2, the others with openai")
        if self.cold_start is not None:
            raise ValueError("cold_start: a server behind a URL cannot be started anew")
        if self.soak is not None:
            raise ValueError("soak: the memory of a server behind a URL cannot be seen")
        if self.endpoint.protocol == "openai" and self.llm is None:
            raise ValueError("endpoint: of a server that speaks the openai protocol only `llm` can be measured")
        if self.only_streams and (self.holdout or self.sweep or self.concurrency or self.robustness):
            raise ValueError("holdout, sweep, concurrency and robustness need a model that answers whole tensors")
        return self

    @property
    def only_streams(self) -> bool:
        """Whether nothing but streamed text is measured: a language model answers no tensors to time."""
        return self.endpoint is not None and self.llm is not None
