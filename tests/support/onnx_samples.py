"""ONNX files for the scan: external data, functions, subgraphs, and bytes that no library would write."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.support.models import a_graph


def with_node(domain: str, operator: str, **attributes: int | str) -> bytes:
    """One operator of a domain."""
    node = helper.make_node(operator, ["x"], ["y"], domain=domain)
    node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    return a_graph([node], domains={domain: 1} if domain else None)


def with_external_data(*, field: str = "initializer", **entries: str) -> bytes:
    """A tensor of 64 bytes whose data is said to lie elsewhere, as initializer or as a constant's attribute."""
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "w0")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        weight.external_data.add(key=key, value=value)
    multiply = helper.make_node("MatMul", ["x", "w0"], ["y"])
    if field == "initializer":
        return a_graph([multiply], [weight])
    return a_graph([helper.make_node("Constant", [], ["w0"], value=weight), multiply])


def in_branch(node: onnx.NodeProto) -> bytes:
    """A node inside a branch of an `If` inside a `Loop`: where a search of the main graph does not look."""
    branch = helper.make_graph([node], "branch", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])])
    choice = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    loop = helper.make_graph([choice], "loop", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])])
    return a_graph([helper.make_node("Loop", ["", "x"], ["y"], body=loop)])


def with_function(domain: str, name: str, *, calls: onnx.NodeProto) -> bytes:
    """A model-local function and a node that uses it."""
    function = helper.make_function(domain, name, ["x"], ["y"], [calls], [helper.make_opsetid("", 17)])
    model = onnx.ModelProto.FromString(with_node(domain, name))
    model.functions.append(function)
    return bytes(model.SerializeToString())
