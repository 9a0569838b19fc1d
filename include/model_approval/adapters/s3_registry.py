"""A bucket as registry: object tags ask and answer.

| key | what it is |
|---|---|
| `<model>/<version>/artifact/<files>` | the model version's bytes, and nothing else |
| `<model>/<version>/promotion.json` | the request's metadata; its object tag `promotion` = `requested` asks |
| `.promotion/<model>/<version>/status.json` | what became of it, in full |
| `.promotion/<model>/champion-<environment>.json` | the version that serves there |

Status also goes into the tags of `promotion.json`, as far as S3's tag alphabet allows. Tags `source_run` and `owner`
say where the version comes from. S3 has no search by tag: a poll asks each `promotion.json` for its tags (one small
call each, eight at a time), which suits some thousands of versions; archive older ones under another prefix.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from pydantic import ValidationError

from model_approval.adapters.s3_client import S3Client, s3_client, s3_errors
from model_approval.domain.base import Name, Record
from model_approval.domain.errors import IntegrityError, NotFoundError, OutsideSystemError
from model_approval.domain.request import RegisteredVersion
from model_approval.ports import RegistryStatus
from model_approval.settings import Settings

log = logging.getLogger(__name__)

_REQUEST = "promotion.json"
_OURS = ".promotion"
_PARALLEL_CALLS = 8
_PAYLOAD_BYTES = 1_000_000
"""Read no further: the payload's own limit is far below, so a longer text is refused by it."""
_NOT_IN_A_TAG = re.compile(r"[^A-Za-z0-9 +\-=._:/@]+")
_TAG_CHARS = 256
_MAX_TAGS = 10
"""S3: at most ten tags an object, values of at most 256 characters of this alphabet."""


class _Champion(Record):
    version: Name
    description: str


class S3Registry:
    """Model versions below one bucket."""

    name = "s3"

    def __init__(self, settings: Settings) -> None:
        if not settings.s3_registry_bucket:
            raise OutsideSystemError(
                "S3 registry", "no bucket is configured", retryable=False, hint="set MODEL_APPROVAL_S3_REGISTRY_BUCKET"
            )
        self._settings = settings
        self._bucket = settings.s3_registry_bucket

    def find_requested(self) -> list[RegisteredVersion]:
        """All versions whose `promotion.json` is tagged `promotion` = `requested`, oldest first.

        A version that cannot be named here, or has no artifact, is refused on its entry and left out.
        """
        versions = [version for model in self._folders("") if model != f"{_OURS}/" for version in self._folders(model)]
        with ThreadPoolExecutor(_PARALLEL_CALLS) as pool:
            tags = list(pool.map(lambda version: self._tags_of(f"{version}{_REQUEST}"), versions))
        asked = [
            f"{version}{_REQUEST}"
            for version, found in zip(versions, tags, strict=True)
            if found.get("promotion") == "requested"
        ]
        oldest_first = sorted(asked, key=lambda key: (self._uploaded_at(key), key))
        return [version for key in oldest_first if (version := self._usable(key)) is not None]

    def get(self, model: str, version: str) -> RegisteredVersion:
        """One version.

        Raises:
            NotFoundError: Nothing lies below its artifact prefix.
        """
        prefix = f"{model}/{version}/artifact"
        with s3_errors(f"s3://{self._bucket}/{prefix}"):
            page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=f"{prefix}/", MaxKeys=1)
        if not page.get("Contents"):
            raise NotFoundError(f"s3://{self._bucket}/{prefix}/ holds no file", hint="upload the artifact there")
        tags = self._tags_of(f"{model}/{version}/{_REQUEST}")
        return RegisteredVersion(
            registry=self.name,
            model=model,
            version=version,
            artifact_uri=f"s3://{self._bucket}/{prefix}",
            ready=True,
            source_run=tags.get("source_run") or None,
            owner=tags.get("owner") or None,
            tags=tags,
        )

    def payload_of(self, version: RegisteredVersion) -> str:
        """The text of `promotion.json`, read now; empty when there is none."""
        return self._read(f"{version.model}/{version.version}/{_REQUEST}") or ""

    def request(self, model: str, version: str, payload: str) -> None:
        """Put `promotion.json` with its tag, as a person would."""
        asked = {"promotion": "requested"}
        known = self.get(model, version).tags
        self._write(f"{model}/{version}/{_REQUEST}", payload, {**asked, **known, **asked})

    def set_status(self, model: str, version: str, status: RegistryStatus) -> None:
        """Write what became of the request: the full text first, then the tags. Idempotent."""
        self.get(model, version)
        self._set_status(model, version, status)

    def champion(self, model: str, environment: str) -> RegisteredVersion | None:
        """The version that `crown` named last; None when there is none."""
        key = _champion_key(model, environment)
        text = self._read(key)
        if text is None:
            return None
        try:
            return self.get(model, _Champion.model_validate_json(text).version)
        except ValidationError as err:
            raise IntegrityError(f"s3://{self._bucket}/{key} does not name a champion", hint="crown anew") from err

    def crown(self, model: str, version: str, environment: str, *, description: str) -> None:
        """Name the champion of an environment, with the description. Idempotent."""
        self.get(model, version)
        champion = _Champion(version=version, description=description)
        self._write(_champion_key(model, environment), champion.model_dump_json(indent=2), {})

    def uncrown(self, model: str, environment: str) -> None:
        """Name no champion. Idempotent."""
        key = _champion_key(model, environment)
        with s3_errors(f"s3://{self._bucket}/{key}"):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    @property
    def _client(self) -> S3Client:
        return s3_client(self._settings)

    def _uploaded_at(self, key: str) -> datetime:
        with s3_errors(f"s3://{self._bucket}/{key}"):
            moment: datetime = self._client.head_object(Bucket=self._bucket, Key=key)["LastModified"]
        return moment

    def _folders(self, prefix: str) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2")
        with s3_errors(f"s3://{self._bucket}/{prefix}"):
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, Delimiter="/"):
                yield from (str(item["Prefix"]) for item in page.get("CommonPrefixes", ()))

    def _usable(self, key: str) -> RegisteredVersion | None:
        model, version, _ = key.split("/")
        try:
            return self.get(model, version)
        except ValidationError as err:
            first = err.errors()[0]
            reason = f"this entry cannot be promoted: {first['loc'][0]}: {first['msg']}"
        except NotFoundError as err:
            reason = f"this entry cannot be promoted: {err}"
        log.warning("S3 registry: %s refused: %s", key, reason)
        self._set_status(model, version, RegistryStatus("refused", None, reason))
        return None

    def _set_status(self, model: str, version: str, status: RegistryStatus) -> None:
        self._write(f"{_OURS}/{model}/{version}/status.json", json.dumps(asdict(status), indent=2), {})
        key = f"{model}/{version}/{_REQUEST}"
        if self._read(key) is None:
            return  # asked for by command and withdrawn since: there is no object to tag
        ours = {
            "promotion": status.state,
            "promotion.reason": status.reason,
            "promotion.request_id": status.request_id or "",
        }
        tags = {**ours, **self._tags_of(key), **ours}  # ours stand first: only so many tags are taken
        with s3_errors(f"tags of s3://{self._bucket}/{key}"):
            self._client.put_object_tagging(Bucket=self._bucket, Key=key, Tagging={"TagSet": _tag_set(tags)})

    def _tags_of(self, key: str) -> dict[str, str]:
        """An object's tags; none when it is not there."""
        try:
            with s3_errors(f"tags of s3://{self._bucket}/{key}"):
                answer = self._client.get_object_tagging(Bucket=self._bucket, Key=key)
        except NotFoundError:
            return {}
        return {str(tag["Key"]): str(tag["Value"]) for tag in answer.get("TagSet", ())}

    def _read(self, key: str) -> str | None:
        """An object's text, or None; no more than a payload may have."""
        try:
            with (
                s3_errors(f"s3://{self._bucket}/{key}"),
                self._client.get_object(Bucket=self._bucket, Key=key)["Body"] as body,
            ):
                return bytes(body.read(_PAYLOAD_BYTES)).decode(errors="replace")
        except NotFoundError:
            return None

    def _write(self, key: str, text: str, tags: dict[str, str]) -> None:
        encoded = urlencode({tag["Key"]: tag["Value"] for tag in _tag_set(tags)})
        with s3_errors(f"s3://{self._bucket}/{key}"):
            self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=text.encode(),
                ContentType="application/json",
                **({"Tagging": encoded} if encoded else {}),
            )


def _tag_set(tags: dict[str, str]) -> list[dict[str, Any]]:
    """Tags as S3 takes them; characters it does not know become a blank, empty values are left out."""
    clean = {key: _NOT_IN_A_TAG.sub(" ", value)[:_TAG_CHARS].strip() for key, value in tags.items()}
    return [{"Key": key, "Value": value} for key, value in clean.items() if value][:_MAX_TAGS]


def _champion_key(model: str, environment: str) -> str:
    return f"{_OURS}/{model}/champion-{environment}.json"
