#!/usr/bin/env python3
"""Writes the reference cases of Tests/InferenceTests/Fixtures: ONNX's own node tests and models of common trainers.

A development tool, not part of the tests. It needs a Python environment with
    pip install numpy onnx onnxruntime scikit-learn lightgbm xgboost skl2onnx onnxmltools
and, for the node tests of older operator sets, the data of Debian's libonnx-testdata:
    apt-get download libonnx-testdata && dpkg -x libonnx-testdata_*.deb DIRECTORY

Usage: scripts/make-inference-fixtures.py [--node-data DIRECTORY/usr/share/libonnx-testdata/data/node]
           [--models FOLDER]

Format of the files: "CASES1\n", then for each case: name, origin, model, inputs, outputs. Texts and byte strings are
preceded by their length as 32 bits, little-endian; lists by their count, each element a name and a TensorProto.
"""
import argparse
import pathlib
import struct
import warnings

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto as T, helper as h, numpy_helper

warnings.filterwarnings("ignore")
fixtures = pathlib.Path(__file__).resolve().parent.parent / "Tests/InferenceTests/Fixtures"
table = fixtures.parent.parent.parent / "docs/onnx-operators.md"
rng = np.random.default_rng(11)


def block(data):
    data = data.encode() if isinstance(data, str) else data
    return struct.pack("<I", len(data)) + data


def record(name, origin, model, inputs, outputs):
    out = block(name) + block(origin) + block(model)
    for tensors in (inputs, outputs):
        out += struct.pack("<I", len(tensors)) + b"".join(block(n) + block(p) for n, p in tensors)
    return out


def write(path, records):
    path.write_bytes(b"CASES1\n" + struct.pack("<I", len(records)) + b"".join(records))
    print(path.name, len(records), "cases,", path.stat().st_size, "bytes")


# ---- ONNX's node tests -----------------------------------------------------------------------------------------------

def listed():
    """Operators of the table in docs/onnx-operators.md."""
    names = set()
    for line in table.read_text().splitlines():
        if line.startswith("| `"):
            names.add(line.split("`")[1])
    return names


def fits(model):
    names = listed()
    return all(n.op_type in names for n in model.graph.node) and len(model.graph.node) > 0 and not model.functions


# Inputs that the engine needs at load, as every exporter gives them: they become initialisers.
LOAD_TIME = {"Slice": [1, 2, 3, 4], "Clip": [1, 2], "Reshape": [1], "Unsqueeze": [1], "Squeeze": [1], "Split": [1],
             "Dropout": [1, 2], "OneHot": [1, 2], "Expand": [1], "ConstantOfShape": [0], "Tile": [1],
             "BatchNormalization": [1, 2, 3, 4], "LayerNormalization": [1, 2]}


def prepare(model, inputs):
    """Makes inputs that are needed at load initialisers, and opsets below 7 (whose operators are unchanged) 7."""
    names = set()
    for node in model.graph.node:
        places = [1] if node.op_type.startswith("Reduce") else LOAD_TIME.get(node.op_type, [])
        names |= {node.input[i] for i in places if i < len(node.input)}
    kept = []
    for value, proto in zip(list(model.graph.input), inputs):
        if value.name in names:
            proto.name = value.name
            model.graph.initializer.append(proto)
            model.graph.input.remove(value)
        else:
            kept.append(proto)
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx"):
            opset.version = max(opset.version, 7)
    return kept


def tensors(values, protos):
    return [(v.name, p.SerializeToString()) for v, p in zip(values, protos)]


def node_cases(directory):
    records, seen = [], set()

    def add(name, origin, model, inputs, outputs):
        if any(not i.type.HasField("tensor_type") for i in list(model.graph.input) + list(model.graph.output)):
            return
        if len(inputs) != len(model.graph.input):
            return
        inputs = prepare(model, inputs)
        data = record(name, origin, model.SerializeToString(), tensors(model.graph.input, inputs),
                      tensors(model.graph.output, outputs))
        if len(data) < 40_000 and (name, origin) not in seen:
            seen.add((name, origin))
            records.append(data)

    if directory:
        for folder in sorted(pathlib.Path(directory).iterdir()):
            model = onnx.load(folder / "model.onnx")
            if not fits(model) or folder.name.startswith("test_cc_"):
                continue
            def read(kind):
                files = sorted((folder / "test_data_set_0").glob(f"{kind}_*.pb"),
                               key=lambda p: int(p.stem.split("_")[1]))
                return [onnx.TensorProto.FromString(p.read_bytes()) for p in files]
            add(folder.name, "onnx 1.12", model, read("input"), read("output"))
    from onnx.backend.test.case.node import collect_testcases
    for case in collect_testcases(None):
        model = case.model
        if model is None or not fits(model):
            continue
        # Newer than what the engine knows: only where the operators themselves are not newer.
        newest = 0
        for node in model.graph.node:
            schema = onnx.defs.get_schema(node.op_type, domain=node.domain)
            if node.domain in ("", "ai.onnx"):
                newest = max(newest, schema.since_version)
        limit = {"": 22, "ai.onnx.ml": 5}
        if newest > 22:
            continue
        for opset in model.opset_import:
            opset.version = min(opset.version, limit.get(opset.domain, opset.version))
        def protos(values):
            return [v if isinstance(v, onnx.TensorProto) else numpy_helper.from_array(np.asarray(v)) for v in values]
        try:
            inputs, outputs = case.data_sets[0]
            add(case.name, "onnx " + onnx.__version__, model, protos(inputs), protos(outputs))
        except Exception as error:  # types that NumPy does not know
            print("left out", case.name, error)
    write(fixtures / "node-cases.bin", records)


# ---- Models of common trainers, with ONNX Runtime's outputs -----------------------------------------------------------

models = []


def add_model(name, proto, feeds):
    data = proto if isinstance(proto, bytes) else proto.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    results = session.run(None, feeds)
    outputs = []
    for meta, value in zip(session.get_outputs(), results):
        if isinstance(value, list):  # ZipMap: a list of maps
            value = np.array([list(row.values()) for row in value], dtype=np.float32)
        outputs.append((meta.name, numpy_helper.from_array(np.asarray(value), meta.name).SerializeToString()))
    inputs = [(k, numpy_helper.from_array(np.asarray(v), k).SerializeToString()) for k, v in feeds.items()]
    models.append(record(name, "onnxruntime " + onnxruntime.__version__, data, inputs, outputs))


def classical():
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import (AdaBoostClassifier, BaggingClassifier, ExtraTreesRegressor, GradientBoostingClassifier,
                                  GradientBoostingRegressor, HistGradientBoostingClassifier,
                                  HistGradientBoostingRegressor, IsolationForest, RandomForestClassifier,
                                  RandomForestRegressor, VotingClassifier)
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.feature_selection import SelectKBest
    from sklearn.decomposition import PCA
    from sklearn.linear_model import (ElasticNet, LinearRegression, LogisticRegression, Perceptron, PoissonRegressor,
                                      Ridge, RidgeClassifier, SGDClassifier)
    from sklearn.multioutput import MultiOutputRegressor
    from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import (Binarizer, KBinsDiscretizer, MaxAbsScaler, MinMaxScaler, Normalizer,
                                       OneHotEncoder, OrdinalEncoder, PolynomialFeatures, RobustScaler, StandardScaler)
    from sklearn.impute import SimpleImputer
    from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR, NuSVC, OneClassSVM
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType

    x = (rng.normal(size=(400, 8)) * [1, 2, 1, 3, 1, 1, 2, 1]).astype(np.float32)
    two = (x[:, 0] + x[:, 1] * x[:, 2] > 0.3).astype(np.int64)
    three = np.digitize(x[:, 1] + x[:, 3] / 2, [-1, 1.5]).astype(np.int64)
    texts = np.array(["low", "mid", "top"])[three]
    real = (x[:, 0] * 2 + np.sin(x[:, 1]) + x[:, 2] ** 2).astype(np.float32)
    test = x[:40]
    list_ = [
        ("LogisticRegression two", make_pipeline(StandardScaler(), LogisticRegression()), two),
        ("LogisticRegression texts", LogisticRegression(), texts),
        ("SGDClassifier", SGDClassifier(random_state=1), three),
        ("SGDClassifier log", SGDClassifier(loss="log_loss", random_state=1), two),
        ("Perceptron", Perceptron(), three), ("RidgeClassifier", RidgeClassifier(), three),
        ("LinearDiscriminantAnalysis", LinearDiscriminantAnalysis(), three),
        ("LinearSVC", LinearSVC(), three), ("LinearSVC two", LinearSVC(), two), ("LinearSVR", LinearSVR(), real),
        ("SVC rbf two", SVC(), two), ("SVC rbf three", SVC(), three), ("SVC poly", SVC(kernel="poly"), three),
        ("SVC sigmoid", SVC(kernel="sigmoid"), two), ("SVC linear texts", SVC(kernel="linear"), texts),
        ("SVC probability two", SVC(probability=True, random_state=1), two),
        ("SVC probability three", SVC(probability=True, random_state=1), three),
        ("NuSVC", NuSVC(), two), ("SVR", SVR(), real), ("SVR poly", SVR(kernel="poly"), real),
        ("OneClassSVM", OneClassSVM(), None),
        ("GaussianNB", GaussianNB(), three), ("GaussianNB two", GaussianNB(), two),
        ("BernoulliNB", BernoulliNB(), three),
        ("MultinomialNB", make_pipeline(MinMaxScaler(), MultinomialNB()), three),
        ("ComplementNB", make_pipeline(MinMaxScaler(), ComplementNB()), three),
        ("KMeans", KMeans(4, n_init=1, random_state=1), None),
        ("MiniBatchKMeans", MiniBatchKMeans(3, n_init=1, random_state=1), None),
        ("DecisionTreeClassifier two", DecisionTreeClassifier(max_depth=5), two),
        ("DecisionTreeClassifier texts", DecisionTreeClassifier(max_depth=5), texts),
        ("DecisionTreeRegressor", DecisionTreeRegressor(max_depth=6), real),
        ("RandomForestClassifier two", RandomForestClassifier(10, max_depth=5, random_state=1), two),
        ("RandomForestClassifier three", RandomForestClassifier(10, max_depth=9, random_state=1), three),
        ("RandomForestRegressor deep", RandomForestRegressor(6, random_state=1), real),
        ("ExtraTreesRegressor", ExtraTreesRegressor(6, max_depth=8, random_state=1), real),
        ("MultiOutput trees", DecisionTreeRegressor(max_depth=5), np.stack([real, x[:, 3]], 1)),
        ("GradientBoostingClassifier two", GradientBoostingClassifier(n_estimators=15), two),
        ("GradientBoostingClassifier three", GradientBoostingClassifier(n_estimators=10), three),
        ("GradientBoostingRegressor", GradientBoostingRegressor(n_estimators=15), real),
        ("HistGradientBoostingClassifier two", HistGradientBoostingClassifier(max_iter=10), two),
        ("HistGradientBoostingClassifier three", HistGradientBoostingClassifier(max_iter=6), three),
        ("HistGradientBoostingRegressor", HistGradientBoostingRegressor(max_iter=10), real),
        ("IsolationForest", IsolationForest(n_estimators=8, random_state=1), None),
        ("BaggingClassifier", BaggingClassifier(n_estimators=4, random_state=1), two),
        ("AdaBoostClassifier", AdaBoostClassifier(n_estimators=5), three),
        ("VotingClassifier soft", VotingClassifier(
            [("a", LogisticRegression()), ("b", DecisionTreeClassifier(max_depth=3))], voting="soft", flatten_transform=False), three),
        ("CalibratedClassifierCV", CalibratedClassifierCV(LinearSVC(), cv=2), two),
        ("LinearRegression", LinearRegression(), real), ("Ridge two targets", Ridge(), np.stack([real, x[:, 3]], 1)),
        ("ElasticNet", ElasticNet(), real), ("PoissonRegressor", PoissonRegressor(), np.abs(real)),
        ("MultiOutputRegressor", MultiOutputRegressor(Ridge()), np.stack([real, x[:, 3]], 1)),
        ("MLPClassifier", make_pipeline(StandardScaler(), MLPClassifier((16, 8), max_iter=50, random_state=1)), three),
        ("MLPClassifier logistic", MLPClassifier((8,), activation="logistic", max_iter=50, random_state=1), two),
        ("MLPRegressor tanh", MLPRegressor(hidden_layer_sizes=(12,), activation="tanh", max_iter=50, random_state=1), real),
        ("RobustScaler PCA logistic", make_pipeline(RobustScaler(), PCA(3), LogisticRegression()), two),
        ("MaxAbsScaler SelectKBest", make_pipeline(MaxAbsScaler(), SelectKBest(k=3), LogisticRegression()), two),
        ("PolynomialFeatures Ridge", make_pipeline(PolynomialFeatures(2), Ridge()), real),
        ("KBinsDiscretizer", make_pipeline(KBinsDiscretizer(4), LogisticRegression()), two),
        ("Binarizer Normalizer", make_pipeline(Normalizer(), Binarizer(threshold=0.1), LogisticRegression()), two),
    ]
    for name, model, y in list_:
        try:
            model.fit(x) if y is None else model.fit(x, y)
            last = model.steps[-1][1] if hasattr(model, "steps") else model
            options = {id(last): {"zipmap": False}} if hasattr(last, "predict_proba") else {}
            try:
                proto = to_onnx(model, x[:1], options=options, target_opset={"": 18, "ai.onnx.ml": 3})
            except Exception:
                proto = to_onnx(model, x[:1], target_opset={"": 18, "ai.onnx.ml": 3})
            add_model(f"sklearn {name}", proto, {proto.graph.input[0].name: test})
        except Exception as error:
            print("left out", name, type(error).__name__, str(error)[:150].replace("\n", " "))
    # Doubles, missing values, zip maps.
    model = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(x, two)
    holes = test.copy()
    holes[::3, 2] = np.nan
    add_model("sklearn SimpleImputer ZipMap", to_onnx(model, x[:1], target_opset=17), {"X": holes})
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x.astype(np.float64), two)
    add_model("sklearn doubles", to_onnx(model, x[:1].astype(np.float64), options={"zipmap": False}, target_opset=17),
              {"X": test.astype(np.float64)})
    # Columns of several types.
    import pandas as pd
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "city": np.array(["Rome", "Oslo", "Lima"])[rng.integers(0, 3, 400)],
                          "size": np.array(["S", "M", "L"])[rng.integers(0, 3, 400)], "n": rng.integers(0, 4, 400)})
    model = make_pipeline(ColumnTransformer([
        ("num", StandardScaler(), ["a", "b"]), ("city", OneHotEncoder(handle_unknown="ignore"), ["city"]),
        ("size", OrdinalEncoder(), ["size"]), ("n", OneHotEncoder(handle_unknown="ignore"), ["n"])]), LogisticRegression()).fit(frame, two)
    types = [("a", FloatTensorType([None, 1])), ("b", FloatTensorType([None, 1])), ("city", StringTensorType([None, 1])),
             ("size", StringTensorType([None, 1])), ("n", Int64TensorType([None, 1]))]
    proto = to_onnx(model, initial_types=types, options={"zipmap": False}, target_opset={"": 17, "ai.onnx.ml": 3})
    part = frame[:40]
    add_model("sklearn ColumnTransformer", proto, {
        "a": part[["a"]].values.astype(np.float32), "b": part[["b"]].values.astype(np.float32),
        "city": part[["city"]].values.astype(object), "size": part[["size"]].values.astype(object),
        "n": part[["n"]].values.astype(np.int64)})
    return x, two, three, real, test


def boosters(x, two, three, real, test):
    import lightgbm
    import xgboost
    from onnxmltools import convert_lightgbm, convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType
    holes = test.copy()
    holes[::4, 1] = np.nan
    types = [("X", FloatTensorType([None, x.shape[1]]))]
    for name, model, y in [
        ("LGBMClassifier two", lightgbm.LGBMClassifier(n_estimators=12, verbose=-1), two),
        ("LGBMClassifier three", lightgbm.LGBMClassifier(n_estimators=6, verbose=-1), three),
        ("LGBMRegressor", lightgbm.LGBMRegressor(n_estimators=12, num_leaves=80, min_child_samples=2, verbose=-1), real),
        ("LGBMClassifier rf", lightgbm.LGBMClassifier(boosting_type="rf", n_estimators=8, bagging_freq=1, bagging_fraction=0.6, verbose=-1), two),
        ("XGBClassifier two", xgboost.XGBClassifier(n_estimators=15, max_depth=5), two),
        ("XGBClassifier three", xgboost.XGBClassifier(n_estimators=6, max_depth=4), three),
        ("XGBRegressor", xgboost.XGBRegressor(n_estimators=12, max_depth=8), real),
        ("XGBRegressor missing", xgboost.XGBRegressor(n_estimators=12, max_depth=4), real),
        ("XGBRegressor logistic", xgboost.XGBRegressor(n_estimators=5, objective="reg:logistic"), (two * 0.8 + 0.1)),
    ]:
        try:
            data = np.where(rng.random(x.shape) < 0.1, np.nan, x).astype(np.float32) if "missing" in name else x
            model.fit(data, y)
            convert = convert_lightgbm if name.startswith("LGBM") else convert_xgboost
            kwargs = {"zipmap": False} if name.startswith("LGBM") else {}
            proto = convert(model, initial_types=types, target_opset=15, **kwargs)
            add_model(name, proto, {"X": holes if "missing" in name else test})
        except Exception as error:
            print("left out", name, type(error).__name__, str(error)[:150].replace("\n", " "))


def networks():
    """What torch.onnx writes for tabular networks, built by hand: no torch is needed."""
    def f(*shape):
        return (rng.normal(size=shape) * 0.5).astype(np.float32)

    def graph(name, nodes, inputs, outputs, constants, opset):
        proto = h.make_model(h.make_graph(nodes, name, inputs, outputs,
                                          [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]),
                             opset_imports=[h.make_opsetid("", opset)], ir_version=8)
        onnx.checker.check_model(proto)
        return proto

    n = h.make_node
    batch = {"w1": f(32, 10), "b1": f(32), "s": f(32), "o": f(32), "m": f(32), "v": np.abs(f(32)) + 0.1, "w2": f(16, 32),
             "b2": f(16), "w3": f(1, 16), "b3": f(1)}
    for opset in (9, 13, 18, 22):
        proto = graph(f"mlp-{opset}", [
            n("Gemm", ["x", "w1", "b1"], ["h"], transB=1), n("BatchNormalization", ["h", "s", "o", "m", "v"], ["n"]),
            n("Relu", ["n"], ["r"]), n("Gemm", ["r", "w2", "b2"], ["g"], transB=1), n("LeakyRelu", ["g"], ["l"]),
            n("Dropout", ["l"], ["d"]), n("Gemm", ["d", "w3", "b3"], ["z"], transB=1), n("Sigmoid", ["z"], ["y"])],
            [h.make_tensor_value_info("x", T.FLOAT, ["batch", 10])],
            [h.make_tensor_value_info("y", T.FLOAT, ["batch", 1])], batch, opset)
        add_model(f"network BatchNorm Dropout opset {opset}", proto, {"x": f(33, 10) * 3})
    proto = graph("embeddings", [
        n("Gather", ["c", "col0"], ["c0"], axis=1), n("Gather", ["c", "col1"], ["c1"], axis=1),
        n("Gather", ["table0", "c0"], ["e0"]), n("Gather", ["table1", "c1"], ["e1"]),
        n("Concat", ["x", "e0", "e1"], ["all"], axis=1), n("Gemm", ["all", "w1", "b1"], ["h"], transB=1),
        n("Elu", ["h"], ["r"]), n("LayerNormalization", ["r", "g", "b"], ["ln"], axis=-1),
        n("MatMul", ["ln", "w2"], ["m"]), n("Add", ["m", "b2"], ["a"]), n("Softmax", ["a"], ["y"], axis=-1)],
        [h.make_tensor_value_info("x", T.FLOAT, ["N", 5]), h.make_tensor_value_info("c", T.INT64, ["N", 2])],
        [h.make_tensor_value_info("y", T.FLOAT, ["N", 3])],
        {"col0": np.array(0), "col1": np.array(1), "table0": f(7, 3), "table1": f(4, 2), "w1": f(12, 10), "b1": f(12),
         "g": f(12), "b": f(12), "w2": f(12, 3), "b2": f(3)}, 17)
    add_model("network embeddings", proto, {
        "x": f(21, 5), "c": np.stack([rng.integers(0, 7, 21), rng.integers(0, 4, 21)], 1)})
    proto = graph("view", [
        n("Shape", ["x"], ["sh"]), n("Gather", ["sh", "zero"], ["n"], axis=0), n("Unsqueeze", ["n", "ax"], ["n1"]),
        n("Concat", ["n1", "rest"], ["target"], axis=0), n("Reshape", ["x", "target"], ["v"]),
        n("Gemm", ["v", "w", "b"], ["g"], transB=1), n("Gelu", ["g"], ["a"]), n("ReduceMean", ["a", "axes"], ["y"], keepdims=1)],
        [h.make_tensor_value_info("x", T.FLOAT, ["N", 2, 6])], [h.make_tensor_value_info("y", T.FLOAT, ["N", 1])],
        {"zero": np.array(0), "ax": np.array([0]), "rest": np.array([12]), "w": f(9, 12), "b": f(9), "axes": np.array([1])}, 20)
    add_model("network view by Shape", proto, {"x": f(19, 2, 6)})


parser = argparse.ArgumentParser()
parser.add_argument("--node-data")
parser.add_argument("--models", help="folder with NAME.onnx and NAME_ref.npz (input, input_name, out_*) to pack as well")
arguments = parser.parse_args()
node_cases(arguments.node_data)
boosters(*classical())
networks()
if arguments.models:
    for path in sorted(pathlib.Path(arguments.models).glob("*.onnx")):
        reference = np.load(path.with_name(path.stem + "_ref.npz"))
        model = onnx.load(path)
        if not fits(model):
            continue
        name = str(reference["input_name"])
        outputs = [(o.name, numpy_helper.from_array(reference["out_" + o.name]).SerializeToString())
                   for o in model.graph.output]
        models.append(record(path.stem, "onnxruntime 1.31.1", path.read_bytes(),
                             [(name, numpy_helper.from_array(reference["input"]).SerializeToString())], outputs))
write(fixtures / "models.bin", models)
