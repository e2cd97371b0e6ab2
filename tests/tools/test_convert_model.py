"""The tool that makes the face model: sides become free, weights become small, answers stay."""

import hashlib

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from drivers.camera_people.model_files import MODELS, read_model
from tools import convert_model

OUTPUTS = {"537": 1, "538": 2, "539": 2, "540": 10}


def original() -> onnx.ModelProto:
    """Return a network such as old exporters made: one size only, and its weights among the inputs."""
    rng = np.random.default_rng(1)
    weights = {"body": rng.normal(0, 0.1, (16, 3, 3, 3))}
    weights |= {f"w{name}": rng.normal(0, 0.1, (n, 16, 1, 1)) for name, n in OUTPUTS.items()}
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    inputs = {"input.1": [1, 3, 32, 32]} | {name: list(value.shape) for name, value in weights.items()}
    nodes = [helper.make_node("Conv", ["input.1", "body"], ["inner"], strides=[4, 4], pads=[1, 1, 1, 1])]
    nodes += [helper.make_node("Conv", ["inner", f"w{name}"], [name]) for name in OUTPUTS]
    graph = helper.make_graph(
        nodes,
        "old",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, n, 8, 8]) for name, n in OUTPUTS.items()],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def answers(model: onnx.ModelProto, picture: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(list(OUTPUTS), {"input.1": picture})


def test_sides_are_free_and_answers_stay() -> None:
    picture = np.random.default_rng(2).random((1, 3, 32, 32), dtype=np.float32)
    before = answers(original(), picture)
    made = convert_model.convert(original())
    for old, new in zip(before, answers(made, picture), strict=True):
        assert np.allclose(old, new, atol=2e-3)
    assert [out.shape[2:] for out in answers(made, np.zeros((1, 3, 64, 96), np.float32))] == [(16, 24)] * 4
    assert [value.name for value in made.graph.input] == ["input.1"]
    kinds = {tensor.name: tensor.data_type for tensor in made.graph.initializer}
    assert kinds["body__f16"] == TensorProto.FLOAT16
    assert kinds["w537"] == TensorProto.FLOAT  # too small to gain anything


def test_the_same_input_gives_the_same_bytes() -> None:
    first, second = (convert_model.convert(original()).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_another_network_is_refused() -> None:
    other = original()
    other.graph.output[0].name = "x"
    with pytest.raises(ValueError, match="540, x, not 537"):
        convert_model.convert(other)


def test_only_the_known_file_is_converted(tmp_path, capsys) -> None:
    path = tmp_path / "centerface.onnx"
    path.write_bytes(original().SerializeToString())
    assert convert_model.main([str(path), str(tmp_path / "out.onnx")]) == 1
    assert "is not the known file" in capsys.readouterr().out
    assert not (tmp_path / "out.onnx").exists()


def test_what_it_makes_has_the_shape_of_the_shipped_file(tmp_path, monkeypatch, capsys) -> None:
    path, result = tmp_path / "o.onnx", tmp_path / "out.onnx"
    path.write_bytes(original().SerializeToString())
    monkeypatch.setattr(convert_model, "ORIGINAL", hashlib.sha256(path.read_bytes()).hexdigest())
    assert convert_model.main([str(path), str(result)]) == 0
    assert hashlib.sha256(result.read_bytes()).hexdigest() in capsys.readouterr().out
    shipped, made = onnx.load_from_string(read_model(MODELS["centerface"])), onnx.load(result)
    for model in (shipped, made):
        assert [value.name for value in model.graph.input] == ["input.1"]
        assert [dim.dim_param for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]] == ["H", "W"]
        assert any(tensor.data_type == TensorProto.FLOAT16 for tensor in model.graph.initializer)
