#!/usr/bin/env python3
"""Looks for what must be nowhere after a whole run: pieces of the weights, the data key, tokens, private keys.

    pip install cryptography==50.0.2 jwcrypto==1.6.1
    scripts/sealing_canary.py PROGRAMS PIPELINE EVENTS     (EVENTS: a CSV file for `penstock publish`)
    scripts/sealing_canary.py PROGRAMS demo [OPTIONS]      (the whole `penstock demo`, as `make run` starts it)

Trains and seals a model, brings the whole service up at log level trace, publishes events, waits for rows, looks while all
processes run and once more after they have stopped: every file below the data directory (topics, logs, rows of PostgreSQL,
the key broker's store), every open file of every process, core files. Prints how much was searched and what was found;
exit status 1 when anything was found. To show that the search finds what is there, the same search must find the weights in
a plain ONNX file.
"""

import base64
import json
import os
import re
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import sealing_interop as interop

TOKEN = re.compile(rb"eyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{40,}")


def forms(secret):
    """The bytes, and how they would look in a text."""
    return [secret, secret.hex().encode(), base64.b64encode(secret)[:-3], interop.b64(secret).encode()[:-2]]


def canaries(data, path):
    owner = interop.load_private(f"{data}/keys/owner.pem")
    container = interop.Container(interop.read(path), owner.public_key())
    key = container.data_key(owner)
    files = container.open(key)
    onnx = next(content for path, content in files.items() if path.endswith(".onnx"))
    # Long runs of weights; the file's head holds public names.
    pieces = [onnx[at : at + 32] for at in range(len(onnx) // 4, len(onnx) - 64, max(64, len(onnx) // 12))]
    pieces = [piece for piece in pieces if len(set(piece)) > 20]
    scalars = {}
    for name in ("owner", "trainer"):
        private = interop.load_private(f"{data}/keys/{name}.pem")
        scalars[f"{name}'s private key"] = private.private_numbers().private_value.to_bytes(48, "big")
    result = {f"weights {number}": forms(piece)[:1] for number, piece in enumerate(pieces)}
    result["data key"] = forms(key)
    for name, scalar in scalars.items():
        result[name] = forms(scalar)[:3]
    assert len(pieces) >= 3, "too few pieces of weights"
    return result, onnx


def search(path, wanted, allowed):
    found = []
    try:
        data = interop.read(path)
    except OSError:
        return 0, found
    for name, texts in wanted.items():
        if any(text in data for text in texts) and not allowed(path):
            found.append((name, path))
    if TOKEN.search(data) and not allowed(path):
        found.append(("a token", path))
    return len(data), found


def below(folder):
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield path


def descriptors(pids):
    for pid in pids:
        try:
            for name in os.listdir(f"/proc/{pid}/fd"):
                path = f"/proc/{pid}/fd/{name}"
                target = os.readlink(path)
                if target.startswith("/") and os.path.isfile(path) or "memfd" in target:
                    yield path
        except OSError:
            continue


def look(when, paths, wanted, allowed):
    count, size, found = 0, 0, []
    for path in paths:
        length, hits = search(path, wanted, allowed)
        count, size, found = count + 1, size + length, found + hits
    print(f"{when}: {count} files, {size / 1e6:.1f} MB, {len(found)} findings")
    for name, path in found:
        print(f"  FOUND {name} in {path}")
    return found


def keys_of(data):
    """The owner's and the trainer's own key files are where they belong."""
    return lambda path: path.startswith(f"{data}/keys/")


def check_control(folder, data, wanted, onnx):
    plain = f"{folder}/control.onnx"
    with open(plain, "wb") as file:
        file.write(onnx)
    control = look("control, a plain ONNX file", [plain], wanted, keys_of(data))
    os.unlink(plain)
    assert len(control) >= 3, "the search does not find what is there"


def descendants(pid):
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = interop.read(f"/proc/{name}/stat").rsplit(b") ", 1)[1].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(name))
    found, todo = [], [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


def demo(programs, options):
    folder = tempfile.mkdtemp(prefix="penstock-canary-")
    os.chmod(folder, 0o755)
    data = f"{folder}/data"
    environment = dict(os.environ, PENSTOCK_LOG_LEVEL="trace", PENSTOCK_DATA=data)
    allowed, wanted, found, looks = keys_of(data), None, [], 0
    with open(f"{folder}/demo.log", "wb") as log:
        process = subprocess.Popen(
            [f"{programs}/penstock", "demo", "--data", data, *options], env=environment, stdout=log, stderr=log,
            cwd=os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        while process.poll() is None:
            time.sleep(5)
            if wanted is None:
                sealed = [path for path in below(data) if path.endswith("/model.smc")]
                if sealed:
                    wanted, onnx = canaries(data, sealed[0])
                    check_control(folder, data, wanted, onnx)
                continue
            looks += 1
            pids = [pid for pid in descendants(process.pid)]
            if looks % 4 == 0:
                found += look(f"while it runs ({len(pids)} processes): files", below(folder), wanted, allowed)
            found += look("while it runs: open files of every process", descriptors(pids), wanted, allowed)
    assert wanted, f"the demo sealed no model; its output is in {folder}/demo.log"
    print(f"the demo ended with {process.returncode}")
    found += look("afterwards: files", below(folder), wanted, allowed)
    details = (b'"level":"trace"', b'"level":"debug"')
    traced = sum(any(word in interop.read(path) for word in details) for path in below(folder) if path.endswith(".log"))
    cores = [path for path in below(folder) if os.path.basename(path).startswith("core")]
    print(f"log files with lines of the levels debug and trace: {traced}; core files: {len(cores)}; findings in all: {len(found)}")
    if process.returncode == 0 and not found:
        subprocess.run(["rm", "-rf", folder])
    else:
        print(f"kept: {folder}")
    sys.exit(1 if found or cores or process.returncode else 0)


def main(programs, pipeline, events):
    penstock = f"{programs}/penstock"
    folder = tempfile.mkdtemp(prefix="penstock-canary-")
    os.chmod(folder, 0o755)
    data = f"{folder}/data"
    environment = dict(os.environ, PENSTOCK_DATA=data)

    def run(*words):
        return subprocess.run([penstock, *words], env=environment, check=True, capture_output=True, text=True).stdout

    run("fit", pipeline, "--artifacts", f"{data}/artifacts")
    run("train", pipeline, "--artifacts", f"{data}/artifacts", "--seal", "--model", "dense", "--epochs", "5")
    wanted, onnx = canaries(data, f"{data}/artifacts/model.smc")
    check_control(folder, data, wanted, onnx)
    allowed = keys_of(data)
    try:
        run("up", "--pipeline", pipeline, "--artifacts", f"{data}/artifacts", "--log-level", "trace")
        run("publish", pipeline, events)
        for _ in range(60):
            status = json.loads(run("status", "--output", "json"))
            time.sleep(1)
            if "rows" in json.dumps(status):
                break
        time.sleep(3)
        pids = [process["pid"] for process in json.loads(interop.read(f"{data}/state.json"))["processes"]]
        found = look("while it runs: files", below(folder), wanted, allowed)
        found += look("while it runs: open files of every process", descriptors(pids), wanted, allowed)
    finally:
        subprocess.run([penstock, "down"], env=environment, capture_output=True)
    found += look("afterwards: files", below(folder), wanted, allowed)
    cores = [path for path in below(folder) if os.path.basename(path).startswith("core")]
    print(f"core files: {len(cores)}")
    subprocess.run(["rm", "-rf", folder])
    sys.exit(1 if found or cores else 0)


if len(sys.argv) >= 3 and sys.argv[2] == "demo":
    demo(sys.argv[1], sys.argv[3:])
if len(sys.argv) != 4:
    sys.exit(__doc__)
main(*sys.argv[1:])
