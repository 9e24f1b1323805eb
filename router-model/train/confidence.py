"""Trains the answer model: router-model/src/confidence/weights.

    sluicegate eval model --data QUESTIONS.jsonl --answers ANSWERS.jsonl
    python router-model/train/confidence.py --questions QUESTIONS.jsonl --answers ANSWERS.jsonl \
        --out router-model/src/confidence/weights

Takes any number of files behind each option; questions and answers are joined by id. `--test-questions` and
`--test-answers` are only measured. Needs the packages of requirements.txt and cargo; takes a minute. The same rows
give the same weights. Train it again whenever the local model or the complexity model changes: both speak in it.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import hashlib
import json
import pathlib
import subprocess

import numpy as np
from scipy.optimize import minimize

import measure

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERSION = 1
CLIP = 4.0
# Beginnings that the prefix weights are fitted to; the service may hold back any number of tokens between them.
PREFIXES = [4, 8, 16, 24, 32, 48, 64, 96, 128]
HELD = 24
# Groups whose hash is below this share are measured and never fitted.
DEV_SHARE = 0.25
FOLDS = 5
PENALTIES = [0.001, 0.003, 0.01, 0.03, 0.1]
# Which way a feature may speak. What is surer must not count as worse because a few sources happen to say so.
SIGNS = {"probability_mean": 1, "certain_share": 1, "entropy_mean": -1, "entropy_max": -1, "entropy_opening": -1, "doubtful_share": -1,
         "is_cut": -1, "switched_language": -1, "has_open_fence": -1, "complexity": -1}
BOOTSTRAPS = 1000
# Without a weight: the complexity model is fitted to the same answers, so what it says of them is no evidence. Where its questions are
# others than these, take it out of this list.
PROMPT_SIDE = ["complexity"]
# Never names of questions in use: they only show that the service computes what was computed here.
PARITY = [
    {"prompt": "What is the capital of Peru?", "answer": "Lima", "logprob": [-0.01, -0.2], "entropy": [0.05, 0.6]},
    {"prompt": "A farmer has 17 sheep and buys 5 more every day for a week. How many are there then?", "answer": "17 + 35 = 52",
     "logprob": [-0.3, -0.02, -1.4, -0.001, -0.0001, -2.2, -0.6, -0.03, -0.2, -0.9, -0.01, -0.4], "entropy": [1.0, 0.2, 2.1, 0.01, 0.0, 3.0, 1.4, 0.1, 0.7, 1.9, 0.06, 0.8]},
    {"prompt": "Write a function that doubles a number.", "answer": "```python\ndef f(x):\n    return 2 * x\n", "logprob": [-0.05] * 70, "entropy": [0.2] * 70, "cut_short": True},
    {"prompt": "Reply with a JSON object that has the key a.", "answer": "{\"a\": 1}", "logprob": [-0.1] * 6, "entropy": [0.3] * 6, "json": True},
    {"prompt": "Reply with a JSON object that has the key a.", "answer": "Sure: a", "logprob": [-0.1] * 6, "entropy": [0.3] * 6, "json": True},
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", nargs="+", required=True)
    parser.add_argument("--answers", nargs="+", required=True)
    parser.add_argument("--test-questions", nargs="+", default=[])
    parser.add_argument("--test-answers", nargs="+", default=[])
    parser.add_argument("--graded", help="file for the held-out answers as graded rows, for `sluicegate tune`")
    parser.add_argument("--out", required=True, help="folder for confidence.json, parity.json and metrics.json")
    arguments = parser.parse_args()
    out = pathlib.Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)

    rows = load(arguments.questions, arguments.answers)
    test = load(arguments.test_questions, arguments.test_answers)
    shared = {row["prompt"] for row in test}
    rows = [row for row in rows if row["prompt"] not in shared]
    table, tested, names = Table(rows), Table(test) if test else None, feature_names()
    whole = fit(table, names)
    beginnings = table.beginnings()
    prefix = fit(beginnings, names)
    weights = {"version": VERSION, "features": names, "whole": whole.export(), "prefix": prefix.export()}
    (out / "confidence.json").write_text(json.dumps(weights, indent=1) + "\n")
    parity(out / "parity.json", whole, prefix)
    metrics = {"rows": {"train": int((~table.dev).sum()), "dev": int(table.dev.sum()), "test": len(test)},
               "good": {"train": float(table.y[~table.dev].mean()), "dev": float(table.y[table.dev].mean())},
               "penalty": {"whole": whole.penalty, "prefix": prefix.penalty},
               "source_left_out": left_out_report(whole, table, names),
               "weights": dict(zip(names, [round(float(w), 4) for w in whole.weight]))}
    for name, held, mask in (("dev", table, table.dev), ("test", tested, None)):
        if held is not None:
            metrics[name] = report(held, mask, whole, prefix, table, names)
    (out / "metrics.json").write_text(json.dumps(rounded(metrics), indent=1) + "\n")
    if arguments.graded:
        pathlib.Path(arguments.graded).write_text("".join(json.dumps(row) + "\n" for row in graded(table, whole, names)))
    print(json.dumps(rounded({k: v.get("overall") if isinstance(v, dict) and "overall" in v else v for k, v in metrics.items() if k != "weights"}), indent=1))


def load(questions, answers):
    asked = {}
    for path in questions:
        for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
            question = json.loads(line)
            asked[question["id"]] = question
    rows = {}
    for path in answers:
        for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
            try:
                answer = json.loads(line)
            except ValueError:
                continue  # The last line of a run that is still going on.
            question = asked.get(answer["id"])
            if question is None or answer.get("correct") is None or "signals" not in answer:
                continue
            prompt = prompt_of(question)
            rows[answer["id"]] = {
                "id": answer["id"], "prompt": prompt, "kind": answer["kind"], "category": answer["category"], "good": float(answer["correct"]),
                "answer": answer["answer"], "logprob": answer["signals"]["logprob"], "entropy": answer["signals"]["entropy"],
                "json": answer["kind"] == "json", "looped": answer["looped"], "empty": answer["empty"], "cut_short": answer["cut_short"]}
    return list(rows.values())


def prompt_of(question):
    """The last user turn as the model saw it: `sluicegate eval model` puts the choices below a question."""
    text = question.get("prompt") or question["messages"][-1]["content"]
    if "choices" in question:
        options = "".join(f"{chr(65 + index)}) {choice}\n" for index, choice in enumerate(question["choices"]))
        text += f"\n\n{options}\nAnswer with the letter only."
    return text


def group_of(row):
    """Questions of one template stay together, so that those held out are of templates that were not seen."""
    source, _, rest = row["id"].partition("/")
    template = rest.rsplit("/", 1)[0] if "/" in rest else ""
    # Generated ids name their template (`sum:largest`); others name the question itself.
    return f"{source}/{template}" if ":" in template else row["prompt"]


def source_of(row):
    """Where a question is from: a public set, or one kind of generated questions."""
    source = row["id"].partition("/")[0]
    return f"{source}/{row['category']}" if ":" in row["id"] else source


def share_of(text):
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2.0**64


def graded(table, whole, names):
    """The held-out answers as `sluicegate tune` reads them. Complexity is the features' word."""
    confidence = np.where(table.worthless, 0.0, whole.probability(table.x))
    complexity = table.x[:, names.index("complexity")]
    for at in np.flatnonzero(table.dev):
        yield {"id": table.rows[at]["id"], "complexity": round(float(complexity[at]), 6), "confidence": round(float(confidence[at]), 6),
               "good": float(table.y[at]), "good_source": "check", "task": str(table.source[at])}


def extract(rows):
    """Features by the shipped code."""
    command = ["cargo", "run", "--quiet", "-p", "sluicegate-router-model", "--example", "answers", "--", *map(str, PREFIXES)]
    keys = ("prompt", "answer", "logprob", "entropy")
    lines = "".join(json.dumps({**{k: row[k] for k in keys}, **{k: row.get(k, False) for k in ("json", "looped", "empty", "cut_short")}}) + "\n" for row in rows)
    raw = subprocess.run(command, input=lines.encode(), stdout=subprocess.PIPE, check=True, cwd=ROOT).stdout
    found = [json.loads(line) for line in raw.splitlines()]
    assert len(found) == len(rows), "the extractor must answer every line"
    return found


def feature_names():
    source = (ROOT / "router-model/src/confidence/features.rs").read_text()
    listed = source.split("pub const NAMES", 1)[1].split("= [", 1)[1].split("];", 1)[0]
    return [part.strip().strip('"') for part in listed.split(",") if part.strip()]


class Table:
    def __init__(self, rows, found=None):
        self.rows = rows
        self.found = extract(rows) if found is None else found
        self.x = np.array([f["features"] for f in self.found], float)
        self.y = np.array([row["good"] for row in rows])
        self.worthless = np.array([f["worthless"] for f in self.found], bool)
        self.kind = np.array([row["kind"] for row in rows])
        self.group = np.array([group_of(row) for row in rows])
        self.dev = np.array([share_of(group) < DEV_SHARE for group in self.group])
        self.source = np.array([source_of(row) for row in rows])
        counts = {name: (self.source == name).sum() for name in np.unique(self.source)}
        # Large sources count for more than small ones, but not by all that they are larger.
        self.share = np.array([1.0 / np.sqrt(counts[name]) for name in self.source])

    def beginnings(self):
        """One row for each beginning of each answer that is longer, as heavy together as the answer."""
        rows, found, share = [], [], []
        for row, f, weight in zip(self.rows, self.found, self.share):
            for features in f["prefix"].values():
                rows.append(row)
                found.append({"features": features, "worthless": False})
                share.append(weight / len(f["prefix"]))
        table = Table(rows, found)
        table.share = np.array(share)
        return table


class Model:
    """Standardised features, cut; a logistic regression with signs; and a logistic curve over its score."""

    def __init__(self, x, y, share, penalty, names, without=()):
        self.mean = x.mean(0).astype(np.float32).astype(float)
        spread = x.std(0)
        self.scale = np.where(spread > 1e-6, 1.0 / np.maximum(spread, 1e-6), 0.0).astype(np.float32).astype(float)
        self.penalty = penalty
        bounds = [(0, 0) if name in without else bound_of(name) for name in names]
        found = logistic(self.z(x), y, share, penalty, bounds)
        self.weight, self.bias = found[:-1].astype(np.float32).astype(float), float(np.float32(found[-1]))
        self.knots = None

    def z(self, x):
        return np.clip((x - self.mean) * self.scale, -CLIP, CLIP)

    def score(self, x):
        return self.z(x) @ self.weight + self.bias

    def calibrate(self, score, y, share):
        """A logistic curve, kept from promising certainty; few rows do not carry a freer one."""
        slope, shift = logistic(score[:, None], y, share, 1e-6, [(0.05, None)])
        at = np.linspace(-9, 9, 73)
        self.knots = (at.astype(np.float32), np.clip(1.0 / (1.0 + np.exp(-(slope * at + shift))), 0.01, 0.99).astype(np.float32))

    def probability(self, x):
        return np.interp(self.score(x), self.knots[0].astype(float), self.knots[1].astype(float))

    def export(self):
        number = lambda values: [float(np.float32(value)) for value in values]
        return {"mean": number(self.mean), "scale": number(self.scale), "weight": number(self.weight), "bias": self.bias,
                "knots": {"score": number(self.knots[0]), "probability": number(self.knots[1])}}


def bound_of(name):
    sign = 1 if name.startswith("logprob") else SIGNS.get(name, 0)
    return {1: (0, None), -1: (None, 0), 0: (None, None)}[sign]


def logistic(z, y, share, penalty, bounds):
    """Weights within bounds, and a bias, of a logistic regression with a quadratic penalty."""
    share = share / share.sum()

    def loss(w):
        score = z @ w[:-1] + w[-1]
        p = 1.0 / (1.0 + np.exp(-score))
        value = (share * (np.logaddexp(0.0, score) - y * score)).sum() + penalty * (w[:-1] ** 2).sum()
        return value, np.append(z.T @ (share * (p - y)) + 2 * penalty * w[:-1], (share * (p - y)).sum())

    return minimize(loss, np.zeros(z.shape[1] + 1), jac=True, bounds=[*bounds, (None, None)], method="L-BFGS-B").x


def fit(table, names, without=PROMPT_SIDE):
    """Fits on the rows that are not held out. The penalty comes from leaving one source out at a time. Calibration sees such scores and those of templates left out, half
    and half: traffic is in part like what was fitted and in part not."""
    keep = ~table.dev & ~table.worthless
    x, y, share, source = table.x[keep], table.y[keep], table.share[keep], table.source[keep]
    fold = np.array([int(share_of("fold" + group) * FOLDS) for group in table.group[keep]])

    def left_out(penalty, part):
        score = np.zeros(len(y))
        for name in np.unique(part):
            held = part == name
            score[held] = Model(x[~held], y[~held], share[~held], penalty, names, without).score(x[held])
        return score

    scores = {penalty: left_out(penalty, source) for penalty in PENALTIES}
    loss = lambda p: float((share * (np.logaddexp(0.0, scores[p]) - y * scores[p])).sum() / share.sum())
    penalty = min(PENALTIES, key=loss)
    model = Model(x, y, share, penalty, names, without)
    both = np.concatenate([scores[penalty], left_out(penalty, fold)])
    model.calibrate(both, np.tile(y, 2), np.tile(share, 2))
    model.left_out, model.loss = (scores[penalty], y, source), loss(penalty)
    return model


def report(table, mask, whole, prefix, train, names):
    mask = np.ones(len(table.y), bool) if mask is None else mask
    zero = lambda p: np.where(table.worthless, 0.0, p)
    scores = {"model": zero(whole.probability(table.x)), "mean_probability": zero(table.x[:, names.index("probability_mean")]),
              "complexity_alone": 1.0 - table.x[:, names.index("complexity")],
              "with_prompt_side": zero(fit(train, names, []).probability(table.x)),
              "without_prompt_side": zero(fit(train, names, PROMPT_SIDE).probability(table.x))}
    early = [f["prefix"].get(str(HELD)) for f in table.found]
    at_hold = np.array([p is not None for p in early])
    begun = np.where(at_hold, prefix.probability(np.array([p or [0.0] * len(names) for p in early])), scores["model"])
    scores[f"prefix_{HELD}"] = begun
    result = {"overall": {name: figures(score[mask], table.y[mask]) for name, score in scores.items()}}
    result["longer_than_hold"] = {name: figures(score[mask & at_hold], table.y[mask & at_hold]) for name, score in scores.items()} if (mask & at_hold).sum() > 20 else None
    result["by_kind"] = {}
    for kind in np.unique(table.kind[mask]):
        own = mask & (table.kind == kind)
        if own.sum() >= 15:
            result["by_kind"][str(kind)] = {name: figures(scores[name][own], table.y[own]) for name in ("model", "mean_probability")}
    result["reliability"] = measure.reliability(scores["model"][mask], table.y[mask])
    result["thresholds"] = [threshold(scores["model"][mask], table.y[mask], t) for t in np.arange(0.1, 0.95, 0.05)]
    return result


def left_out_report(whole, table, names):
    """Ranking of answers to questions of a source that was not fitted: pooled, and the mean within sources."""
    keep = ~table.dev & ~table.worthless
    score, good, source = whole.left_out
    plain = table.x[keep][:, names.index("probability_mean")]
    sides = {"with_prompt_side": fit(table, names, []).left_out[0], "without_prompt_side": fit(table, names, PROMPT_SIDE).left_out[0]}
    large = [name for name in np.unique(source) if (source == name).sum() >= 15]
    within = lambda s: float(np.nanmean([measure.auroc(s[source == name], good[source == name]) for name in large]))
    return {name: {"auroc": measure.auroc(s, good), "auroc_within": within(s)}
            for name, s in {"model": score, **sides, "mean_probability": plain}.items()}


def threshold(score, y, at):
    served = score >= at
    return {"escalate_below": round(float(at), 2), "served_locally": float(served.mean()), "good_when_served": float(y[served].mean()) if served.any() else None,
            "good_if_escalations_are": float((y * served).mean() + (~served).mean())}


def figures(score, y):
    """AUROC, expected calibration error and Brier score, each with its 95 % bootstrap interval."""
    draws = np.random.default_rng(7)
    functions = {"auroc": measure.auroc, "ece": measure.ece, "brier": lambda p, label: float(((p - label) ** 2).mean())}
    result = {"rows": len(y), "good": float(y.mean())}
    samples = [draws.integers(0, len(y), len(y)) for _ in range(BOOTSTRAPS)]
    for name, function in functions.items():
        values = np.array([function(score[s], y[s]) for s in samples])
        values = values[~np.isnan(values)]
        interval = [float(v) for v in np.quantile(values, [0.025, 0.975])] if len(values) else None
        result[name] = {"value": function(score, y), "interval": interval}
    return result


def parity(path, whole, prefix):
    cases = []
    for row, found in zip(PARITY, extract(PARITY)):
        case = {**row, "profile": found["profile"], "whole": 0.0 if found["worthless"] else float(whole.probability(np.array(found["features"], float)[None])[0])}
        case["prefix"] = {count: float(prefix.probability(np.array(x, float)[None])[0]) for count, x in found["prefix"].items()}
        cases.append(case)
    path.write_text(json.dumps(cases, indent=1) + "\n")


def rounded(value):
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [rounded(entry) for entry in value]
    if isinstance(value, float):
        return round(value, 4) if np.isfinite(value) else None
    return value


if __name__ == "__main__":
    main()
