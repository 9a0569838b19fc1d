"""TensorFlow files written field by field, without TensorFlow: graphs, SavedModels, metadata and checkpoints."""

from __future__ import annotations

import json
import struct


def varint(value: int) -> bytes:
    """A number of seven bits a byte."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    """A number field."""
    return varint(field << 3) + varint(value)


def part(field: int, *content: bytes | str) -> bytes:
    """A field of bytes, text or messages one after another."""
    data = b"".join(item.encode() if isinstance(item, str) else item for item in content)
    return varint(field << 3 | 2) + varint(len(data)) + data


def node(operator: str, name: str = "n", **settings: str) -> bytes:
    """A NodeDef with text attributes."""
    attributes = [part(5, part(1, key), part(2, part(2, value))) for key, value in settings.items()]
    return part(1, name) + part(2, operator) + part(3, "input") + b"".join(attributes)


def function(name: str, *nodes: bytes) -> bytes:
    """A FunctionDef."""
    return part(1, part(1, name)) + b"".join(part(3, item) for item in nodes)


def a_graph(*nodes: bytes, functions: tuple[bytes, ...] = ()) -> bytes:
    """A GraphDef: a placeholder, the nodes, and a library."""
    library = part(2, *(part(1, item) for item in functions)) if functions else b""
    return b"".join(part(1, item) for item in (node("Placeholder", "x"), *nodes)) + library + part(4, number(1, 1846))


def a_saved_model(graph: bytes, *, assets: tuple[str, ...] = (), metadata: object = None) -> bytes:
    """A SavedModel with one MetaGraphDef."""
    files = b"".join(part(6, part(1, part(1, "t")), part(2, name)) for name in assets)
    user = part(7, part(1, part(4, part(1, "_tf_keras_layer"), part(3, json.dumps(metadata))))) if metadata else b""
    return number(1, 1) + part(2, part(1, part(4, "serve")), part(2, graph), files, user)


def a_meta_graph(graph: bytes) -> bytes:
    """A MetaGraphDef, with the operators it says it needs in front."""
    return part(1, part(2, part(1, part(1, "Placeholder")))) + part(2, graph)


def keras_metadata(config: object) -> bytes:
    """A `keras_metadata.pb`: the root and one layer."""
    root = part(3, "root") + part(4, "_tf_keras_network") + part(5, json.dumps({"name": "m"}))
    return part(1, root) + part(
        1, number(2, 1), part(3, "root.layer"), part(4, "_tf_keras_layer"), part(5, json.dumps(config))
    )


def a_checkpoint_index(*spans: tuple[int, int], shards: int = 1, tail: bytes = b"") -> bytes:
    """The index of a checkpoint with one tensor a span of (offset, size), all in the first data file."""
    entries = [(b"", number(1, shards) + part(3, number(1, 1)))]
    entries += [
        (f"t{at}".encode(), number(1, 1) + number(4, begin) + number(5, size)) for at, (begin, size) in enumerate(spans)
    ]
    data = _block(entries)
    meta_at = len(data)
    meta = _block([])
    index_at = meta_at + len(meta)
    index = _block([(b"~", varint(0) + varint(len(data) - 5))])
    handles = varint(meta_at) + varint(len(meta) - 5) + varint(index_at) + varint(len(index) - 5)
    return data + meta + index + tail + handles.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def _block(entries: list[tuple[bytes, bytes]]) -> bytes:
    rows = b"".join(varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in entries)
    return rows + struct.pack("<II", 0, 1) + b"\0" + bytes(4)
