"""The messages of TensorFlow's model files, as far as operators, assets and Keras metadata are in them.

Field numbers from `saved_model.proto`, `meta_graph.proto`, `graph.proto`, `node_def.proto`, `attr_value.proto`,
`function.proto`, `saved_object_graph.proto` and `saved_metadata.proto` of TensorFlow 2.21.
"""

from __future__ import annotations

from model_approval.validators.security_scan.protobuf_wire import Schema, Spec

_NUMBER, _BYTES, _TEXT = Spec("number"), Spec("bytes"), Spec("text")
_MANY_BYTES = Spec("bytes", repeated=True)


def _many(message: str) -> Spec:
    return Spec(message, repeated=True)


SCHEMA: Schema = {
    "SavedModel": {1: _NUMBER, 2: _many("MetaGraph")},
    "MetaGraph": {
        1: _BYTES, 2: Spec("Graph"), 3: _BYTES, 4: _MANY_BYTES, 5: _MANY_BYTES, 6: _many("Asset"), 7: Spec("Objects"),
    },
    "Asset": {1: _BYTES, 2: _TEXT},
    "Graph": {1: _many("Node"), 2: Spec("Library"), 3: _NUMBER, 4: _BYTES, 5: _BYTES},
    "Node": {1: _BYTES, 2: _TEXT, 3: _MANY_BYTES, 4: _BYTES, 5: _many("Attribute"), 6: _BYTES, 7: _BYTES},
    "Attribute": {1: _TEXT, 2: Spec("Value")},
    "Value": {
        1: Spec("List"), 2: Spec("head"), 3: _NUMBER, 4: _NUMBER, 5: _NUMBER, 6: _NUMBER, 7: _BYTES, 8: _BYTES,
        9: _BYTES, 10: _BYTES,
    },
    "List": {
        2: Spec("head", repeated=True), 3: Spec("scalars", repeated=True), 4: Spec("scalars", repeated=True),
        5: Spec("scalars", repeated=True), 6: Spec("scalars", repeated=True), 7: _MANY_BYTES, 8: _MANY_BYTES,
        9: _MANY_BYTES,
    },
    "Library": {1: _many("Function"), 2: _MANY_BYTES, 3: _MANY_BYTES},
    "Function": {
        1: Spec("Signature"), 3: _many("Node"), 4: _MANY_BYTES, 5: _MANY_BYTES, 6: _MANY_BYTES, 7: _MANY_BYTES,
        8: _MANY_BYTES,
    },
    "Signature": {
        1: _TEXT, 2: _MANY_BYTES, 3: _MANY_BYTES, 4: _MANY_BYTES, 5: _BYTES, 6: _BYTES, 8: _BYTES, 16: _NUMBER,
        17: _NUMBER, 18: _NUMBER, 19: _NUMBER, 20: _MANY_BYTES, 21: _NUMBER,
    },
    "Objects": {1: _many("Object"), 2: _MANY_BYTES},
    "Object": {
        1: _MANY_BYTES, 3: _MANY_BYTES, 4: Spec("UserObject"), 5: _BYTES, 6: _BYTES, 7: _BYTES, 8: _BYTES, 9: _BYTES,
        10: _BYTES, 11: _MANY_BYTES, 12: _BYTES, 13: _TEXT, 14: _BYTES, 15: _MANY_BYTES, 16: _BYTES,
    },
    "UserObject": {1: _TEXT, 2: _BYTES, 3: _TEXT},
    "KerasMetadata": {1: _many("KerasObject")},
    "KerasObject": {2: _NUMBER, 3: _TEXT, 4: _TEXT, 5: _TEXT, 6: _BYTES},
}  # fmt: skip
"""`bytes` are names, shapes, constants and signatures, in which nothing runs."""
