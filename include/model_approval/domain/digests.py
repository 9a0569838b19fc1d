"""Canonical bytes and their digests: the one way anything here is hashed.

Canonical JSON is RFC 8785 (JSON Canonicalization Scheme); digests are SHA-256, written `sha256:<hex>`.
"""

from __future__ import annotations

import hashlib
from typing import BinaryIO

import rfc8785
from pydantic import BaseModel

_BLOCK_BYTES = 1024 * 1024


def canonical_json(value: object) -> bytes:
    """Encode a record or plain JSON value as RFC 8785 bytes.

    Raises:
        ValueError: The value holds something JSON cannot carry (NaN, an integer beyond 2**53).
    """
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return rfc8785.dumps(plain)  # type: ignore[arg-type]  # it checks the value itself, and raises ValueError


def sha256_of(data: bytes) -> str:
    """Digest of bytes, as `sha256:<hex>`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_of(value: object) -> str:
    """Digest of a record's canonical JSON, as `sha256:<hex>`."""
    return sha256_of(canonical_json(value))


def sha256_of_stream(stream: BinaryIO) -> tuple[str, int]:
    """Read a stream to its end once, in constant memory.

    Returns:
        The bare hexadecimal SHA-256 and the size in bytes. Cost: time proportional to the stream's length.
    """
    hasher, size_bytes = hashlib.sha256(), 0
    while block := stream.read(_BLOCK_BYTES):
        hasher.update(block)
        size_bytes += len(block)
    return hasher.hexdigest(), size_bytes
