"""Great Expectations: in memory, no project folder, no telemetry. Sole importer of the library."""

from model_approval.adapters.expectations.profiler import GreatExpectationsProfiler

__all__ = ["GreatExpectationsProfiler"]
