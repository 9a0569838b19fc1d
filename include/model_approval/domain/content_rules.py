"""Findings whose subject does not say what would run: they are bound to the bytes of the file.

A fingerprint is made of rule, file, place and subject. For most rules that is what was judged: an imported name, an
operator, a key of a configuration. For these it is not: two Keras Lambdas or two scripts of one name may do anything.
So an acceptance of one must not carry over to other bytes, and the file's digest becomes part of the subject.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from model_approval.domain.evidence import Finding, Severity

CONTENT_RULES = frozenset(
    {
        # Programs and scripts: the subject is a language, a file's kind or a line's beginning.
        "code.dangerous", "code.shell", "folder.code", "folder.disguised", "folder.path-code", "folder.read-by-tools",
        "folder.run-by-tools", "folder.shadow", "format.holds-code", "keras.lambda", "keras.file",
        "keras.loading-layer", "mlflow.code", "mlflow.model-from-code", "mlflow.python-model", "r.code", "r.formula",
        "r.promise", "torchscript.python", "tensorflow.code",
        # Programs within configurations, templates and documents: the subject is a key, or the code's beginning.
        "config.command", "config.expression", "config.objects", "document.active", "template.built-name",
        "template.call", "template.costly", "template.escape", "template.include", "template.unlisted-call",
        "xml.entity", "xml.objects", "xml.script",
        # Pickles that put together what they call, and those inside of other formats.
        "arrow.pickled-type", "msgpack.objects", "npy.objects", "pickle.call-by-state", "pickle.changed-import",
        "pickle.computed-call", "pickle.extension", "pickle.frame", "pickle.import-untold",
        "pickle.program-in-state", "pickle.two-readings", "skops.clash", "skops.method", "skops.operator",
        "skops.program-in-state",
        # Bytes that nobody judged: the subject is a place or a size.
        "archive.case", "archive.checksum", "archive.clash", "archive.duplicate", "archive.hidden-data",
        "archive.polyglot", "file.hidden-data", "hdf5.user-block", "text.formula", "text.markup", "text.payload",
        # What another scanner says of a file: a sentence of its own.
        "modelaudit.*",
    }
)  # fmt: skip
_MAX_SUBJECT_CHARS = 300
_DIGEST_CHARS = 16


def bind_to_content(findings: Iterable[Finding], digests: Mapping[str, str]) -> Iterator[Finding]:
    """Add the file's digest to the subject of each grave finding of these rules.

    Args:
        findings: What was found.
        digests: SHA-256 in hexadecimal of each file by its path.
    """
    for finding in findings:
        digest = digests.get(finding.file)
        if digest is None or not _is_about_content(finding.rule) or finding.severity.rank < Severity.HIGH.rank:
            yield finding
            continue
        suffix = f" (sha256:{digest[:_DIGEST_CHARS]})"
        subject = (finding.subject[: _MAX_SUBJECT_CHARS - len(suffix)] + suffix).strip()
        yield finding.model_copy(update={"subject": subject})


def _is_about_content(rule: str) -> bool:
    return rule in CONTENT_RULES or f"{rule.partition('.')[0]}.*" in CONTENT_RULES
