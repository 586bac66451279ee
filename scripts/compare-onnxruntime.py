#!/usr/bin/env python3
"""Sets `penstock model bench` beside ONNX Runtime and XGBoost: the same models, rows and machine, in turn, one thread.

A development tool:  pip install numpy onnx onnxruntime scikit-learn lightgbm xgboost skl2onnx onnxmltools
Build first:         swift build --configuration release --product penstock
Usage:               scripts/compare-onnxruntime.py [--seconds 0.4] [--rounds 3] [--json FILE]

Each round measures every engine at every batch size, so that a disturbance hits all alike; the cell is the median of the
rounds' medians. The time of the Python call itself is measured with an identity model in the same round and taken off
ONNX Runtime's side (not off XGBoost's: its call is its interface). Rows are random and rotate. OPENBLAS_CORETYPE is unset.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

os.environ.pop("OPENBLAS_CORETYPE", None)
os.environ["OMP_NUM_THREADS"] = "1"
warnings.filterwarnings("ignore")
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto as T, helper as h, numpy_helper

root = pathlib.Path(__file__).resolve().parent.parent
rng = np.random.default_rng(3)
batches = [1, 32, 256, 1024]


def f(*shape):
    return (rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)


def mlp(*widths):
    nodes, constants, value = [], {}, "X"
    for i, (a, b) in enumerate(zip(widths, widths[1:])):
        constants |= {f"w{i}": f(a, b), f"b{i}": f(b)}
        nodes.append(h.make_node("Gemm", [value, f"w{i}", f"b{i}"], [f"g{i}"]))
        last = i == len(widths) - 2
        nodes.append(h.make_node("Softmax" if last else "Relu", [f"g{i}"], ["y" if last else f"r{i}"]))
        value = f"r{i}"
    graph = h.make_graph(nodes, "mlp", [h.make_tensor_value_info("X", T.FLOAT, ["N", widths[0]])],
                         [h.make_tensor_value_info("y", T.FLOAT, ["N", widths[-1]])],
                         [numpy_helper.from_array(v, k) for k, v in constants.items()])
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)


def identity():
    graph = h.make_graph([h.make_node("Identity", ["X"], ["y"])], "identity",
                         [h.make_tensor_value_info("X", T.FLOAT, ["N", 1])],
                         [h.make_tensor_value_info("y", T.FLOAT, ["N", 1])])
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)


def models():
    import lightgbm
    import xgboost
    from onnxmltools import convert_lightgbm, convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    x = rng.normal(size=(4000, 30)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] * x[:, 2] + np.sin(x[:, 3]) + rng.normal(size=4000) * 0.3 > 0).astype(int)
    linear = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    yield "scaler + logistic regression (30)", "linear", to_onnx(
        linear, x[:1], options={"zipmap": False}, target_opset={"": 17, "ai.onnx.ml": 3}), 30, None
    yield "MLP 30-64-64-2", "mlp", mlp(30, 64, 64, 2), 30, None
    yield "MLP 512-1024-1024-10", "mlp", mlp(512, 1024, 1024, 10), 512, None
    types = [("X", FloatTensorType([None, 30]))]
    light = lightgbm.LGBMClassifier(n_estimators=200, max_depth=6, num_leaves=63, min_child_samples=5, verbose=-1).fit(x, y)
    yield "LightGBM 200 trees, depth 6", "trees", convert_lightgbm(light, initial_types=types, zipmap=False, target_opset=15), 30, None
    boost = xgboost.XGBClassifier(n_estimators=200, max_depth=6, min_child_weight=0, gamma=0, n_jobs=1).fit(x, y)
    boost.get_booster().set_param({"nthread": 1})
    yield "XGBoost 200 trees, depth 6", "trees", convert_xgboost(boost, initial_types=types, target_opset=15), 30, boost.get_booster()


def median(call, rows, batch, seconds):
    times, at, end = [], 0, time.perf_counter() + seconds
    pool = [np.ascontiguousarray(rows[i:i + batch]) for i in range(0, len(rows) - batch + 1, batch)][:512]
    for part in pool[:3]:
        call(part)
    while time.perf_counter() < end or len(times) < 20:
        part = pool[at % len(pool)]
        at += 1
        before = time.perf_counter_ns()
        call(part)
        times.append(time.perf_counter_ns() - before)
    return statistics.median(times) / 1000


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=0.4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    parser.add_argument("--penstock", default=str(root / ".build/release/penstock"))
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    report = []
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(identity(), f"{folder}/identity.onnx")
        call = session(f"{folder}/identity.onnx")
        for name, kind, model, width, booster in models():
            if arguments.only not in name:
                continue
            path = f"{folder}/model.onnx"
            onnx.save(model, path)
            rows = rng.normal(size=(4096, width)).astype(np.float32)
            np.save(f"{folder}/rows.npy", rows)
            ort = session(path)
            feed = ort.get_inputs()[0].name
            # The outputs must agree before times mean anything.
            subprocess.run([arguments.penstock, "model", "run", path, f"{folder}/rows.npy", "--to", f"{folder}/out.npz"],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            ours, worst = np.load(f"{folder}/out.npz"), 0.0
            for meta, want in zip(ort.get_outputs(), ort.run(None, {feed: rows})):
                got = ours[meta.name]
                if want.dtype.kind == "f":
                    worst = max(worst, float(np.abs(want.reshape(got.shape) - got).max()))
                elif (want.reshape(-1) != got.reshape(-1)).any():
                    worst = float("inf")
            cells = {b: {"overhead": [], "ort": [], "penstock": [], "xgboost": []} for b in batches}
            for _ in range(arguments.rounds):
                bench = json.loads(subprocess.run(
                    [arguments.penstock, "model", "bench", path, "--rows", f"{folder}/rows.npy", "--batch",
                     ",".join(map(str, batches)), "--threads", "1", "--seconds", str(arguments.seconds), "--output", "json"],
                    check=True, capture_output=True, text=True).stdout)
                for result in bench["results"]:
                    cells[result["batch"]]["penstock"].append(result["medianMicroseconds"])
                for b in batches:
                    cell = cells[b]
                    one = rows[:, :1].copy()
                    cell["overhead"].append(median(lambda part: call.run(None, {"X": part}), one, 1, arguments.seconds / 4))
                    cell["ort"].append(median(lambda part: ort.run(None, {feed: part}), rows, b, arguments.seconds))
                    if booster is not None:
                        cell["xgboost"].append(median(lambda part: booster.inplace_predict(part), rows, b, arguments.seconds))
            print(f"\n{name}  (largest difference {worst:.1e}, kernels {bench['vectorLevel']})")
            print(f"{'batch':>6} {'penstock':>10} {'ORT net':>10} {'overhead':>9} {'ratio':>7} {'XGBoost':>10} {'ratio':>7}")
            for b in batches:
                cell = {k: statistics.median(v) if v else None for k, v in cells[b].items()}
                net = cell["ort"] - cell["overhead"]
                line = f"{b:>6} {cell['penstock']:>10.2f} {net:>10.2f} {cell['overhead']:>9.2f} {net / cell['penstock']:>6.2f}x"
                if cell["xgboost"]:
                    line += f" {cell['xgboost']:>10.1f} {cell['xgboost'] / cell['penstock']:>6.2f}x"
                print(line, flush=True)
                report.append({"model": name, "kind": kind, "batch": b, "difference": worst, **cell, "net": net})
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(report, indent=1))


sys.exit(main())
