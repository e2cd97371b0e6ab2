"""Small synthetic networks with CenterFace's inputs and outputs: a red pixel block is a face of a known size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from drivers.camera_people.worker.session import Sessions

if TYPE_CHECKING:
    import onnxruntime as ort

SESSIONS = Sessions()
"""One for all tests of a process, as in a worker: the arena is registered once."""
OUTPUTS = {"537": 1, "538": 2, "539": 2, "540": 10}


def network(*, fault: str | None = None, scale: float = 1.5) -> bytes:
    """Return a model: heat is red over 4x4 px; a face is exp(`scale`)*4 px wide. `fault`: nan, score or size."""
    weights = {
        "heat_w": np.array([[[[1 / 255]], [[0]], [[0]]]], np.float32),
        "scale_w": np.zeros((2, 3, 1, 1), np.float32),
        "scale_b": np.full(2, 1000.0 if fault == "size" else scale, np.float32),
        "offset_w": np.zeros((2, 3, 1, 1), np.float32),
        "marks_w": np.zeros((10, 3, 1, 1), np.float32),
        "shift": np.array({"nan": -np.inf, "score": 2.0}.get(fault or "", 0.0), np.float32),
    }
    nodes = [
        helper.make_node("AveragePool", ["input.1"], ["small"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Conv", ["small", "heat_w"], ["heat"]),
        helper.make_node("Sub" if fault == "nan" else "Add", ["heat", "shift"], ["moved"]),
        # inf - inf is no number
        helper.make_node(*(("Sub", ["moved", "moved"]) if fault == "nan" else ("Identity", ["moved"])), ["537"]),
        helper.make_node("Conv", ["small", "scale_w", "scale_b"], ["538"]),
        helper.make_node("Conv", ["small", "offset_w"], ["539"]),
        helper.make_node("Conv", ["small", "marks_w"], ["540"]),
    ]
    graph = helper.make_graph(
        nodes,
        "faces",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, "H", "W"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, n, "h", "w"]) for name, n in OUTPUTS.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return model.SerializeToString()


def session(**options: str | float) -> ort.InferenceSession:
    """Return a session of a `network`, opened as the worker opens its own."""
    return SESSIONS.open(network(**options))


def picture(*faces: tuple[int, int], width: int = 128, height: int = 96) -> np.ndarray:
    """Return a grey BGR picture with a red block of 4x4 px at each (x, y)."""
    made = np.full((height, width, 3), (90, 90, 60), np.uint8)
    made[:, width // 2 :] = (150, 150, 60)  # an even surface would be a covered lens
    for x, y in faces:
        made[y : y + 4, x : x + 4] = (0, 0, 255)
    return made
