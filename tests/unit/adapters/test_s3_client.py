"""How the store's answers become ours, without a store."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from model_approval.adapters.s3_client import error_code, s3_client, s3_errors, split_uri
from model_approval.domain.errors import NotFoundError, OutsideSystemError
from model_approval.settings import Settings

pytestmark = pytest.mark.unit


def refusal(code: str) -> ClientError:
    """What the SDK raises when the store answers with an error."""
    return ClientError({"Error": {"Code": code, "Message": "as the store says"}}, "GetObject")


def translated(err: Exception) -> Exception:
    with pytest.raises((NotFoundError, OutsideSystemError)) as caught, s3_errors("s3://models/a"):
        raise err
    assert caught.value.__cause__ is err
    return caught.value


@pytest.mark.parametrize("code", ["404", "NoSuchKey", "NoSuchBucket", "NoSuchVersion"])
def test_what_is_not_there_is_not_found_by_name(code):
    found = translated(refusal(code))
    assert isinstance(found, NotFoundError)
    assert "s3://models/a does not exist" in str(found)


@pytest.mark.parametrize(
    ("code", "retryable"),
    [("AccessDenied", False), ("SignatureDoesNotMatch", False), ("InternalError", True), ("SlowDown", True)],
)
def test_refusal_is_final_and_overload_is_not(code, retryable):
    found = translated(refusal(code))
    assert isinstance(found, OutsideSystemError)
    assert found.retryable is retryable
    assert f"{code}: as the store says" in str(found)


def test_unreachable_store_is_worth_a_retry():
    found = translated(EndpointConnectionError(endpoint_url="http://store.example"))
    assert isinstance(found, OutsideSystemError)
    assert found.retryable


def test_our_own_errors_pass_unchanged():
    with pytest.raises(ValueError, match="mine"), s3_errors("s3://models/a"):
        raise ValueError("mine")


def test_error_without_an_answer_has_no_code():
    assert error_code(ValueError("x")) == ""
    assert error_code(refusal("SlowDown")) == "SlowDown"


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("s3://models/a/b", ("models", "a/b")),
        ("s3://models/a/b/", ("models", "a/b")),
        ("s3://models/", ("models", "")),
        ("s3://models", ("models", "")),
    ],
)
def test_uri_is_bucket_and_prefix(uri, parts):
    assert split_uri(uri) == parts


@pytest.mark.parametrize("uri", ["", "models/a", "s3://", "s3:///a", "https://models/a", "S3://models/a"])
def test_anything_else_is_no_such_uri(uri):
    with pytest.raises(ValueError, match="is not s3://bucket/prefix"):
        split_uri(uri)


def test_client_is_made_once_for_the_same_store_and_anew_for_another():
    here = Settings(store_endpoint_url="http://here.example", store_access_key="a", store_secret_key="b")  # type: ignore[arg-type]
    assert s3_client(here) is s3_client(here)
    assert s3_client(here) is not s3_client(here, endpoint_url="http://there.example")
