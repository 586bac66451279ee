"""Writes operators.json: small ONNX models with inputs and the outputs of ONNX Runtime.

A development tool, not part of the tests: pip install numpy onnx onnxruntime scikit-learn skl2onnx
"""
import base64
import json
import pathlib

import numpy as np
import onnxruntime
from onnx import TensorProto as T, helper as h, numpy_helper

random = np.random.default_rng(7)
here = pathlib.Path(__file__).parent
cases = []


def floats(values):
    """Shortest texts of Float32; null stands for NaN."""
    return [None if np.isnan(x) else float(str(x)) for x in values.astype(np.float32).reshape(-1)]


def add(name, model, rows):
    data = model if isinstance(model, bytes) else model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    rows = rows.astype(np.float32)
    results = session.run(None, {session.get_inputs()[0].name: rows})
    outputs = []
    for meta, value in zip(session.get_outputs(), results):
        if isinstance(value, list):  # ZipMap: a list of maps
            value = np.array([list(row.values()) for row in value], dtype=np.float32)
        if value.dtype.kind in "US" or value.dtype == object:
            outputs.append({"name": meta.name, "texts": [str(x) for x in value.reshape(-1)]})
        elif value.dtype.kind == "f":
            outputs.append({"name": meta.name, "floats": floats(value)})
        else:
            outputs.append({"name": meta.name, "integers": [int(x) for x in value.reshape(-1)]})
    cases.append({
        "name": name, "model": base64.b64encode(data).decode(), "rows": len(rows),
        "input": floats(rows), "outputs": outputs,
    })


def case(name, nodes, row=(4,), constants={}, outputs=None, opset=17, rows=None, ml=None):
    n = 5
    x = random.normal(size=(n, *row)) * 2 if rows is None else rows
    outputs = outputs or [("y", T.FLOAT)]
    graph = h.make_graph(
        nodes, name, [h.make_tensor_value_info("x", T.FLOAT, ["N", *row])],
        [h.make_tensor_value_info(o, t, None) for o, t in outputs],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()])
    imports = [h.make_opsetid("", opset)] + ([h.make_opsetid("ai.onnx.ml", ml)] if ml else [])
    add(name, h.make_model(graph, opset_imports=imports, ir_version=8), x)


def f(*shape):
    return random.normal(size=shape).astype(np.float32)


n = h.make_node
for op in ["Relu", "Sigmoid", "Tanh", "Exp", "Abs", "Neg", "Identity", "Reciprocal"]:
    case(op, [n(op, ["x"], ["y"])])
case("Log, Sqrt", [n("Abs", ["x"], ["a"]), n("Sqrt", ["a"], ["s"]), n("Log", ["s"], ["y"])])
case("LeakyRelu", [n("LeakyRelu", ["x"], ["y"], alpha=0.2)])
case("Elu", [n("Elu", ["x"], ["y"], alpha=0.7)])
case("Clip, opset 6 attributes", [n("Clip", ["x"], ["y"], min=-0.5, max=1.0)], opset=9)
case("Clip, opset 11 inputs", [n("Clip", ["x", "lo", ""], ["y"])], constants={"lo": np.float32(-0.25)}, opset=11)
case("sigmoid and tanh far out", [n("Sigmoid", ["x"], ["s"]), n("Tanh", ["x"], ["t"]), n("Add", ["s", "t"], ["y"])],
     rows=np.array([[-200, -90, -10, -1], [-0.6, -1e-3, -1e-6, 0], [1e-6, 1e-3, 0.6, 0.7], [1, 9, 90, 200]]))
for op in ["Add", "Sub", "Mul", "Div", "Max", "Min"]:
    case(f"{op} row", [n(op, ["x", "c"], ["y"])], constants={"c": f(4)})
    case(f"{op} row on the left", [n(op, ["c", "x"], ["y"])], constants={"c": f(1, 4)})
    case(f"{op} scalar", [n(op, ["x", "c"], ["y"])], constants={"c": np.float32(1.5)})
    case(f"{op} of the batch", [n("Sigmoid", ["x"], ["s"]), n(op, ["x", "s"], ["y"])])
    case(f"{op} with itself", [n("Sigmoid", ["x"], ["s"]), n(op, ["s", "s"], ["y"])])
case("Pow 2", [n("Pow", ["x", "c"], ["y"])], constants={"c": np.float32(2)})
case("Pow row", [n("Abs", ["x"], ["a"]), n("Pow", ["a", "c"], ["y"])], constants={"c": f(4)})
case("Max of three", [n("Max", ["x", "c", "d"], ["y"])], constants={"c": f(4), "d": f(1)})
case("Sum of four", [n("Tanh", ["x"], ["t"]), n("Sum", ["x", "t", "c", "t"], ["y"])], constants={"c": f(4)})
case("broadcast [N,1,4] + [3,4]", [n("Add", ["x", "c"], ["y"])], row=(1, 4), constants={"c": f(3, 4)})
case("broadcast [N,3,1] * [4]", [n("Mul", ["x", "c"], ["y"])], row=(3, 1), constants={"c": f(4)})
case("broadcast [N,3,1] - [N,3,4]", [n("Exp", ["x"], ["e"]), n("Add", ["e", "c"], ["w"]), n("Sub", ["e", "w"], ["y"])],
     row=(3, 1), constants={"c": f(4)})
case("broadcast [N,4,4] / [N,1,4]",
     [n("Transpose", ["x"], ["t"], perm=[0, 1, 2]), n("MatMul", ["t", "m"], ["p"]), n("Exp", ["p"], ["e"]),
      n("Transpose", ["e"], ["r"], perm=[0, 2, 1]), n("Div", ["x", "r"], ["y"])], row=(4, 4), constants={"m": f(4, 1)})
case("constants folded", [n("Constant", [], ["k"], value=numpy_helper.from_array(f(4, 1))), n("Transpose", ["k"], ["kt"]),
     n("Mul", ["kt", "c"], ["m"]), n("Neg", ["m"], ["g"]), n("Add", ["x", "g"], ["y"])], constants={"c": np.float32(3)})
case("double constant cast", [n("Cast", ["c"], ["k"], to=T.FLOAT), n("Mul", ["x", "k"], ["y"])],
     constants={"c": np.array([0.5, 1.5, 2.5, 3.5])})
case("Gemm", [n("Gemm", ["x", "w", "b"], ["y"], alpha=0.5, beta=2.0)], constants={"w": f(4, 3), "b": f(3)})
case("Gemm transposed, scalar bias", [n("Gemm", ["x", "w", "b"], ["y"], transB=1)],
     constants={"w": f(3, 4), "b": np.array([0.7], dtype=np.float32)})
case("Gemm without bias, Relu", [n("Gemm", ["x", "w"], ["g"]), n("Relu", ["g"], ["y"])], constants={"w": f(4, 3)})
case("MatMul, Add, Relu", [n("MatMul", ["x", "w"], ["m"]), n("Add", ["m", "b"], ["a"]), n("Relu", ["a"], ["y"])],
     constants={"w": f(4, 19), "b": f(19)})
case("MatMul by a vector", [n("MatMul", ["x", "w"], ["m"]), n("Unsqueeze", ["m", "ax"], ["y"])],
     constants={"w": f(4), "ax": np.array([1])})
case("MatMul of rank 3", [n("MatMul", ["x", "w"], ["y"])], row=(3, 4), constants={"w": f(4, 2)})
case("a layer read twice", [n("Gemm", ["x", "w", "b"], ["g"]), n("Relu", ["g"], ["r"]), n("Add", ["g", "r"], ["y"])],
     constants={"w": f(4, 3), "b": f(3)})
case("BatchNormalization", [n("BatchNormalization", ["x", "s", "o", "m", "v"], ["y"], epsilon=1e-3)],
     constants={"s": f(4), "o": f(4), "m": f(4), "v": np.abs(f(4))})
case("BatchNormalization of rank 3", [n("BatchNormalization", ["x", "s", "o", "m", "v"], ["y"])], row=(2, 3),
     constants={"s": f(2), "o": f(2), "m": f(2), "v": np.abs(f(2))})
for opset in [11, 13]:
    for axis in [None, 1, 2, -1]:
        attributes = {} if axis is None else {"axis": axis}
        for op in ["Softmax", "LogSoftmax"]:
            case(f"{op} opset {opset} axis {axis}", [n(op, ["x"], ["y"], **attributes)], row=(3, 4), opset=opset)
case("Softmax of large values", [n("Softmax", ["x"], ["y"], axis=1)], rows=random.normal(size=(5, 4)) * 200)
case("ArgMax", [n("ArgMax", ["x"], ["y"], axis=1, keepdims=0)], outputs=[("y", T.INT64)])
case("ArgMax keepdims of rank 3", [n("ArgMax", ["x"], ["y"], axis=1)], row=(3, 4), outputs=[("y", T.INT64)])
case("ArgMax last of equals", [n("Relu", ["x"], ["r"]), n("Clip", ["r", "", "one"], ["c"]),
     n("ArgMax", ["c"], ["y"], axis=-1, select_last_index=1)], constants={"one": np.float32(0.1)},
     outputs=[("y", T.INT64)])
case("Cast to int64 and back", [n("Cast", ["x"], ["i"], to=T.INT64), n("Cast", ["i"], ["y"], to=T.FLOAT)])
case("Cast to bool", [n("Relu", ["x"], ["r"]), n("Cast", ["r"], ["b"], to=T.BOOL), n("Cast", ["b"], ["y"], to=T.FLOAT)])
case("Flatten, Dropout", [n("Flatten", ["x"], ["f"]), n("Dropout", ["f"], ["y"])], row=(3, 4))
case("Reshape 0 and -1", [n("Reshape", ["x", "s"], ["y"])], row=(3, 4), constants={"s": np.array([0, 2, -1])})
case("Reshape -1 first", [n("Reshape", ["x", "s"], ["r"]), n("Softmax", ["r"], ["y"], axis=1)], row=(3, 4),
     constants={"s": np.array([-1, 12])})
case("Squeeze, Unsqueeze by input", [n("Unsqueeze", ["x", "a"], ["u"]), n("Squeeze", ["u", "b"], ["y"])],
     constants={"a": np.array([1, 3]), "b": np.array([-1])})
case("Squeeze, Unsqueeze by attribute", [n("Unsqueeze", ["x"], ["u"], axes=[2]), n("Squeeze", ["u"], ["y"], axes=[2])],
     opset=11)
case("Transpose", [n("Transpose", ["x"], ["y"], perm=[0, 3, 1, 2])], row=(2, 3, 4))
case("Concat", [n("Relu", ["x"], ["r"]), n("Concat", ["x", "r", "x"], ["y"], axis=1)])
case("Concat of rank 3", [n("Sigmoid", ["x"], ["r"]), n("Concat", ["r", "x"], ["y"], axis=2)], row=(2, 3))
ml = dict(ml=3, opset=15)
case("Scaler", [n("Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=[1., 2, 3, 4], scale=[.5, 2, 1, .1])], **ml)
case("Imputer", [n("Imputer", ["x"], ["y"], domain="ai.onnx.ml", imputed_value_floats=[1., 2, 3, 4],
                   replaced_value_float=float("nan"))], rows=np.array([[1, np.nan, 2, np.nan], [np.nan, 1, 1, 0]]), **ml)
for norm in ["MAX", "L1", "L2"]:
    case(f"Normalizer {norm}", [n("Normalizer", ["x"], ["y"], domain="ai.onnx.ml", norm=norm)],
         rows=np.array([[1, -2, 3, 4], [0, 0, 0, 0], [0.5, 0.5, -0.1, 9]]), **ml)
both = [("label", T.INT64), ("scores", T.FLOAT)]
for transform in ["NONE", "LOGISTIC", "SOFTMAX"]:
    case(f"LinearClassifier {transform}", [n("LinearClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml",
         coefficients=f(12).tolist(), intercepts=f(3).tolist(), classlabels_ints=[3, 5, 9], post_transform=transform)],
         outputs=both, **ml)
case("LinearClassifier, one row of coefficients", [n("LinearClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml",
     coefficients=f(4).tolist(), intercepts=f(1).tolist(), classlabels_ints=[0, 1], post_transform="LOGISTIC")],
     outputs=both, **ml)
case("LinearRegressor", [n("LinearRegressor", ["x"], ["y"], domain="ai.onnx.ml", coefficients=f(8).tolist(),
     intercepts=f(2).tolist(), targets=2)], **ml)

from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, RobustScaler, StandardScaler
from sklearn.impute import SimpleImputer
from skl2onnx import to_onnx

x = random.normal(size=(200, 6)).astype(np.float32) * [1, 2, 3, 4, 5, 100] + [0, 1, 2, 3, 4, 1990]
x = x.astype(np.float32)
two = (x[:, 0] + x[:, 1] > 1).astype(np.int64)
three = np.digitize(x[:, 1], [0, 2])
for name, model, y in [
    ("scaler and logistic regression", make_pipeline(StandardScaler(), LogisticRegression()), two),
    ("logistic regression of three classes", make_pipeline(MinMaxScaler(), LogisticRegression()), three),
    ("logistic regression of texts", make_pipeline(RobustScaler(), LogisticRegression()), np.array(["no", "yes"])[two]),
    ("imputer, normalizer, logistic regression", make_pipeline(SimpleImputer(), Normalizer(), LogisticRegression()), two),
    ("perceptron, two classes", make_pipeline(StandardScaler(), MLPClassifier((16, 8), max_iter=40)), two),
    ("perceptron, three classes", make_pipeline(StandardScaler(), MLPClassifier((16,), activation="tanh", max_iter=40)),
     three),
    ("linear regression", make_pipeline(StandardScaler(), LinearRegression()), x[:, 1]),
    ("perceptron regression", make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(8,), activation="logistic", max_iter=40)),
     x[:, 1]),
]:
    model.fit(x, y)
    for zipmap in ([True, False] if hasattr(model, "predict_proba") else [None]):
        options = {} if zipmap is None else {id(model.steps[-1][1]): {"zipmap": zipmap}}
        proto = to_onnx(model, x[:1], options=options, target_opset={"": 17, "ai.onnx.ml": 3})
        add(f"sklearn: {name}" + (" (ZipMap)" if zipmap else ""), proto, x[:5])

(here / "operators.json").write_text(json.dumps(cases, separators=(",", ":"), allow_nan=False))
print(len(cases), "cases")

