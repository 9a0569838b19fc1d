"""NumPy's `.npy`: a header in Python literal syntax, then raw numbers, or a pickle when the array holds objects."""

from __future__ import annotations

import math
from tokenize import TokenError

from model_approval.domain.evidence import Severity
from model_approval.validators.security_scan.pickles import scan_pickles
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered

_OBJECTS = Rule("npy.objects", Severity.MEDIUM, "save it as a plain numeric array")
_MAX_HEADER_BYTES = 10_000
"""NumPy's own limit for headers that are not trusted."""


class NumpyScanner:
    """Scans `npy`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Read the header, then account for every byte after it. Raises Uncovered for a wrong length."""
        from numpy.lib import format as npy

        blob.stream.seek(0)
        version = npy.read_magic(blob.stream)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise Uncovered(f"npy version {version} is not known")
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        try:
            shape, _, dtype = read_header(blob.stream, max_header_size=_MAX_HEADER_BYTES)
        except (SyntaxError, TokenError, MemoryError) as err:  # Python's own parser reads the header
            raise Uncovered(f"a damaged header: {type(err).__name__}") from err
        start = blob.stream.tell()
        if dtype.hasobject:
            scan.add(blob, _OBJECTS, "the array holds Python objects, so loading it unpickles")
            scan_pickles(blob, scan, start=start)
            return
        expected = start + math.prod(shape) * dtype.itemsize
        if blob.size_bytes != expected:
            raise Uncovered(f"{blob.size_bytes} bytes where the header promises {expected}")
