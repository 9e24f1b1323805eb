"""Features by the shipped extractor: the Rust example is the only implementation."""

import json
import pathlib
import subprocess
import tempfile

import numpy as np
import scipy.sparse as sp

BUCKETS = 1 << 15
VOCABULARY_BITS = 1 << 17
ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(prompts, vocabulary=None):
    """Returns (dense [n, d] float64, hashed [n, BUCKETS] CSR, slots per row, coverage [n])."""
    command = ["cargo", "run", "--quiet", "--release", "-p", "sluicegate-router-model", "--example", "features"]
    with tempfile.NamedTemporaryFile() as bits:
        if vocabulary is not None:
            bits.write(vocabulary)
            bits.flush()
            command += ["--", bits.name]
        lines = "".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts)
        raw = subprocess.run(command, input=lines.encode(), stdout=subprocess.PIPE, check=True, cwd=ROOT).stdout
    return _parse(raw, len(prompts))


def _parse(raw, rows):
    at, dense, indptr, indices, slots, coverage = 0, [], [0], [], [], []
    for _ in range(rows):
        width = int(np.frombuffer(raw, "<u4", 1, at)[0])
        dense.append(np.frombuffer(raw, "<f4", width, at + 4))
        at += 4 + 4 * width
        for index, sink in enumerate((indices, slots)):
            count = int(np.frombuffer(raw, "<u4", 1, at)[0])
            sink.append(np.frombuffer(raw, "<u4", count, at + 4))
            at += 4 + 4 * count
            if index == 0:
                indptr.append(indptr[-1] + count)
        coverage.append(float(np.frombuffer(raw, "<f4", 1, at)[0]))
        at += 4
    assert at == len(raw), "the extractor wrote more than was asked for"
    columns = np.concatenate(indices)
    widths = np.diff(indptr)
    # Every word counts alike and the row has unit length, as in the service.
    values = np.repeat(1.0 / np.sqrt(np.maximum(widths, 1)), widths)
    hashed = sp.csr_matrix((values, columns, indptr), shape=(rows, BUCKETS))
    return np.array(dense, np.float64), hashed, slots, np.array(coverage)


def vocabulary(slots, keep):
    """Bits of the words that occur in at least three of the prompts where `keep` holds."""
    counts = np.zeros(VOCABULARY_BITS, np.int32)
    for row, kept in zip(slots, keep):
        if kept:
            counts[np.unique(row)] += 1
    return np.packbits(counts >= 3, bitorder="little").tobytes()
