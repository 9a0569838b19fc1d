"""Limits on how much of a hostile file is looked at one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from model_approval.validators.security_scan.scan import Uncovered

T = TypeVar("T")
MAX_ITEMS = 4_000_000
"""Python steps over about a million in a second or two; honest models of these formats have some hundred thousand."""


def at_most(items: Iterable[T], what: str, limit: int = MAX_ITEMS) -> Iterator[T]:
    """Pass items on. Raises Uncovered at the first that is too many."""
    for count, item in enumerate(items):
        if count >= limit:
            raise Uncovered(f"more than {limit} {what}")
        yield item
