"""The second rung: a small encoder, fine-tuned end to end, with several heads.

Starts from paraphrase-MiniLM-L3-v2 (Apache-2.0): three layers, 384 wide. Its vocabulary is cut to the word pieces that
training uses, and its matrices are quantised to eight bits for each channel.

Heads, all on the mean of the last layer:
* `difficulty`: what makes a question harder than its neighbours; labels centred within their source, as in `heads.py`.
* `gap`: by how much a strong model does better, centred within its source.
* `level`: P(fail) on an absolute scale, with the assigned levels of prompts that carry no measured label.
* `task`: one of the seventeen kinds of work.
"""

import json
import math
import pathlib
import subprocess

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

import featurize
import heads
import tasks

LAYERS, WIDTH, ATTENTION_HEADS = 3, 384, 12
MAX_TOKENS = 256
HEADS = 3 + len(tasks.TASKS)
EPOCHS, BATCH, RATE, WARM_UP, DECAY = 2, 32, 1.0e-4, 0.1, 0.01
DROPOUT = 0.1
WEIGHTS = {"difficulty": 1.0, "gap": 0.5, "level": 0.7, "task": 0.2}
# Rows of a source in an epoch: proportional to the root of its size.
EPOCH_ROWS = 9000
STEPS_WEIGHT = 0.5


def readings(prompts):
    """What the service's encoder reads of each prompt: the Rust example is the only implementation."""
    command = ["cargo", "run", "--quiet", "--release", "-p", "sluicegate-router-model", "--example", "readings"]
    lines = "".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts)
    raw = subprocess.run(command, input=lines.encode(), stdout=subprocess.PIPE, check=True, cwd=featurize.ROOT).stdout
    found = [json.loads(line) for line in raw.decode().splitlines()]
    assert len(found) == len(prompts)
    return found


class Layer(nn.Module):
    """A transformer layer with normalisation after each half (Devlin et al. 2019)."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.rise, self.fall = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH, eps=1e-12), nn.LayerNorm(WIDTH, eps=1e-12)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x, mask):
        batch, length, _ = x.shape
        split = lambda y: y.reshape(batch, length, ATTENTION_HEADS, WIDTH // ATTENTION_HEADS).transpose(1, 2)
        scores = split(self.query(x)) @ split(self.key(x)).transpose(2, 3) / math.sqrt(WIDTH // ATTENTION_HEADS)
        mixed = torch.softmax(scores + mask, dim=-1) @ split(self.value(x))
        mixed = mixed.transpose(1, 2).reshape(batch, length, WIDTH)
        x = self.norm_1(x + self.dropout(self.output(mixed)))
        return self.norm_2(x + self.dropout(self.fall(nn.functional.gelu(self.rise(x)))))


class Encoder(nn.Module):
    """Token ids and mask `[batch, length]` to logits `[batch, HEADS]`."""

    def __init__(self, words):
        super().__init__()
        self.words, self.places = nn.Embedding(words, WIDTH), nn.Embedding(MAX_TOKENS, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.dropout = nn.Dropout(DROPOUT)
        self.heads = nn.Linear(WIDTH, HEADS)

    def forward(self, input_ids, attention_mask):
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.dropout(self.norm(self.words(input_ids) + self.places(places)))
        visible = attention_mask.to(x.dtype)
        mask = (1.0 - visible[:, None, None, :]) * -1e4
        for layer in self.layers:
            x = layer(x, mask)
        mean = (x * visible[:, :, None]).sum(1) / visible.sum(1, keepdim=True)
        return self.heads(self.dropout(mean))


def base(folder):
    """The pre-trained weights and the tokenizer from the folder that `base.py` fills."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(pathlib.Path(folder) / "model.onnx")).graph
    raw = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = {name.split("auto_model.")[1]: value for name, value in raw.items() if "auto_model." in name}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in raw:
            name = node.name.split("auto_model/")[1].removesuffix("/MatMul").replace("/", ".")
            weights[f"{name}.weight"] = raw[node.input[1]].T
    return weights, Tokenizer.from_file(str(pathlib.Path(folder) / "tokenizer.json"))


def start(weights, kept):
    """An encoder with pre-trained weights for the word pieces `kept`."""
    model = Encoder(len(kept))
    tensor = lambda name: torch.tensor(np.ascontiguousarray(weights[name]))
    with torch.no_grad():
        # Every text is of the first kind, so that the embedding of kinds is one vector.
        model.words.weight.copy_(tensor("embeddings.word_embeddings.weight")[kept] + tensor("embeddings.token_type_embeddings.weight")[0])
        model.places.weight.copy_(tensor("embeddings.position_embeddings.weight")[:MAX_TOKENS])
        names = {"query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value", "output": "attention.output.dense",
                 "rise": "intermediate.dense", "fall": "output.dense", "norm_1": "attention.output.LayerNorm", "norm_2": "output.LayerNorm"}
        parts = [(model.norm, "embeddings.LayerNorm")]
        parts += [(getattr(layer, ours), f"encoder.layer.{at}.{theirs}") for at, layer in enumerate(model.layers) for ours, theirs in names.items()]
        for module, name in parts:
            module.weight.copy_(tensor(f"{name}.weight"))
            module.bias.copy_(tensor(f"{name}.bias"))
        model.heads.weight.normal_(0, 0.02)
        model.heads.bias.zero_()
    return model


class Targets:
    """Targets and weights of every row; a weight of zero masks the head."""

    def __init__(self, table):
        self.difficulty, self.difficulty_weight = heads.centred_target(table, True)
        self.level, self.level_weight = heads.level_target(table)
        self.gap, self.gap_weight = np.zeros(len(table.rows)), np.zeros(len(table.rows))
        for source in table.measured:
            mask = (table.source == source) & table.trainable & ~np.isnan(table.large)
            if mask.any():
                values = table.large[mask] + table.fail[mask] - 1.0
                self.gap[mask] = (values - values.mean()) / (values.std() + 1e-6)
                self.gap_weight[mask] = 1.0 / np.sqrt(mask.sum())
        self.task = np.array([tasks.TASKS.index(row.task) if row.task in tasks.TASKS and row.trainable else -1 for row in table.rows])
        self.kept = table.trainable & ((self.difficulty_weight > 0) | (self.level_weight > 0))
        self.table = table


def draw(targets, keep, rng):
    """Rows of one epoch: sources at the root of their size, each row at most once."""
    rows = np.flatnonzero(keep & targets.kept)
    source = targets.table.source[rows]
    names, counts = np.unique(source, return_counts=True)
    share = np.sqrt(counts) / np.sqrt(counts).sum()
    chosen = []
    for name, part in zip(names, share):
        mine = rows[source == name]
        chosen.append(rng.permutation(mine)[: max(1, int(round(part * EPOCH_ROWS)))])
    chosen = np.concatenate(chosen)
    rng.shuffle(chosen)
    return chosen


def batches(rows, ids):
    """Batches of similar length, in random order."""
    for at in range(0, len(rows), BATCH * 16):
        pool = sorted(rows[at : at + BATCH * 16], key=lambda row: len(ids[row]))
        for begin in np.random.default_rng(at).permutation(range(0, len(pool), BATCH)):
            yield np.array(pool[begin : begin + BATCH])


def pack(ids, rows, device="cpu"):
    length = max(len(ids[row]) for row in rows)
    tokens, mask = np.zeros((len(rows), length), np.int64), np.zeros((len(rows), length), np.int64)
    for at, row in enumerate(rows):
        tokens[at, : len(ids[row])] = ids[row]
        mask[at, : len(ids[row])] = 1
    return torch.from_numpy(tokens).to(device), torch.from_numpy(mask).to(device)


def loss_of(logits, rows, targets, unit):
    """Weighted sum over the heads; each weight is relative to its head's mean."""
    tensor = lambda values: torch.tensor(values[rows], dtype=torch.float32, device=logits.device)
    def head(value, weight, name):
        mask = (weight > 0).float()
        return WEIGHTS[name] * (value * mask).sum() / len(rows)
    total = head((logits[:, 0] - tensor(targets.difficulty)) ** 2, tensor(targets.difficulty_weight), "difficulty")
    total = total + head((logits[:, 1] - tensor(targets.gap)) ** 2, tensor(targets.gap_weight), "gap")
    level = nn.functional.binary_cross_entropy_with_logits(logits[:, 2], tensor(targets.level), reduction="none")
    total = total + head(level, tensor(targets.level_weight), "level")
    task = torch.tensor(targets.task[rows], device=logits.device)
    named = task >= 0
    if named.any():
        total = total + WEIGHTS["task"] * nn.functional.cross_entropy(logits[named][:, 3:], task[named]) * named.float().mean()
    return total


def train(weights, kept, ids, targets, keep, seed, epochs=EPOCHS, say=lambda line: None):
    """Fine-tunes on the rows where `keep` holds. Every run with the same seed and threads gives the same weights."""
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = start(weights, kept).to(device).train()
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    plan = [draw(targets, keep, rng) for _ in range(epochs)]
    steps = sum(math.ceil(len(rows) / BATCH) for rows in plan)
    rate = lambda step: min(1.0, (step + 1) / (WARM_UP * steps)) * max(0.0, (steps - step) / steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    for epoch, rows in enumerate(plan):
        total, count = 0.0, 0
        for batch in batches(rows, ids):
            tokens, mask = pack(ids, batch, device)
            loss = loss_of(model(tokens, mask), batch, targets, None)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total, count = total + loss.item(), count + 1
        say(f"epoch {epoch + 1} of {epochs}: {len(rows)} rows, mean loss {total / count:.4f}")
    return model.cpu().eval()


def predict(model, ids, rows):
    """Logits `[rows, HEADS]` in float32."""
    out = np.zeros((len(rows), HEADS), np.float32)
    order = np.argsort([len(ids[row]) for row in rows])
    with torch.no_grad():
        for at in range(0, len(rows), 64):
            part = order[at : at + 64]
            out[part] = model(*pack(ids, [rows[i] for i in part])).numpy()
    return out
