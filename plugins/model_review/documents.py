"""Documents of an artifact: read by pinned digest, verified, bounded, shown as text. Nothing in them ever runs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markupsafe import Markup

from model_approval.domain.errors import IntegrityError, NotFoundError
from model_approval.domain.promotion import Document, Promotion
from model_approval.ports import Services
from model_review import words

MAX_SHOWN_BYTES = 512 * 1024
"""Longer than any model card we met; a larger file is named with its size instead of being read."""
_MARKDOWN_SUFFIXES = (".md", ".markdown")

# No HTML, links or images: a document is written by the people under review, and a link in it would open inside the
# Airflow frame, where a page that asks for a password looks like Airflow.
_MARKDOWN = (
    MarkdownIt("commonmark", {"html": False, "typographer": False})
    .enable("table")
    .disable(["link", "image", "autolink", "html_inline", "html_block", "reference"])
)


@dataclass(frozen=True)
class DocumentPage:
    """A document, ready to be shown."""

    document: Document
    text: str
    html: Markup | None
    """Rendered Markdown; None when it is shown as plain text."""
    too_large: bool


def read_document(services: Services, promotion: Promotion, kind: str) -> DocumentPage:
    """Fetch one document of a request and compare it with what intake pinned.

    Raises:
        NotFoundError: The request has no document of this kind.
        IntegrityError: The bytes are not the pinned ones.
        OutsideSystemError: The store cannot be reached.
    """
    candidate = promotion.candidate
    document = next((item for item in candidate.documents if item.kind == kind), None) if candidate else None
    if candidate is None or document is None:
        raise NotFoundError(f"{promotion.id} has no document {kind!r}")
    if document.size_bytes > MAX_SHOWN_BYTES:
        return DocumentPage(document, text="", html=None, too_large=True)
    data = services.artifacts.read(candidate.artifact_uri, document.path, limit_bytes=MAX_SHOWN_BYTES)
    found = hashlib.sha256(data).hexdigest()
    if found != document.sha256:
        raise IntegrityError(
            f"{document.path} is not what intake pinned: sha256:{document.sha256}, now sha256:{found}",
            hint="do not decide on this request; ask the requester what happened to the artifact",
        )
    text = words.visible(data.decode("utf-8-sig", errors="replace"))
    is_markdown = document.path.lower().endswith(_MARKDOWN_SUFFIXES)
    # The renderer escapes every character of the source; only tags of its own remain.
    html = Markup(_MARKDOWN.render(text)) if is_markdown else None  # noqa: S704
    return DocumentPage(document, text=text, html=html, too_large=False)
