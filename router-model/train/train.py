"""Trains the weights of router-model/src/complexity/weights.

    python router-model/train/train.py --data PATH_TO_ROUTING_DATA --out router-model/src/complexity/weights

Needs the packages of requirements.txt and cargo; takes a few minutes on two cores. Every run with the same data
gives the same weights.
"""

import os

# Before numpy is loaded: more threads only wait for each other on problems of this size.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import pathlib
import struct

import numpy as np

import calibrate
import data
import featurize
import heads
import measure
import tasks

MAGIC = b"SGRW"
VERSION = 1
# Everyday and hand-picked prompts are few here and many in traffic, so they weigh more in calibration.
ANCHOR_WEIGHT = 3.0
PARITY_PROMPTS = [
    "What is the capital of Peru?",
    "Question: A train leaves at 9:40 and arrives at 13:05. How many minutes does the ride take?\nAnswer:",
    "Prove that the product of two consecutive integers is even.",
    "Which gas do plants take up?\nA. oxygen\nB. nitrogen\nC. carbon dioxide\nD. helium",
    "```python\ndef add(a, b):\n    return a + b\n```\nWhy does add(1, '2') fail, and how would you make it safe?",
    "Übersetze bitte ins Englische: Der Kaffee ist kalt.",
    "设计一个缓存系统，并分析一致性与可用性的权衡。",
    "ok",
]


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", required=True, help="folder with train_labeled.jsonl.gz and train_typed.jsonl.gz")
    arguments.add_argument("--out", required=True, help="folder for weights.bin, metrics.json and parity.json")
    arguments = arguments.parse_args()
    out = pathlib.Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)

    rows = data.load(arguments.data)
    prompts = [row.prompt for row in rows]
    slots = featurize.run(prompts)[2]
    vocabulary = featurize.vocabulary(slots, [row.trainable for row in rows])
    dense, hashed, _, coverage = featurize.run(prompts, vocabulary)
    table = heads.Table(rows, dense, hashed)

    out_of_source = heads.leave_one_source_out(table)
    assigned = heads.assigned_out_of_fold(table)
    knots, calibration = calibrated(table, out_of_source, assigned)
    model = heads.fit(table, np.ones(len(rows), bool))
    task_report = tasks.evaluate(table)
    task_model = tasks.fit(table, tasks.select(table))

    spread = np.sqrt((((dense - table.mean) * table.scale).clip(-10, 10) ** 2).mean(1))
    usual = float(np.quantile(spread[table.trainable], 0.95))
    quantised = export(out / "weights.bin", table, model, task_model, knots, usual, vocabulary)
    parity(out / "parity.json", table, quantised, vocabulary)
    metrics = {"sources": by_source(table, out_of_source), "pooled": calibration, "task": task_report,
               "vocabulary": int(np.unpackbits(np.frombuffer(vocabulary, np.uint8)).sum()),
               "rows": {"measured_train": int((table.trainable & ~np.isnan(table.fail)).sum()), "assigned_train": int((table.trainable & ~np.isnan(table.level)).sum())},
               "knots": [[round(float(x), 4), round(float(y), 4)] for x, y in zip(*knots)]}
    (out / "metrics.json").write_text(json.dumps(finite(metrics), indent=1) + "\n")
    print(json.dumps({"pooled": calibration, "task": task_report["accuracy"]}, indent=1))


def calibrated(table, out_of_source, assigned):
    """Calibrates on scores of models that did not see the row; reports on sources that never train anything."""
    measured = ~np.isnan(out_of_source)
    train = measured & table.trainable
    anchor = ~np.isnan(assigned)
    score = np.concatenate([out_of_source[train], assigned[anchor]])
    label = np.concatenate([table.fail[train], table.level[anchor]])
    source = np.concatenate([table.source[train], table.source[anchor]])
    counts = {name: (source == name).sum() for name in np.unique(source)}
    weight = np.array([(ANCHOR_WEIGHT if name in heads.KINDS else 1.0) / np.sqrt(counts[name]) for name in source])
    knots = calibrate.fit(score, label, weight)
    probability = calibrate.apply(knots, out_of_source)
    report = {}
    for name, mask in (("train_sources", train), ("validation_sources", measured & ~table.trainable), ("all", measured)):
        fail = (table.fail[mask] > 0.5).astype(float)
        report[name] = {"rows": int(mask.sum()), "auroc": measure.auroc(out_of_source[mask], fail),
                        "auroc_length": measure.auroc(lengths(table)[mask], fail),
                        "ece": measure.ece(probability[mask], table.fail[mask]), "brier": float(((probability[mask] - fail) ** 2).mean()),
                        "reliability": measure.reliability(probability[mask], table.fail[mask])}
    everything = calibrate.apply(knots, score)
    report["with_assigned"] = {"ece": measure.ece(everything, label), "reliability": measure.reliability(everything, label)}
    return knots, report


def finite(value):
    """JSON has no NaN, and six digits are enough."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    if isinstance(value, float):
        return round(value, 6) if np.isfinite(value) else None
    return value


def lengths(table):
    return np.log1p(np.array([len(row.prompt) for row in table.rows]))


def by_source(table, scores):
    length = lengths(table)
    report = {}
    for source in table.measured:
        mask = table.source == source
        fail, large = table.fail[mask], table.large[mask]
        shown = np.array([np.nan if row.representative is None else 1.0 - row.representative for row in table.rows], float)[mask]
        shown = np.where(np.isnan(shown), fail, shown)
        report[source] = {"rows": int(mask.sum()), "trains": bool(table.trainable[mask].all())}
        for name, value in (("model", scores[mask]), ("length", length[mask])):
            report[source][name] = {"spearman": measure.spearman(value, fail), "auroc": measure.auroc(value, shown),
                                    "apgr": measure.apgr(value, 1.0 - fail, large)}
    return report


def export(path, table, model, task_model, knots, usual, vocabulary):
    """Writes the weights; returns what a reader will see, so that parity is against the quantised model."""
    dense, words, bias = model.dense, model.words, model.bias
    task_dense, task_words, task_bias = task_model
    columns = np.vstack([words[None, :], task_words])
    scales = np.maximum(np.abs(columns).max(1) / 127.0, 1e-12).astype(np.float32)
    codes = np.clip(np.rint(columns / scales[:, None]), -127, 127).astype(np.int8)
    f32 = lambda values: np.asarray(values, "<f4")
    with open(path, "wb") as file:
        file.write(MAGIC + struct.pack("<5I", VERSION, len(dense), words.size, len(task_bias), len(knots[0])))
        for part in (table.mean, table.scale, dense, [bias], model.kind_dense, model.kind_bias, [heads.KIND_SHIFT, heads.KIND_SURE], task_dense, task_bias, scales, knots[0], knots[1], [usual]):
            file.write(f32(part).tobytes())
        file.write(vocabulary)
        file.write(codes.T.copy().tobytes())
    return {"mean": f32(table.mean).astype(float), "scale": f32(table.scale).astype(float), "knots": knots,
            "model": heads.Model(f32(dense).astype(float), codes[0].astype(float) * float(scales[0]), float(np.float32(bias)),
                                 f32(model.kind_dense).astype(float), f32(model.kind_bias).astype(float)), "task_dense": f32(task_dense).astype(float),
            "task_words": codes[1:].astype(float) * scales[1:, None].astype(float), "task_bias": f32(task_bias).astype(float)}


def parity(path, table, model, vocabulary):
    dense, hashed, _, _ = featurize.run(PARITY_PROMPTS, vocabulary)
    z = heads.standardise(dense, model["mean"], model["scale"])
    score = model["model"].score(z, hashed)
    task = np.argmax(z @ model["task_dense"].T + hashed @ model["task_words"].T + model["task_bias"], axis=1)
    cases = [{"prompt": prompt, "complexity": float(p), "task": tasks.TASKS[t]}
             for prompt, p, t in zip(PARITY_PROMPTS, calibrate.apply(model["knots"], score), task)]
    path.write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
