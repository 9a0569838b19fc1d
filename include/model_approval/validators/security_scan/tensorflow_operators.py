"""Which of TensorFlow's operators run code, or reach files and networks, when a graph is executed."""

from __future__ import annotations

import re

from model_approval.domain.evidence import Severity
from model_approval.validators.security_scan.known_names import known_names
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule

_ADVICE = "export the model's inference function alone, without reading, writing or calling Python"
_CODE = Rule("tensorflow.code", Severity.CRITICAL, _ADVICE)
_WRITES = Rule("tensorflow.writes-files", Severity.CRITICAL, _ADVICE)
_READS = Rule("tensorflow.reads-files", Severity.HIGH, _ADVICE)
_NETWORK = Rule("tensorflow.network", Severity.HIGH, _ADVICE)
_UNLISTED = Rule("tensorflow.unlisted-operator", Severity.MEDIUM, "look up which library registers that operator")

_CALLS_PYTHON = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc", "_EagerPyFunc", "GeneratorDataset"})
_WRITERS = frozenset(
    {
        "WriteFile", "SaveDataset", "SaveDatasetV2", "CreateSummaryFileWriter", "CreateSummaryDbWriter", "ImportEvent",
        "DatasetToTFRecord", "ExperimentalDatasetToTFRecord", "SnapshotDataset", "SnapshotDatasetV2", "DebugIdentityV2",
        "DebugIdentityV3", "WriteGraphSummary", "FileSystemSetConfiguration", "WriteSummary", "WriteScalarSummary",
        "WriteImageSummary", "WriteAudioSummary", "WriteHistogramSummary", "WriteRawProtoSummary",
    }
)  # fmt: skip
_READERS = frozenset(
    {
        "ReadFile", "MatchingFiles", "MatchingFilesDataset", "ExperimentalMatchingFilesDataset", "ImmutableConst",
        "WholeFileReader", "WholeFileReaderV2", "TextLineReader", "TextLineReaderV2", "FixedLengthRecordReader",
        "FixedLengthRecordReaderV2", "TFRecordReader", "TFRecordReaderV2", "LMDBReader", "LMDBDataset",
        "ExperimentalLMDBDataset", "TextLineDataset", "TFRecordDataset", "TFRecordDatasetV2",
        "FixedLengthRecordDataset", "FixedLengthRecordDatasetV2", "SqlDataset", "ExperimentalSqlDataset",
        "CSVDataset", "CSVDatasetV2",
        "ExperimentalCSVDataset", "LoadDataset", "LoadAndRemapMatrix", "GenerateVocabRemapping",
        "ReaderRead", "ReaderReadV2", "ReaderReadUpTo", "ReaderReadUpToV2",
        "DatasetFromGraph", "SnapshotDatasetReader", "SnapshotNestedDatasetReader",
    }
)  # fmt: skip
_CALLERS = frozenset(
    {
        "RpcCall", "RpcClient", "RpcServer", "RpcServerRegister", "RpcServerStart", "DataServiceDataset",
        "DataServiceDatasetV2", "DataServiceDatasetV3", "DataServiceDatasetV4", "RegisterDataset", "RegisterDatasetV2",
        "BigQueryReader", "GcsConfigureCredentials", "GcsConfigureBlockCache", "CollectiveInitializeCommunicator",
    }
)  # fmt: skip
_CACHES = frozenset({"CacheDataset", "CacheDatasetV2"})
"""They keep data in memory, or in a file where they are given a name for it, which running the graph would show."""
_SUSPICIOUS = re.compile(
    r"(shell|exec(ute)?(command|shell|program)?$|spawn|popen|system$|loadlibrary|pyfunc)", re.IGNORECASE
)
_GRAVE = (
    (_CALLS_PYTHON, _CODE, "calls Python code of the serving process"),
    (_WRITERS, _WRITES, "writes files or changes how they are reached"),
    (_READERS, _READS, "reads any file that the serving process can read"),
    (_CALLERS, _NETWORK, "opens network connections"),
)


def judge_operator(blob: Blob, scan: FileScan, name: str, *, offset: int | None, functions: frozenset[str]) -> None:
    """Record what there is to say about one operator.

    Args:
        blob: The graph.
        scan: Takes findings and gaps.
        name: The operator.
        offset: Where it stands in the blob.
        functions: Names that the graph defines itself.
    """
    for names, rule, what in _GRAVE:
        if name in names:
            scan.add(blob, rule, f"the operator {name} {what}", subject=name, offset=offset)
            return
    if name in _CACHES:
        scan.gap(f"whether the operator {name} writes a file")
    if name in known_names("tensorflow_operators") or name in functions:
        return
    if _SUSPICIOUS.search(name):
        message = f"the operator {name} is none of TensorFlow's, and by its name runs programs"
        scan.add(blob, _CODE, message, subject=name, offset=offset)
        return
    message = f"the operator {name} is none of TensorFlow's: native code of another library runs it"
    scan.add(blob, _UNLISTED, message, subject=name, offset=offset)
    scan.gap(f"what the operator {name[:100]} does is not known")


def judge_setting(blob: Blob, scan: FileScan, operator: str, value: str, *, offset: int | None) -> None:
    """Record a text setting that makes an otherwise harmless operator write or connect."""
    if operator in ("DecodeProtoV2", "EncodeProto"):
        if value.startswith(("/", "../", "file:")):
            scan.add(blob, _READS, f"{operator} reads {value[:200]!r}", subject=f"{operator} {value}", offset=offset)
    elif value.startswith("file:"):
        scan.add(blob, _WRITES, f"{operator} writes to {value[:200]!r}", subject=f"{operator} {value}", offset=offset)
    elif value.startswith(("grpc:", "http:", "https:")):
        scan.add(blob, _NETWORK, f"{operator} sends to {value[:200]!r}", subject=f"{operator} {value}", offset=offset)
