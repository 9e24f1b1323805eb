"""Chooses the thresholds of the token-classification model on the development data, and says how good it is there.

    python router-model/train/ner/thresholds.py --data SHARED_DATA --model FOLDER [--names SYNTHETIC_DEV.jsonl.gz]

Reads words from scores of tokens as the service does (`src/names/spans.rs`). For each kind the threshold with the best F2
is taken, the mean over sources that mark the kind; then the kinds with the most false alarms are raised, where that
helps, until at most two look-alikes (`hn_synth_dev`) in a hundred are flagged. Writes `thresholds.json`, `metrics.json` and `reference.json` (texts with the findings that
the service must give, for the parity test) into the folder.
"""

import argparse
import collections
import json
import pathlib

import numpy as np
from onnxruntime import InferenceSession, SessionOptions
from tokenizers import Tokenizer

import data

WINDOW, GAP, FLAGGED_MAX = 254, 4, 0.02
# A kind is not raised beyond this for look-alikes: what is missed leaks, what is flagged is only kept.
RAISED_MAX = 0.7
GRID = [round(0.10 + 0.05 * i, 2) for i in range(18)]
REFERENCE = [
    "Please write to Maria González, Hauptstraße 5, 10115 Berlin, about the loan.",
    "Пациент Иван Петров, 45 лет, живёт в Казани; лечащий врач Ольга Смирнова.",
    "my boss dave from acme corp said hi @dave_x, meet in leeds",
    "La signora Giulia Bianchi lavora presso Ferrovie del Nord a Milano.\nNome: Luca\nCognome: Rossi",
    "Explain the bubble sort algorithm in Python.",
]


def is_mark(c):
    return any(a <= c <= b for a, b in [("\u0300", "\u036f"), ("\u0591", "\u05c7"), ("\u064b", "\u065f"), ("\u093a", "\u094f"), ("\u0e31", "\u0e4e")])


def runs(text):
    all_runs = []
    for at, c in enumerate(text):
        if c.isalnum() or c == "_" or is_mark(c):
            if all_runs and all_runs[-1][1] == at:
                all_runs[-1][1] = at + 1
            else:
                all_runs.append([at, at + 1])
    return all_runs


def windows(count, limit):
    if count <= limit:
        return [(0, count)]
    step, start, out = limit - limit // 4, 0, []
    while start + limit < count:
        out.append((start, start + limit))
        start += step
    return out + [(count - limit, count)]


class Model:
    def __init__(self, folder):
        options = SessionOptions()
        options.intra_op_num_threads = 1
        self.session = InferenceSession(str(folder / "model.onnx"), options)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def tokens(self, text):
        """Places of the tokens and the chance of each label, `[tokens, labels]`."""
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        count = len(encoding.ids)
        chances, best = np.zeros((count, len(data.LABELS)), np.float32), np.full(count, -1.0)
        for start, end in windows(count, WINDOW):
            ids = [0, *encoding.ids[start:end], 2]
            logits = self.session.run(["logits"], {"input_ids": [ids], "attention_mask": [[1] * len(ids)]})[0][0][1:-1]
            raised = np.exp(logits - logits.max(-1, keepdims=True))
            shares = raised / raised.sum(-1, keepdims=True)
            for i in range(start, end):
                before = np.inf if start == 0 else i - start
                after = np.inf if end == count else end - 1 - i
                if min(before, after) > best[i]:
                    best[i], chances[i] = min(before, after), shares[i - start]
        return encoding.offsets, chances

    def words(self, text):
        """Each word with the chance of each kind, and whether it rather begins one."""
        offsets, chances = self.tokens(text)
        begin, go_on = chances[:, 1::2], chances[:, 2::2]
        out, first = [], 0
        for start, end in runs(text):
            while first < len(offsets) and offsets[first][1] <= start:
                first += 1
            inside = []
            for i in range(first, len(offsets)):
                if offsets[i][0] >= end:
                    break
                if offsets[i][1] > offsets[i][0]:
                    inside.append(i)
            if inside:
                out.append((start, end, (begin + go_on)[inside].max(0), begin[inside[0]] > go_on[inside[0]]))
        return out


def spans(text, words, thresholds):
    found = []
    for start, end, chances, begins in words:
        kind = int(chances.argmax())
        if chances[kind] < thresholds[kind]:
            continue
        if found and found[-1][2] == kind and not begins[kind] and start - found[-1][1] <= GAP and "\n" not in text[found[-1][1]:start]:
            found[-1][1] = end
            found[-1][3].append(float(chances[kind]))
        else:
            found.append([start, end, kind, [float(chances[kind])]])
    out = []
    for start, end, kind, chances in found:
        if data.TYPES[kind] == "USERNAME" and start > 0 and text[start - 1] == "@":
            start -= 1
        above = (float(np.mean(chances)) - thresholds[kind]) / max(1 - thresholds[kind], 1e-7)
        out.append((start, end, data.TYPES[kind], 0.5 + 0.45 * min(max(above, 0.0), 1.0)))
    return out


def counts(records, thresholds, kinds):
    """True and false positives and misses of each kind by source; a match is the same kind with a character in common."""
    table = collections.defaultdict(lambda: [0, 0, 0])
    for record, words in records:
        marked = set(record["annotated"])
        found = spans(record["text"], words, thresholds)
        for kind in kinds & marked:
            gold = [(s["start"], s["end"]) for s in record["spans"] if s["type"] == kind]
            here = [(s, e) for s, e, k, _ in found if k == kind]
            hit = sum(any(s < e2 and e > s2 for s2, e2 in here) for s, e in gold)
            row = table[record["source"], kind]
            row[0] += hit
            row[1] += sum(not any(s < e2 and e > s2 for s2, e2 in gold) for s, e in here)
            row[2] += len(gold) - hit
    return table


def f2(row):
    hit, wrong, missed = row
    return 5 * hit / (5 * hit + 4 * missed + wrong) if hit else 0.0


def choose(records, look_alikes):
    """Thresholds by kind."""
    chosen = [0.5] * len(data.TYPES)
    tables = {t: counts(records, [t] * len(data.TYPES), set(data.TYPES)) for t in GRID}
    for place, kind in enumerate(data.TYPES):
        sources = {s for s, k in tables[GRID[0]] if k == kind and sum(tables[GRID[0]][s, k]) >= 10}

        def mean(t):
            return float(np.mean([f2(tables[t][s, kind]) for s in sources])) if sources else 0.0

        chosen[place] = max(GRID, key=mean)
    left = set(range(len(data.TYPES)))
    while left and np.mean(alarms(look_alikes, chosen).sum(1) > 0) > FLAGGED_MAX:
        by_kind = alarms(look_alikes, chosen).sum(0)
        worst = max(left, key=lambda place: by_kind[place])
        raised = [max(t, RAISED_MAX) if place == worst else t for place, t in enumerate(chosen)]
        if alarms(look_alikes, raised).sum(0)[worst] < by_kind[worst]:
            chosen[worst] = round(chosen[worst] + 0.05, 2)
        else:
            left.remove(worst)
    return chosen


def alarms(look_alikes, thresholds):
    """Which kinds are found in which look-alike, `[texts, kinds]`."""
    found = np.zeros((max(len(look_alikes), 1), len(data.TYPES)), int)
    for place, (record, words) in enumerate(look_alikes):
        for _, _, kind, _ in spans(record["text"], words, thresholds):
            found[place, data.TYPES.index(kind)] = 1
    return found


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", required=True)
    arguments.add_argument("--model", required=True)
    arguments.add_argument("--names", action="append", default=[])
    arguments.add_argument("--limit", type=int, default=0, help="records a source, for a quick look")
    chosen = arguments.parse_args()
    folder = pathlib.Path(chosen.model)
    model = Model(folder)
    kept = collections.Counter()
    records, look_alikes = [], []
    for path in [pathlib.Path(chosen.data) / "privacy" / "pii_dev.jsonl.gz", *chosen.names]:
        for record in data.read(path):
            kept[record["source"]] += 1
            if chosen.limit and kept[record["source"]] > chosen.limit or not data.is_free(record):
                continue
            words = model.words(record["text"])
            (look_alikes if record.get("hard_negative") else records).append((record, words))
    thresholds = choose(records, look_alikes)
    table = counts(records, thresholds, set(data.TYPES))
    metrics = {"f2": {f"{s} {k}": round(f2(row), 3) for (s, k), row in sorted(table.items()) if row[0] + row[2]},
               "counts": {f"{s} {k}": row for (s, k), row in sorted(table.items())},
               "look_alikes_flagged": float(np.mean(alarms(look_alikes, thresholds).sum(1) > 0))}
    named = dict(zip(data.TYPES, thresholds))
    (folder / "thresholds.json").write_text(json.dumps({"thresholds": named}, indent=1) + "\n")
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    reference = [{"text": t, "spans": [[s, e, k, round(c, 4)] for s, e, k, c in spans(t, model.words(t), thresholds)]} for t in REFERENCE]
    (folder / "reference.json").write_text(json.dumps(reference, ensure_ascii=False, indent=1) + "\n")
    print(json.dumps({"thresholds": named, **metrics["f2"], "look_alikes_flagged": metrics["look_alikes_flagged"]}, indent=1))


if __name__ == "__main__":
    main()
