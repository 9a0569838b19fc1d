"""Passwords, keys and tokens in texts. What was found is named by kind, place and a short hash, never shown.

Formats that say what they are (a prefix, a checksum, a fixed alphabet) are looked for by our own patterns behind plain
substring tests, which cost next to nothing on megabytes of vocabulary. Lines that name a credential are also given to
the plugins of detect-secrets, in this process; a value beside such a name counts only when it looks random.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from itertools import islice
from typing import Protocol

from model_approval.domain.evidence import Severity
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule
from model_approval.validators.security_scan.text_blocks import TextBlock, has_long_word

MAX_KEYWORD_CHARS = 1024 * 1024
"""Of texts in which names of credentials are looked for; longer ones are data, with words of all kinds."""
MAX_SECRETS = 50
"""In one text; whoever finds so many need not count on."""

_ADVICE = "revoke it where it was issued, then remove it from the artifact: whoever can read the model has it"
_STRONG = Rule("secret.token", Severity.HIGH, _ADVICE)
_KEY = Rule("secret.private-key", Severity.HIGH, _ADVICE)
_WEAK = Rule("secret.likely", Severity.MEDIUM, _ADVICE)


@dataclass(frozen=True)
class _Pattern:
    kind: str
    needles: tuple[str, ...]
    """Plain texts, one of which stands in every such secret: they are found at the speed of memory."""
    regex: re.Pattern[str]
    """Its group 1, or all of it, is the secret."""
    rule: Rule = _STRONG
    min_entropy: float = 3.0
    """Bits a character; words and placeholders have less."""
    before: int = 0
    """How many characters before the needle the match may begin."""


def _pattern(kind: str, needles: str, regex: str, rule: Rule = _STRONG, min_entropy: float = 3.0) -> _Pattern:
    return _Pattern(kind, tuple(needles.split()), re.compile(regex), rule, min_entropy)


_END = r"(?![A-Za-z0-9_-])"
_PATTERNS = (
    _pattern(
        "aws-access-key", "AKIA ASIA", r"(?<![A-Za-z0-9/+])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9/+=])", _STRONG, 2.5
    ),
    _pattern(
        "aws-secret-key", "aws AWS Aws",
        r"(?i)aws[\w .-]{0,30}(?:secret|key)[\w .-]{0,30}[\"']?\s*[:=,]\s*[\"']?([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
        _STRONG, 3.7,
    ),
    _pattern("github-token", "ghp_ gho_ ghu_ ghs_ ghr_", rf"(?<!\w)gh[pousr]_[A-Za-z0-9]{{36,255}}{_END}"),
    _pattern("github-token", "github_pat_", rf"(?<!\w)github_pat_[A-Za-z0-9_]{{22,255}}{_END}"),
    _pattern("gitlab-token", "glpat-", rf"(?<!\w)glpat-[A-Za-z0-9_-]{{20,64}}{_END}"),
    _pattern("slack-token", "xox", r"(?<!\w)xox[abeoprs]-(?:\d+-)+[A-Za-z0-9-]{10,200}"),
    _pattern("slack-webhook", "hooks.slack.com/", r"hooks\.slack\.com/services/T\w{8,20}/B\w{8,20}/\w{20,40}"),
    _pattern("google-api-key", "AIza", rf"(?<!\w)AIza[0-9A-Za-z_-]{{35}}{_END}"),
    _pattern("azure-storage-key", "AccountKey=", r"AccountKey=([A-Za-z0-9+/]{60,88}={0,2})"),
    _pattern("hugging-face-token", "hf_", rf"(?<!\w)hf_[A-Za-z0-9]{{34,40}}{_END}", _STRONG, 3.5),
    _pattern("openai-key", "sk-", rf"(?<!\w)sk-[A-Za-z0-9_-]{{16,200}}?T3BlbkFJ[A-Za-z0-9_-]{{16,200}}{_END}"),
    _pattern("openai-key", "sk-", rf"(?<!\w)sk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9]{{40,200}}{_END}", _STRONG, 3.5),
    _pattern("anthropic-key", "sk-ant-", rf"(?<!\w)sk-ant-[A-Za-z0-9_-]{{32,200}}{_END}", _STRONG, 3.5),
    _pattern("stripe-key", "sk_live_ rk_live_", rf"(?<!\w)[rs]k_live_[0-9a-zA-Z]{{24,128}}{_END}"),
    _pattern("npm-token", "npm_", rf"(?<!\w)npm_[A-Za-z0-9]{{36}}{_END}", _STRONG, 3.5),
    _pattern("package-index-token", "pypi-AgE", r"pypi-AgE[A-Za-z0-9_-]{50,300}"),
    _pattern("sendgrid-key", "SG.", rf"(?<!\w)SG\.[\w-]{{22}}\.[\w-]{{43}}{_END}"),
    _pattern("databricks-token", "dapi", r"(?<!\w)dapi[0-9a-f]{32}(?!\w)"),
    _pattern(
        "private-key", "-----BEGIN",
        r"-----BEGIN (?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----"
        r"((?:[\s,:A-Za-z0-9-]|\\[nr]){0,300}?[A-Za-z0-9+/]{40})",
        _KEY,
    ),
    _pattern(
        "json-web-token", "eyJ",
        rf"(?<![\w-])eyJ[A-Za-z0-9_-]{{10,2000}}\.eyJ[A-Za-z0-9_-]{{10,4000}}\.[A-Za-z0-9_-]{{16,1000}}{_END}", _WEAK,
    ),
    replace(
        _pattern(
            "password-in-url", "://",
            r"[a-zA-Z0-9+.-]{2,21}://[^\s:/@\"'<>{}$%]{0,100}:([^\s:/@\"'<>{}$]{4,100})@[\w.-]",
            _STRONG, 2.2,
        ),
        before=21,
    ),
)  # fmt: skip
_PATTERNS_OF_WORDS = tuple(pattern for pattern in _PATTERNS if pattern.before)
"""What need not be random: a password in a URL."""
_PLACEHOLDER = re.compile(
    r"example|placeholder|changeme|dummy|redacted|your[_-]|x{6}|\*{4}|\.{4}"
    r"|^(?:user|name|pass|passwd|password|pwd|secret|token|key)$",
    re.IGNORECASE,
)
_NO_VALUE = re.compile(r"sample|fake|your|insert|0{8}|12345678|abcdefgh|://", re.IGNORECASE)
_WORDS = (
    "password", "passwd", "passphrase", "pwd", "secret", "credential", "bearer",
    *(f"{what}{dash}key" for what in ("api", "access", "auth", "private") for dash in ("", "_", "-")),
    *(f"{what}{dash}token" for what in ("api", "access", "auth") for dash in ("", "_", "-")),
)  # fmt: skip
_KEYWORD = re.compile(
    r"[\w-]{3,40}[\"']?\s{0,3}(?:[:=]|=>|\s)\s{0,3}[\"']?([^\s\"',;<>{}\[\]()$]{8,200})", re.IGNORECASE
)
_MAX_WORDS = 2_000
_PLUGINS = (
    ("artifactory", "ArtifactoryDetector"), ("cloudant", "CloudantDetector"), ("discord", "DiscordBotTokenDetector"),
    ("ibm_cloud_iam", "IbmCloudIamDetector"), ("ibm_cos_hmac", "IbmCosHmacDetector"),
    ("mailchimp", "MailchimpDetector"),
    ("softlayer", "SoftlayerDetector"), ("square_oauth", "SquareOAuthDetector"),
    ("telegram_token", "TelegramBotTokenDetector"), ("twilio", "TwilioKeyDetector"),
)  # fmt: skip
"""Of detect-secrets; what it knows beside them is in our own patterns, or flags every random-looking word."""


def scan_text_for_secrets(text: str, blob: Blob, scan: FileScan) -> None:
    """Look for secrets in a short text that stands in something else: metadata, a name, a description."""
    find_secrets(TextBlock(text, 1), blob, scan)


def find_secrets(block: TextBlock, blob: Blob, scan: FileScan) -> None:
    """Record the secrets of a block of text, each once."""
    seen = {finding.subject for finding in scan.findings if finding.rule.startswith("secret.")}
    found = _tokens(block)
    if blob.size_bytes <= MAX_KEYWORD_CHARS:
        found = _with_keywords(block, found)
    for kind, secret, rule, at in found:
        subject = f"{kind} {_short_hash(kind, secret)}"
        if subject in seen or len(seen) >= MAX_SECRETS:
            continue
        seen.add(subject)
        scan.add(blob, rule, f"what looks like a {kind.replace('-', ' ')}", subject=subject, line=block.line_of(at))


_Found = tuple[str, str, Rule, int]


def _tokens(block: TextBlock) -> Iterator[_Found]:
    text = block.text
    for pattern in _PATTERNS if has_long_word(text) else _PATTERNS_OF_WORDS:
        for at in _places(text, pattern.needles):
            match = _match(pattern, text, at)
            if match is None:
                continue
            secret = match[1] if pattern.regex.groups else match[0]
            if _entropy(secret) >= pattern.min_entropy and not _PLACEHOLDER.search(secret):
                is_word = pattern.before > 0 and secret.isalpha() and secret.islower()
                yield pattern.kind, secret, _WEAK if is_word else pattern.rule, match.start()


def _places(text: str, needles: Iterable[str]) -> Iterator[int]:
    for needle in needles:
        at = text.find(needle)
        while at >= 0:
            yield at
            at = text.find(needle, at + len(needle))


def _match(pattern: _Pattern, text: str, at: int) -> re.Match[str] | None:
    start = at
    while at - start < pattern.before and start > 0 and (text[start - 1].isalnum() or text[start - 1] in "+.-"):
        start -= 1
    return pattern.regex.match(text, start)


def _with_keywords(block: TextBlock, tokens: Iterator[_Found]) -> Iterator[_Found]:
    taken = []
    for found in tokens:
        taken.append(found[1])
        yield found
    lower = block.text.replace("\u0130", "I").lower()  # the one letter whose lower case is longer
    for at in islice(_places(lower, _WORDS), _MAX_WORDS):
        match = _KEYWORD.match(block.text, at)
        if match is None or any(match[1] in secret or secret in match[1] for secret in taken):
            continue
        if kind := _kind_by_plugins(_line_at(block.text, at)):
            yield kind, match[1], _STRONG, match.start()
        elif _looks_random(match[1]):
            yield "credential", match[1], _WEAK, match.start()


def _line_at(text: str, at: int) -> str:
    start, end = max(0, at - 500), min(len(text), at + 500)
    before, after = text.rfind("\n", start, at), text.find("\n", at, end)
    return text[max(start, before + 1) : end if after < 0 else after]


def _kind_by_plugins(line: str) -> str | None:
    for kind, plugin in _plugins():
        if any(not _PLACEHOLDER.search(secret) for secret in plugin.analyze_string(line)):
            return kind
    return None


class _Plugin(Protocol):
    """What we use of a plugin of detect-secrets."""

    def analyze_string(self, string: str) -> Iterator[str]: ...


@cache
def _plugins() -> tuple[tuple[str, _Plugin], ...]:
    made = []
    for module, name in _PLUGINS:
        plugin = getattr(import_module(f"detect_secrets.plugins.{module}"), name)()
        made.append((re.sub(r"[^a-z]+", "-", plugin.secret_type.lower()).strip("-"), plugin))
    return tuple(made)


def _looks_random(value: str) -> bool:
    """Whether a value beside a credential's name may be one: letters and digits mixed, hardly any repetition."""
    kinds = sum(bool(re.search(kind, value)) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    if len(value) < 16 or kinds < 2 or _PLACEHOLDER.search(value) or _NO_VALUE.search(value):
        return False
    return _entropy(value) >= (3.0 if re.fullmatch(r"[0-9a-fA-F]+", value) else 3.7)


def _entropy(text: str) -> float:
    """Shannon's, in bits a character."""
    counts = Counter(text).values()
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts)


def _short_hash(kind: str, secret: str) -> str:
    """Enough to tell two apart; too little to find one that a person chose."""
    return hashlib.sha256(f"{kind}\0{secret}".encode()).hexdigest()[:8]
