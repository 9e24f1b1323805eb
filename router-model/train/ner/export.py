"""Writes the trained model as it ships: word vectors in four bits as they were published, linear layers in eight bits.

    python router-model/train/ner/export.py --trained FOLDER --out FOLDER [--base FOLDER]

The graph takes `input_ids` and `attention_mask` `[batch, length]` and gives `logits` `[batch, length, labels]`. Prints how
far it is from the network in 32 bits.
"""

import argparse
import json
import pathlib

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession, SessionOptions
from onnxruntime.quantization import QuantType, quantize_dynamic
from tokenizers import Tokenizer

import base
import data


class Graph(torch.nn.Module):
    """The network from word vectors on."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids, attention_mask=attention_mask).logits


def nibbles(packed, ids):
    """The published blocks of these rows: signed values of four bits `[rows, hidden]` and scales `[rows, hidden / 32]`."""
    _, _, offset = packed.places["emb.word"]
    block = np.dtype([("scale", "<f2"), ("bytes", "u1", base.BLOCK // 2)])
    blocks = np.frombuffer(packed.data, block, packed.vocabulary * packed.hidden // base.BLOCK, offset)
    blocks = blocks.reshape(packed.vocabulary, -1)[ids]
    values = np.concatenate([blocks["bytes"] & 15, blocks["bytes"] >> 4], axis=2).astype(np.int8) - 8
    return values.reshape(len(ids), packed.hidden), blocks["scale"].astype(np.float16)


def with_four_bits(graph, packed, ids):
    """Replaces the table of word vectors by its published blocks."""
    values, scales = nibbles(packed, ids)
    (table,) = [i for i in graph.graph.initializer if list(i.dims) == list(values.shape)]
    (gather,) = [n for n in graph.graph.node if n.op_type == "Gather" and table.name in n.input]
    unsigned = (values.reshape(-1) & 15).astype(np.uint8)
    bytes_ = (unsigned[0::2] | (unsigned[1::2] << 4)).tobytes()
    graph.graph.initializer.remove(table)
    graph.graph.initializer.append(helper.make_tensor("words", TensorProto.INT4, values.shape, bytes_, raw=True))
    graph.graph.initializer.append(numpy_helper.from_array(scales, "words_scale"))
    at = list(graph.graph.node).index(gather)
    looked_up = helper.make_node("GatherBlockQuantized", ["words", gather.input[1], "words_scale"], ["words_half"], domain="com.microsoft",
                                 block_size=base.BLOCK, gather_axis=0, quantize_axis=1)
    widened = helper.make_node("Cast", ["words_half"], [gather.output[0]], to=TensorProto.FLOAT)
    graph.graph.node.remove(gather)
    graph.graph.node.insert(at, looked_up)
    graph.graph.node.insert(at + 1, widened)
    if not any(o.domain == "com.microsoft" for o in graph.opset_import):
        graph.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return graph


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--trained", required=True)
    arguments.add_argument("--out", required=True)
    arguments.add_argument("--base", default="base")
    chosen = arguments.parse_args()
    trained, out = pathlib.Path(chosen.trained), pathlib.Path(chosen.out)
    out.mkdir(parents=True, exist_ok=True)
    packed = base.Packed(base.fetch(chosen.base))
    ids = json.loads((trained / "ids.json").read_text())
    state = torch.load(trained / "model.pt", map_location="cpu")
    layers = 1 + max(int(key.split(".")[3]) for key in state if key.startswith("bert.encoder.layer."))
    model = base.encoder(packed, ids, layers, data.LABELS)
    model.config._attn_implementation = "eager"
    model.load_state_dict(state)
    model.eval()

    whole, small = trained / "whole.onnx", trained / "small.onnx"
    example = torch.tensor([[0, 5, 6, 2]])
    axes = {0: "batch", 1: "length"}
    torch.onnx.export(Graph(model), (example, torch.ones_like(example)), str(whole), input_names=["input_ids", "attention_mask"], output_names=["logits"],
                      dynamic_axes={"input_ids": axes, "attention_mask": axes, "logits": axes}, opset_version=17, dynamo=False)
    quantize_dynamic(whole, small, per_channel=True, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"], nodes_to_exclude=heads(whole))
    onnx.save(with_four_bits(onnx.load(str(small)), packed, ids), str(out / "model.onnx"))
    (out / "tokenizer.json").write_text((trained / "tokenizer.json").read_text())
    config = {"model_type": "bert", "vocab_size": len(ids), "max_position_embeddings": packed.positions, "pad_token_id": 1,
              "id2label": {str(i): label for i, label in enumerate(data.LABELS)}}
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    for path in (whole, small):
        path.unlink()
    print(json.dumps({"layers": layers, "pieces": len(ids), "parity": parity(model, out), "bytes": (out / "model.onnx").stat().st_size}))


def heads(path):
    """The last matrix product, which stays in 32 bits."""
    return [node.name for node in onnx.load(str(path)).graph.node if node.op_type == "MatMul" and "classifier" in node.name]


TEXTS = ["Please write to Maria González, Hauptstraße 5, 10115 Berlin.", "def main(): return 1", "Пациент Иван Петров, 45 лет, живёт в Казани."]


def parity(model, folder):
    """The share of tokens whose best label is the same, and the largest difference of a probability."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    options = SessionOptions()
    options.intra_op_num_threads = 1
    session = InferenceSession(str(folder / "model.onnx"), options)
    same, most = [], 0.0
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        here = session.run(["logits"], {"input_ids": [ids], "attention_mask": [[1] * len(ids)]})[0][0]
        with torch.no_grad():
            there = model(torch.tensor([ids])).logits[0].numpy()
        same += list(here.argmax(-1) == there.argmax(-1))
        most = max(most, float(np.abs(torch.softmax(torch.tensor(here), -1) - torch.softmax(torch.tensor(there), -1)).max()))
    return {"same_label": float(np.mean(same)), "probability_difference_max": most}


if __name__ == "__main__":
    main()
