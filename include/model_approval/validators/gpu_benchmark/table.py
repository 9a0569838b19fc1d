"""Every timed request as a row of a CSV, for expectations and for whoever wants to plot it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

from model_approval.domain.evidence import Attachment

LATENCIES = "latencies.csv"
MOST_ROWS = 20_000
"""About half a megabyte; what is more is thinned out evenly."""


def latency_table(streams: Mapping[str, Sequence[Sequence[float]]]) -> Attachment:
    """`latencies.csv` with the columns `stream`, `block` and `ms`.

    Args:
        streams: For each stream its blocks of latencies in milliseconds, in the order of asking.

    Returns:
        At most `MOST_ROWS` rows: of longer tables every n-th row of each stream, n the same for all.
    """
    total = sum(len(block) for blocks in streams.values() for block in blocks)
    step = -(-total // (MOST_ROWS - len(streams))) or 1
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["stream", "block", "ms"])
    for name, blocks in streams.items():
        writer.writerows(list(_rows(name, blocks))[::step])
    return Attachment(name=LATENCIES, media_type="text/csv", text=text.getvalue())


def _rows(name: str, blocks: Sequence[Sequence[float]]) -> Iterator[tuple[str, int, str]]:
    for number, block in enumerate(blocks):
        for took in block:
            yield name, number, f"{took:.6g}"
