"""Keys and values of configurations that make a loader run code, fetch code, or reach out of the artifact."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from model_approval.domain.evidence import Severity
from model_approval.validators.contract import plain_line
from model_approval.validators.security_scan.call_targets import Standing, standing_of
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule

_ADVICE = "remove it; the model must load without code from the artifact"
OBJECTS = Rule("config.objects", Severity.CRITICAL, _ADVICE)
CODE = Rule("config.code", Severity.HIGH, _ADVICE)
REMOTE = Rule("config.remote", Severity.MEDIUM, "put what is needed into the artifact")
_RUNS = Rule("config.target", Severity.CRITICAL, _ADVICE)
_TARGET = Rule("config.target-unlisted", Severity.MEDIUM, "check what calling that name with these values does")
_EXPRESSION = Rule("config.expression", Severity.HIGH, "replace the expression by its value")
_COMMAND = Rule("config.command", Severity.HIGH, "remove it; programs are configured where they are deployed")
_PATH = Rule("config.path", Severity.HIGH, "name files inside of the artifact, relative to it")
_BASE_MODEL = Rule("config.base-model", Severity.INFO, "promote the base model as well, and pin its revision")

CODE_KEYS = frozenset(
    {
        "auto_map", "custom_pipelines", "custom_pipeline", "py/object", "py/reduce", "py/function", "py/type",
        "py/class", "py/newargs", "py/newargsex", "py/initargs", "py/repr", "py/set_state", "__reduce__",
        "__reduce_ex__",
    }
)  # fmt: skip
TRUE_MEANS_CODE = frozenset(
    {
        "trust_remote_code",
        "use_remote_code",
        "allow_pickle",
        "trust_repo",
        "allow_dangerous_deserialization",
        "install_py_dep_per_model",
    }
)
TARGET_KEYS = frozenset({"_target_", "_partial_target_", "_name_or_target_", "class_path", "callable_path"})
_COMMAND_KEYS = frozenset({"preinstall", "postinstall", "preload_script", "startup_script", "entrypoint_script"})
_URL = re.compile(r"^(https?|ftp|s3|gs|hf|git\+\w+|ssh|smb|file)://|^\\\\\w", re.IGNORECASE)
_FETCHED = re.compile(r"weight|checkpoint|download|repo|pretrained|code|script|plugin|source|paths$", re.IGNORECASE)
_SPOKEN_OF = re.compile(r"homepage|docs|documentation|licen|paper|citation|reference|issue|website", re.IGNORECASE)
_RUNS_CODE = re.compile(
    r"__import__\s*\(|\b(?:os|posix|nt)\.(?:system|popen|exec[lv]\w*|spawn\w+)\b|\bsubprocess\.\w+\s*\(|\bpty\.spawn\b"
    r"|\beval\s*\(\s*compile\s*\(|\bexec\s*\(\s*(?:base64|bytes|open|compile|__import__|zlib|codecs|urllib|requests)"
    r"|__(?:subclasses|globals|builtins|mro)__\b|\bimportlib\.import_module\b"
)
_EVALUATED = re.compile(r"^\s*(?:lambda\b[^\n:]{0,80}:|(?:eval|exec|compile|getattr)\s*\()")
_OUTSIDE = re.compile(r"(?:^|[\\/])\.\.(?:[\\/]|$)|^[\\/]|^~|^[A-Za-z]:[\\/]")
_SYSTEM_FILE = re.compile(
    r"(?:\.\.[\\/])+(?:etc|proc|root|home|usr|var|tmp|dev|windows)[\\/]|^/etc/(?:passwd|shadow|ssh|cron)|^/proc/self/",
    re.IGNORECASE,
)
_LOADED = frozenset({"weight_map", "weightsManifest", "external_data", "weights_files"})
"""Below these keys stand names of files that are loaded. Elsewhere paths of the machine where a model was trained are
common and mean nothing."""
KEYS = CODE_KEYS | TRUE_MEANS_CODE | TARGET_KEYS | _COMMAND_KEYS | {"command", "base_model_name_or_path"}
"""Keys whose values are judged whatever they are."""
WORTH = re.compile(r"://|\.\.[\\/]|\(|__|\\\\|^[/~]|\blambda\b|--trust|\b(?:os|posix|nt|pty|importlib)\.")
"""What stands in every text that is judged under any key."""
_REMOTE_CODE_OPTION = re.compile(r"^[^\n]{0,500}--trust[-_]remote[-_]code\b(?!=?\s*false)", re.IGNORECASE)
_MAX_EXPRESSION_CHARS = 4_000
"""A longer value is prose or data, in which code may be quoted."""


@dataclass(frozen=True)
class Trouble:
    """One thing in a configuration."""

    rule: Rule
    message: str
    subject: str
    unknown: str = ""
    """What could not be judged, which leaves the file not covered."""


def record(troubles: Iterator[Trouble], blob: Blob, scan: FileScan, *, line: int | None = None) -> None:
    """Add troubles to a scan, those about the same thing once."""
    inner = plain_line(blob.inner, limit=1000)
    for trouble in troubles:
        subject = plain_line(trouble.subject, limit=300)
        about = (trouble.rule.id, inner, subject)
        if about not in ((finding.rule, finding.inner, finding.subject) for finding in scan.findings):
            scan.add(blob, trouble.rule, trouble.message, subject=subject, line=line)
        if trouble.unknown:
            scan.gap(trouble.unknown)


def judge(path: tuple[str, ...], value: object) -> Iterator[Trouble]:
    """Judge one value.

    Args:
        path: Keys from the top, positions in lists as digits.
        value: A scalar, or a list or mapping, whose parts are judged apart.
    """
    key = path[-1] if path else ""
    if key in CODE_KEYS and value not in (None, "", [], {}):
        yield Trouble(CODE, code_message(key), key)
    if key in TRUE_MEANS_CODE and value not in (None, False, "false", "False", "no", "off", "null", "~", ""):
        yield Trouble(CODE, code_message(key), key)
    is_started = path[:1] == ("entry_points",) or any("mcp" in part.lower() or part == "hooks" for part in path)
    if key in _COMMAND_KEYS or (key == "command" and is_started):
        yield Trouble(_COMMAND, f"the configuration has a program started under {'.'.join(path)!r}", ".".join(path))
    if isinstance(value, str) and value:
        key = next((part for part in reversed(path) if not part.isdigit()), "")
        yield from _judge_text(key, value, is_loaded=not _LOADED.isdisjoint(path))


def code_message(key: str) -> str:
    """What is wrong with a key by which loaders run code."""
    return (
        f"the configuration says {key.strip()!r}, which makes loaders run code that comes with the model or from afar"
    )


def _judge_text(key: str, value: str, *, is_loaded: bool) -> Iterator[Trouble]:
    shown = plain_line(value, limit=200)
    if key in TARGET_KEYS:
        yield from judge_target(value.strip())
    if _URL.match(value) and _FETCHED.search(key) and not _SPOKEN_OF.search(key):
        yield Trouble(REMOTE, f"the configuration names {shown!r} under {key!r}: a loader may fetch from there", shown)
    elif len(value) < 1000 and (_SYSTEM_FILE.search(value) or (is_loaded and _OUTSIDE.search(value))):
        yield Trouble(_PATH, f"{key!r} names {shown!r}, which lies outside of the artifact", f"{key} {shown}")
    if _REMOTE_CODE_OPTION.search(value):
        yield Trouble(CODE, code_message("--trust-remote-code"), "--trust-remote-code")
    if key == "base_model_name_or_path":
        yield Trouble(_BASE_MODEL, f"it changes the model {shown!r}, which is not part of this artifact", shown)
    if len(value) <= _MAX_EXPRESSION_CHARS and key not in ("chat_template", "template"):
        yield from _judge_expression(key, value)


def _judge_expression(key: str, value: str) -> Iterator[Trouble]:
    if match := _RUNS_CODE.search(value) or _EVALUATED.match(value):
        message = f"the value of {key!r} is Python code ({plain_line(match[0], limit=80)}), which a loader may evaluate"
        yield Trouble(_EXPRESSION, message, f"{key} {match[0].strip()}")


def judge_target(target: str) -> Iterator[Trouble]:
    """Judge a dotted name that a loader imports and calls, as Hydra does."""
    standing = standing_of(target)
    if standing is Standing.DANGEROUS:
        yield Trouble(_RUNS, f"the loader is told to call {target!r}, which reads files or runs code", target)
    elif standing is Standing.UNKNOWN:
        message = f"the loader is told to import and call {target!r}, which we do not know"
        yield Trouble(_TARGET, message, target, unknown=f"what {plain_line(target, limit=100)!r} does is not known")
