"""Rows and targets for the complexity and task heads.

Licence rule: rows marked non-commercial, and sources that state no licence, never train what ships; they are
read for validation only.
"""

import gzip
import json
import pathlib
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp

import labels
import own_prompts

# No licence stated by the publisher, or a name that is close to a benchmark that grades the product.
VALIDATION_ONLY_PREFIXES = ("routerdc_", "mixeval", "llmrouter_mmlu", "alpaca_eval")

# Models that stand for "small". Models that fail by answer format rather than by difficulty are left out.
SMALL = {
    "llama-3.1-8b-instruct", "gemma-2-9b-it", "mistral-7b-instruct-v0.3", "qwen2.5-7b-instruct",
    "mistral-7b-chat", "WizardLM-13B-V1.2", "mixtral-8x7b-chat", "llama-2-70b-chat",
    "gemma-2-2b-it", "Qwen2.5-3B-Instruct", "Phi-3-mini-4k-instruct", "Phi-3.5-mini-instruct", "Meta-Llama-3-8B-Instruct",
    "Meta-Llama-3.1-8B-Instruct", "Qwen2-7B-Instruct", "Qwen2.5-7B-Instruct", "Mixtral-8x7B-Instruct-v0.1",
    "Yi-1.5-9B-Chat", "Meta-Llama-3-70B-Instruct", "gpt-3.5-turbo-0125",
    "Meta-Llama-3-8B", "Mistral-7B-v0.1", "dolphin-2.6-mistral-7b", "dolphin-2.9-llama3-8b", "zephyr-7b-beta",
    "gemma-1.1-7b-it",
    "gemma-2b-it", "phi-2-sft", "minichat-3b", "vicuna-7b-v1.5", "FuseChat-Llama-3.2-3B-Instruct",
    "FuseChat-Llama-3.2-1B-Instruct", "gemma-7b-it", "OpenHermes-2.5-Mistral-7B", "vicuna-13b-v1.5",
}
LARGE = {
    "llama-3.1-nemotron-51b-instruct", "llama-3.3-nemotron-super-49b-v1", "gpt-4-1106-preview", "gpt-4o-2024-08-06",
    "gpt-4o-2024-05-13", "claude-3-5-sonnet-20240620", "gpt-4-turbo-2024-04-09", "deepseek-v2.5-0908", "Mistral-Large-2",
    "Llama-3.1-405B-Inst@sambanova", "gpt4_1106_preview",
}
# Kinds of work of the questions that the shipped model answered.
TASKS_OF_CATEGORY = {"word-problem": "math", "sum": "math", "foreign": "math", "compare": "math", "code": "code", "trace": "code",
                     "words": "reasoning", "passage": "closed_qa"}
# A model whose mean on a source is this far below the other small models does not answer in the asked format.
FORMAT_FAILURE_MARGIN = 0.35


@dataclass
class Row:
    prompt: str
    source: str
    task: str
    key: str
    trainable: bool
    fail: float | None = None
    small: float | None = None
    large: float | None = None
    representative: float | None = None
    meta: dict = field(default_factory=dict)


def load(folder):
    labelled = _read(pathlib.Path(folder) / "train_labeled.jsonl.gz")
    typed = _read(pathlib.Path(folder) / "train_typed.jsonl.gz")
    return _labelled(labelled) + _typed(typed) + _own() + _shipped(labelled)


def _read(path):
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _trainable(raw):
    return not raw.get("non_commercial", False) and not raw["source"].startswith(VALIDATION_ONLY_PREFIXES)


def _labelled(raws):
    by_source = defaultdict(list)
    for raw in raws:
        by_source[raw["source"]].append(raw)
    rows = []
    for source, group in sorted(by_source.items()):
        small = _usable(group, SMALL)
        large = _usable(group, LARGE)
        for raw in group:
            weak = _mean(raw["scores"], small)
            if weak is None:
                continue
            rows.append(Row(
                prompt=raw["prompt"], source=source, task=raw["task"], key=raw["prompt_hash"], trainable=_trainable(raw),
                fail=1.0 - weak, small=weak, large=_mean(raw["scores"], large), representative=raw["small_score"],
                meta={"subtask": raw.get("subtask")},
            ))
    return rows


def _usable(group, names):
    sums = defaultdict(list)
    for raw in group:
        for name, score in raw["scores"].items():
            if name in names:
                sums[name].append(score)
    means = {name: sum(scores) / len(scores) for name, scores in sums.items()}
    if not means:
        return set()
    middle = sorted(means.values())[len(means) // 2]
    return {name for name, mean in means.items() if mean > middle - FORMAT_FAILURE_MARGIN}


def _mean(scores, names):
    values = [score for name, score in scores.items() if name in names]
    return sum(values) / len(values) if values else None


def _typed(raws):
    rows = []
    for raw in raws:
        row = Row(prompt=raw["prompt"], source=raw["source"], task=raw["task"], key=raw["prompt_hash"],
                  trainable=_trainable(raw), meta={"difficulty": raw.get("difficulty"), "n_steps": raw.get("n_steps")})
        rows.append(row)
    return rows


def _shipped(labelled):
    """Answers of the shipped model to checkable questions (`labels.py`): one source for each kind of question, and a source
    without measured failures for open prompts, whose answers tell only how long they are."""
    prompts = {raw["prompt_hash"]: raw["prompt"] for raw in labelled}
    rows = []
    for raw in labels.read():
        checked = raw["right"] is not None
        # Where the question was asked in other words, the prompt as people wrote it counts.
        prompt = prompts.get(raw["group"], raw["prompt"])
        rows.append(Row(
            prompt=prompt, source=f"shipped_{raw['category']}", task=TASKS_OF_CATEGORY.get(raw["category"], ""), key=raw["group"], trainable=True,
            fail=1.0 - float(raw["right"]) if checked else None, small=float(raw["right"]) if checked else None,
            meta={"output_tokens": raw["output_tokens"]},
        ))
    return rows


def with_traffic(path, rows, dense, hashed, vectors):
    """Adds graded rows of one's own traffic. They carry hand features and no text, so that words and the encoder say nothing of
    them."""
    added, features = [], []
    for line in open(path, encoding="utf-8"):
        raw = json.loads(line)
        if raw.get("good") is None or not raw.get("features"):
            continue
        if len(raw["features"]) != dense.shape[1]:
            raise SystemExit(f"{path}: {raw['id']} has {len(raw['features'])} features, and this version knows {dense.shape[1]}")
        added.append(Row(prompt="", source="traffic", task=raw.get("task") or "", key=f"traffic:{raw['id']}", trainable=True,
                         fail=1.0 - raw["good"], small=raw["good"], large=raw.get("strong")))
        features.append(raw["features"])
    if not added:
        raise SystemExit(f"{path}: no row has both a grade and features")
    empty = sp.csr_matrix((len(added), hashed.shape[1]))
    neutral = np.repeat(vectors.mean(0, keepdims=True), len(added), 0)
    return rows + added, np.vstack([dense, np.array(features)]), sp.vstack([hashed, empty]).tocsr(), np.vstack([vectors, neutral])


def _own():
    return [Row(prompt=text, source=f"own_{kind}", task=task, key=f"own:{text}", trainable=True)
            for kind, task, text in own_prompts.generate()]
