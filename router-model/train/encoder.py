"""The second rung: a small encoder with several linear heads on the mean of its last layer.

The encoder is paraphrase-MiniLM-L3-v2 (Apache-2.0; three layers, 384 wide) as published, with its vocabulary cut to the word
pieces that training uses and its matrices in eight bits for each channel. Its weights stay as they are: fine-tuning it end to
end ordered a family of questions that it had not seen no better than chance (MODEL_CARD.md), so only the heads are trained, on
the vectors of the eight-bit graph that the service runs.

Heads: `difficulty` and `gap`, whose meaning `heads.py` gives, and the seventeen kinds of work.
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
import tasks

LAYERS, WIDTH, ATTENTION_HEADS = 3, 384, 12
MAX_TOKENS = 512
# A word piece is kept if it is in so many of the training texts.
PIECE_ROWS = 3
LABELS = ["difficulty", "gap"] + [f"task:{task}" for task in tasks.TASKS]


def readings(prompts):
    """What the service's encoder reads of each prompt: the Rust example is the only implementation."""
    command = ["cargo", "run", "--quiet", "--release", "-p", "sluicegate-router-model", "--example", "readings"]
    lines = "".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts)
    raw = subprocess.run(command, input=lines.encode(), stdout=subprocess.PIPE, check=True, cwd=featurize.ROOT).stdout
    # Not splitlines: a text may hold other separators of lines.
    found = [json.loads(line) for line in raw.decode().strip().split("\n")]
    assert len(found) == len(prompts)
    return found


class Layer(nn.Module):
    """A transformer layer with normalisation after each half (Devlin et al. 2019)."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.rise, self.fall = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH, eps=1e-12), nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, x, mask):
        batch, length, _ = x.shape
        split = lambda y: y.reshape(batch, length, ATTENTION_HEADS, WIDTH // ATTENTION_HEADS).transpose(1, 2)
        scores = split(self.query(x)) @ split(self.key(x)).transpose(2, 3) / math.sqrt(WIDTH // ATTENTION_HEADS)
        mixed = torch.softmax(scores + mask, dim=-1) @ split(self.value(x))
        x = self.norm_1(x + self.output(mixed.transpose(1, 2).reshape(batch, length, WIDTH)))
        return self.norm_2(x + self.fall(nn.functional.gelu(self.rise(x))))


class Encoder(nn.Module):
    """Token ids and mask `[batch, length]` to logits `[batch, heads]`; without heads to the mean `[batch, WIDTH]`."""

    def __init__(self, words):
        super().__init__()
        self.words, self.places = nn.Embedding(words, WIDTH), nn.Embedding(MAX_TOKENS, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.heads = nn.Identity()

    def forward(self, input_ids, attention_mask):
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.norm(self.words(input_ids) + self.places(places))
        visible = attention_mask.to(x.dtype)
        mask = (1.0 - visible[:, None, None, :]) * -1e4
        for layer in self.layers:
            x = layer(x, mask)
        return self.heads((x * visible[:, :, None]).sum(1) / visible.sum(1, keepdim=True))


def base(folder):
    """The published weights by name, and the tokenizer, from the folder that `base.py` fills."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(pathlib.Path(folder) / "model.onnx")).graph
    raw = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = {name.split("auto_model.")[1]: value for name, value in raw.items() if "auto_model." in name}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in raw:
            name = node.name.split("auto_model/")[1].removesuffix("/MatMul").replace("/", ".")
            weights[f"{name}.weight"] = raw[node.input[1]].T
    tokenizer = Tokenizer.from_file(str(pathlib.Path(folder) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return weights, tokenizer


def start(weights, kept):
    """The encoder with the published weights for the word pieces `kept`."""
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
    return model.eval()


def vocabulary(tokenizer, texts, keep):
    """Ids of the word pieces that are kept, in their old order: markers, single characters, and what training often uses."""
    ids = tokenizer.get_vocab()
    pieces = sorted(ids, key=ids.get)
    counts = np.zeros(len(pieces), np.int64)
    for encoding, used in zip(tokenizer.encode_batch(texts), keep):
        if used:
            counts[np.unique(encoding.ids)] += 1
    markers = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    single = [piece in markers or len(piece.removeprefix("##")) == 1 for piece in pieces]
    return np.flatnonzero((counts >= PIECE_ROWS) | np.array(single))


def pruned(tokenizer, kept):
    """The tokenizer with only the kept pieces, renumbered. Words without their pieces are spelt in smaller ones."""
    raw = json.loads(tokenizer.to_str())
    pieces = sorted(raw["model"]["vocab"], key=raw["model"]["vocab"].get)
    raw["model"]["vocab"] = {pieces[old]: new for new, old in enumerate(kept)}
    ids = raw["model"]["vocab"]
    for token in raw["added_tokens"]:
        token["id"] = ids[token["content"]]
    for token in raw["post_processor"]["special_tokens"].values():
        token["ids"] = [ids[text] for text in token["tokens"]]
    raw["truncation"], raw["padding"] = None, None
    return Tokenizer.from_str(json.dumps(raw))


def with_heads(model, weight, bias):
    """The same encoder with linear heads: `weight` `[heads, WIDTH]`, `bias` `[heads]`."""
    model.heads = nn.Linear(WIDTH, len(bias))
    with torch.no_grad():
        model.heads.weight.copy_(torch.tensor(weight, dtype=torch.float32))
        model.heads.bias.copy_(torch.tensor(bias, dtype=torch.float32))
    return model.eval()


def export(model, tokenizer, folder):
    """Writes the graph in eight bits, the tokenizer and what a reader needs to know. The heads stay in 32 bits."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / "fp32.onnx"
    example = torch.ones(2, 8, dtype=torch.int64)
    names = ["input_ids", "attention_mask"]
    axes = {name: {0: "batch", 1: "length"} for name in names} | {"logits": {0: "batch"}}
    torch.onnx.export(model, (example, example), str(whole), input_names=names, output_names=["logits"], dynamic_axes=axes, dynamo=False)
    quantize_dynamic(whole, folder / "model.onnx", per_channel=True, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gather"])
    onnx.checker.check_model(str(folder / "model.onnx"))
    whole.unlink()
    config = {"model_type": "bert", "vocab_size": model.words.num_embeddings, "max_position_embeddings": MAX_TOKENS, "pad_token_id": 0,
              "id2label": {str(at): label for at, label in enumerate(LABELS)}}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "tokenizer.json").write_text(tokenizer.to_str() + "\n", encoding="utf-8")


def run(folder, tokenizer, texts):
    """What the exported graph computes for each text alone, by ONNX Runtime, as in the service."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
    out = []
    for encoding in tokenizer.encode_batch(texts):
        ids = encoding.ids[:MAX_TOKENS]
        out.append(session.run(["logits"], {"input_ids": [ids], "attention_mask": [[1] * len(ids)]})[0][0])
    return np.array(out, np.float64)


def in_torch(model, tokenizer, texts):
    """The same by PyTorch in 32 bits, for the parity test."""
    with torch.no_grad():
        encodings = [torch.tensor([encoding.ids]) for encoding in tokenizer.encode_batch(texts)]
        return np.array([model(ids, torch.ones_like(ids))[0].numpy() for ids in encodings], np.float64)
