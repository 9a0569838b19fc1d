"""Which server a policy may name, and what its figures are worth."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from model_approval.validators.gpu_benchmark.extra_parameters import RemoteParameters
from model_approval.validators.gpu_benchmark.remote import provenance

pytestmark = pytest.mark.unit
_DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://host", "must be http"),
        ("host:8000", "must be http"),
        ("http://", "must be http"),
        ("http://host/?a=b", "must be http"),
        ("http://user:secret@host", "no credentials"),
        ("http://ho st", "no blanks"),
        ("http://host/\r\nX: y", "no blanks"),
        ("http://host:99999", "a port up to 65535"),
        ("http://169.254.169.254/latest", "link-local"),
        ("http://[fe80::1]", "link-local"),
        ("http://[::ffff:169.254.169.254]", "link-local"),
        ("http://0.0.0.0:80", "never reached"),
        ("http://[fd00:ec2::254]", "metadata"),
        ("http://100.100.100.200", "metadata"),
        ("http://168.63.129.16", "metadata"),
        ("http://[64:ff9b::169.254.169.254]", "metadata"),
        ("http://[64:ff9b::100.100.100.200]", "metadata"),
        ("http://[2002:a9fe:a9fe::1]", "metadata"),
        ("http://[::ffff:168.63.129.16]", "metadata"),
        ("http://[::169.254.169.254]", "metadata"),
    ],
)
def test_a_url_that_no_benchmark_has_business_at_is_refused(url: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        RemoteParameters(url=url)


@pytest.mark.parametrize(
    "url", ["http://triton:8000", "https://llm.example.com/openai", "http://[::1]:8080", "http://[64:ff9b::8.8.8.8]"]
)
def test_an_ordinary_url_is_taken(url: str) -> None:
    assert RemoteParameters(url=url).url == url


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (_DIGEST, None),
        ("sha256:" + "b" * 64, "says that it serves sha256:bbb"),
        ("", "does not say which artifact it serves: nothing proves that it is sha256:aaa"),
    ],
)
def test_figures_count_only_when_the_server_says_that_it_serves_the_artifact(told: str, words: str | None) -> None:
    found = provenance(RemoteParameters(url="http://triton:8000"), told, _DIGEST)
    assert found == () if words is None else words in found[0]
