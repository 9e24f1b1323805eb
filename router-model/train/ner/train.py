"""Trains the token-classification model and writes what ships.

    python router-model/train/ner/train.py --data SHARED_DATA --names SYNTHETIC.jsonl.gz --out FOLDER [--base FOLDER]

Word vectors stay as published (four bits); the first layers and the head are trained. Fixed seeds; one thread of a CPU
needs about an hour. `export.py` writes the ONNX graph, `thresholds.py` the thresholds.
"""

import argparse
import collections
import json
import pathlib
import time

import numpy as np
import torch
from tokenizers import Tokenizer

import base
import data

PIECES, LAYERS, BATCH_TOKENS = 48_000, 6, 2048


def vocabulary(packed, texts):
    """Ids of the pieces that are kept: those of the training text, then the most probable of the scripts that it is
    written in and of single characters of every script."""
    full = Tokenizer.from_str(base.tokenizer_json(packed, list(range(len(packed.pieces) - 1))))
    seen = collections.Counter()
    for text in texts:
        seen.update(full.encode(text, add_special_tokens=False).ids)

    def rank(i):
        piece = packed.pieces[i].lstrip(base.MARK)
        known = all(ord(c) < 0x530 for c in piece)
        return (i >= 4, seen[i] == 0, not known and len(piece) > 1, -packed.scores[i])

    kept = sorted(range(len(packed.pieces) - 1), key=rank)[:PIECES]
    return sorted(kept)


def tensors(batch):
    width = max(len(ids) for ids, _ in batch) + 2
    ids = torch.full((len(batch), width), 1)
    allowed = torch.zeros((len(batch), width, len(data.LABELS)), dtype=torch.bool)
    for i, (tokens, rows) in enumerate(batch):
        ids[i, : len(tokens) + 2] = torch.tensor([0, *tokens, 2])
        for j, row in enumerate(rows):
            allowed[i, j + 1, row] = True
    return ids, allowed


def loss_of(logits, allowed):
    """The negative logarithm of the total probability of the possible labels, over real tokens."""
    all_of_them = logits.logsumexp(-1)
    some = logits.masked_fill(~allowed, -1e4).logsumexp(-1)
    return (all_of_them - some)[allowed.any(-1)].mean()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", required=True)
    arguments.add_argument("--names", action="append", default=[])
    arguments.add_argument("--out", required=True)
    arguments.add_argument("--base", default="base")
    arguments.add_argument("--epochs", type=int, default=3)
    arguments.add_argument("--layers", type=int, default=LAYERS)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--rate", type=float, default=1.5e-4, help="learning rate of the layers")
    arguments.add_argument("--init", help="folder of an earlier run to go on from, with its pieces")
    chosen = arguments.parse_args()
    out = pathlib.Path(chosen.out)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(chosen.seed)
    torch.set_num_threads(chosen.threads)

    packed = base.Packed(base.fetch(chosen.base))
    records = list(data.records(chosen.data, chosen.names))
    before = pathlib.Path(chosen.init) if chosen.init else None
    ids = json.loads((before / "ids.json").read_text()) if before else vocabulary(packed, (record["text"] for record in records))
    (out / "ids.json").write_text(json.dumps(ids))
    (out / "tokenizer.json").write_text(base.tokenizer_json(packed, ids))
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    train = [record for record in records if not data.is_dev(record["text"], 0.02)]
    dev = [record for record in records if data.is_dev(record["text"], 0.02)]

    model = base.encoder(packed, ids, chosen.layers, data.LABELS)
    if before:
        model.load_state_dict(torch.load(before / "model.pt", map_location="cpu"))
    model.bert.embeddings.word_embeddings.weight.requires_grad_(False)
    head = [p for n, p in model.named_parameters() if n.startswith("classifier")]
    body = [p for n, p in model.named_parameters() if not n.startswith("classifier") and p.requires_grad]
    optimizer = torch.optim.AdamW([{"params": body, "lr": chosen.rate, "weight_decay": 0.01}, {"params": head, "lr": chosen.rate * 6}])
    first = data.batches(data.epoch(train, tokenizer, chosen.seed), BATCH_TOKENS, chosen.seed)
    steps = len(first) * chosen.epochs
    plan = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(s / (0.06 * steps), max(0.02, 1 - s / steps)))
    print(f"{len(train)} records, {len(first)} batches an epoch, {sum(len(b[0][0]) * len(b) for b in first)} tokens", flush=True)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    started, step = time.time(), 0
    for epoch in range(chosen.epochs):
        seed = chosen.seed + epoch
        mean = None
        for batch in first if epoch == 0 else data.batches(data.epoch(train, tokenizer, seed), BATCH_TOKENS, seed):
            if step >= steps:
                break
            model.train()
            numbers, allowed = (t.to(device) for t in tensors(batch))
            loss = loss_of(model(numbers, attention_mask=(numbers != 1).long()).logits, allowed)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            plan.step()
            optimizer.zero_grad()
            step += 1
            value = loss.item()
            mean = value if mean is None else 0.98 * mean + 0.02 * value
            if step % 50 == 0:
                print(f"step {step}/{steps} loss {mean:.4f} {time.time() - started:.0f} s", flush=True)
            if step % 400 == 0:
                torch.save(model.state_dict(), out / "model.pt")
        print(f"epoch {epoch + 1} dev loss {evaluate(model, dev, tokenizer, device):.4f}", flush=True)
        torch.save(model.state_dict(), out / "model.pt")


def evaluate(model, dev, tokenizer, device):
    model.eval()
    losses = []
    with torch.no_grad():
        for batch in data.batches([w for r in dev for w in data.windows(r, tokenizer, data.WINDOWS[0])], BATCH_TOKENS, 0):
            numbers, allowed = (t.to(device) for t in tensors(batch))
            losses.append(loss_of(model(numbers, attention_mask=(numbers != 1).long()).logits, allowed).item())
    return float(np.mean(losses))


if __name__ == "__main__":
    main()
