"""Plain text: read to its end as UTF-8; configurations are searched for what makes a loader run or fetch code."""

from __future__ import annotations

import codecs
import json
import re

from pydantic import JsonValue

from model_approval.domain.evidence import Severity
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered

_BLOCK_BYTES = 1024 * 1024
_MAX_CONFIG_BYTES = 64 * 1024**2
"""Beyond that it is data, not configuration; it is then read as text and said so."""

_ADVICE = "remove it; the model must load without code from the artifact"
_OBJECTS = Rule("config.objects", Severity.CRITICAL, _ADVICE)
_CODE = Rule("config.code", Severity.HIGH, _ADVICE)
_REMOTE = Rule("config.remote", Severity.MEDIUM, "put what is needed into the artifact")

_CODE_KEYS = frozenset(
    {"auto_map", "custom_pipelines", "custom_pipeline", "_target_", "py/object", "py/reduce", "__reduce__"}
)
_TRUE_MEANS_CODE = frozenset({"trust_remote_code", "use_remote_code", "allow_pickle", "trust_repo"})
_URL = re.compile(r"^(https?|ftp|s3|gs|hf|git\+\w+|ssh)://", re.IGNORECASE)
_FETCHED = re.compile(r"(weight|checkpoint|download|repo|pretrained|code|script|plugin|source)", re.IGNORECASE)
# A tag can be spelled in full, behind a handle that %TAG declares, or with %-escapes; and what looks like a comment may
# be the end of a quoted text. So every spelling counts wherever it stands: a comment can be reworded.
_YAML_TAG = re.compile(
    r"!!?python|tag:yaml\.org,2002:\s*python|^\ufeff?%TAG\b|!<?[\w!:,./-]{0,200}%[0-9a-f]{2}", re.I | re.M
)
_YAML_KEY = re.compile(
    rf"""(?<![\w/])(?:{"|".join(map(re.escape, sorted(_CODE_KEYS)))})(?=['"]?\s*(?::|$))"""
    rf"""|(?<!\w)(?:{"|".join(sorted(_TRUE_MEANS_CODE))})(?=['"]?\s*(?::|$))(?!['"]?\s*:\s*(?:false|no|off|null|~)\b)"""
    r"""|"[^"\\\n]*\\[^"\n]*"(?=\s*:)""",
    re.I | re.M,
)
"""Keys by which loaders run code, as in JSON, and quoted keys with escapes, which could spell any of them."""


class TextScanner:
    """Scans `text`, `markdown`, `csv`, `jsonl`, `empty`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Decode it to its end. Raises Uncovered when it is not text all the way."""
        require_text(blob)


class JsonScanner:
    """Scans `json`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Parse it and look at every key and value. Raises Uncovered when it is no JSON or too large to parse."""
        if blob.size_bytes > _MAX_CONFIG_BYTES:
            raise Uncovered(f"JSON larger than {_MAX_CONFIG_BYTES} bytes")
        blob.stream.seek(0)
        _search(blob, scan, json.loads(blob.stream.read()))


class YamlScanner:
    """Scans `yaml` as text: we parse no YAML of strangers."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Decode it and search for tags and keys that run code."""
        if blob.size_bytes > _MAX_CONFIG_BYTES:
            raise Uncovered(f"YAML larger than {_MAX_CONFIG_BYTES} bytes")
        require_text(blob)
        blob.stream.seek(0)
        text = blob.stream.read().decode()
        for match in _YAML_TAG.finditer(text):
            message = "a YAML tag makes a careless loader build Python objects"
            scan.add(blob, _OBJECTS, message, offset=len(text[: match.start()].encode()))
        for match in _YAML_KEY.finditer(text):
            scan.add(blob, _CODE, _message(match.group()), offset=len(text[: match.start()].encode()))


def require_text(blob: Blob) -> None:
    """Decode a blob to its end. Raises Uncovered at bytes that are not UTF-8 text."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    blob.stream.seek(0)
    try:
        while block := blob.stream.read(_BLOCK_BYTES):
            if "\0" in decoder.decode(block):
                raise Uncovered("begins as text, then holds zero bytes")
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as err:
        raise Uncovered(f"begins as text, then is not UTF-8: {err.reason}") from err


def _message(key: str) -> str:
    return (
        f"the configuration says {key.strip()!r}, which makes loaders run code that comes with the model or from afar"
    )


def _search(blob: Blob, scan: FileScan, document: JsonValue) -> None:
    pending: list[tuple[str, JsonValue]] = [("", document)]
    while pending:
        key, value = pending.pop()
        if key in _CODE_KEYS or (key in _TRUE_MEANS_CODE and value not in (False, None)):
            scan.add(blob, _CODE, _message(key))
        if isinstance(value, dict):
            pending += value.items()
        elif isinstance(value, list):
            pending += [(key, item) for item in value]
        elif isinstance(value, str) and _URL.match(value) and _FETCHED.search(key):
            scan.add(
                blob, _REMOTE, f"the configuration names {value[:200]!r} under {key!r}: a loader may fetch from there"
            )
