"""Reads labelled text and turns it into windows of tokens for training.

A record marks only the types in its `annotated`. A token outside every span is therefore not a plain "no": it may be
anything that its source does not mark. Each token gets the set of labels that are possible for it, and the loss is the
negative logarithm of their total probability.

Left out of training: wikineural_val and every other source whose licence forbids commercial use.
"""

import gzip
import hashlib
import json
import pathlib
import random
import unicodedata

TYPES = ["PERSON", "ORG", "LOCATION", "ADDRESS", "DATE", "DATE_OF_BIRTH", "AGE", "GENDER", "NRP", "PROFESSION", "FAMILY", "USERNAME", "MEDICAL_ID"]
LABELS = ["O"] + [f"{place}-{kind}" for kind in TYPES for place in "BI"]
NUMBER = {label: index for index, label in enumerate(LABELS)}
WINDOWS, OVERLAP = (126, 254), 32

# Share of a source's windows that an epoch takes; 1 where nothing is said. The silver sources (wikiann) stay below 30 %.
SHARES = {"wikiann_train": 0.5, "ler_de_dev": 0.5, "sec_filings_fin5": 0.6}
# Windows without a single entity are taken less often where a source has many of them.
EMPTY_SHARES = {"meddocan_train": 0.25, "ler_de_dev": 0.3, "sec_filings_fin5": 0.3, "broad_twitter": 0.5}


def is_free(record):
    return "nc" not in record["licence"].lower().replace("-", " ").split() and "non-commercial" not in record["licence"].lower()


def read(path):
    with gzip.open(path, "rt", encoding="utf-8") if str(path).endswith(".gz") else open(path, encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def records(folder, extra):
    """Everything that may train what ships: the shared training file and files of own making."""
    for path in [pathlib.Path(folder) / "privacy" / "pii_train.jsonl.gz", *extra]:
        for record in read(path):
            if is_free(record) and record.get("annotated") is not None:
                # A look-alike is known to hold nothing at all.
                yield {**record, "annotated": TYPES} if record.get("hard_negative") else record


def varied(record, rng):
    """Now and then the same text as people also write it: lower case, capitals, without diacritics, inside JSON."""
    roll = rng.random()
    text, spans = record["text"], record["spans"]
    if roll < 0.08 and record["source"] != "ler_de_dev":
        changed = text.lower()
    elif roll < 0.11:
        changed = text.upper()
    elif roll < 0.15:
        changed = "".join(unicodedata.normalize("NFD", c)[0] for c in text)
    elif roll < 0.17 and len(text) < 400:
        quoted, at = ['{"text": "'], []
        length = len(quoted[0])
        for c in text:
            at.append(length)
            piece = json.dumps(c, ensure_ascii=False)[1:-1]
            quoted.append(piece)
            length += len(piece)
        at.append(length)
        moved = [{**s, "start": at[s["start"]], "end": at[s["end"]]} for s in spans]
        return {**record, "text": "".join(quoted) + '"}', "spans": moved}
    else:
        return record
    return {**record, "text": changed} if len(changed) == len(text) else record


def possible(record, offsets):
    """For each token the labels that it may have."""
    marked = set(record["annotated"])
    unknown = [NUMBER[f"{place}-{kind}"] for kind in TYPES if kind not in marked for place in "BI"]
    rows = [[0, *unknown] for _ in offsets]
    for span in record["spans"]:
        inside = [i for i, (start, end) in enumerate(offsets) if start < span["end"] and end > span["start"] and end > start]
        kind = span["type"]
        for place, i in enumerate(inside):
            # What other recognisers find (a number, an address of a machine) is no name.
            rows[i] = [NUMBER[("B-" if place == 0 else "I-") + kind]] if kind in TYPES else [0]
    return rows


def windows(record, tokenizer, size):
    """The record's tokens in windows of `size`, with the possible labels of each."""
    encoding = tokenizer.encode(record["text"], add_special_tokens=False)
    rows = possible(record, encoding.offsets)
    ids = encoding.ids
    for start in range(0, max(len(ids) - OVERLAP, 1), size - OVERLAP):
        part = slice(start, start + size)
        if ids[part]:
            yield ids[part], rows[part]


def is_dev(text, share):
    """A tenth of the training records, by the hash of their text, is kept for choosing the number of epochs."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32 < share


def epoch(all_records, tokenizer, seed):
    """One epoch's windows in random order."""
    rng = random.Random(seed)
    chosen = []
    for record in all_records:
        source = record["source"]
        if rng.random() >= SHARES.get(source, 1):
            continue
        empties = next((share for name, share in EMPTY_SHARES.items() if source.startswith(name)), 1)
        for ids, rows in windows(varied(record, rng), tokenizer, rng.choice(WINDOWS)):
            if rng.random() < empties or any(0 not in row for row in rows):
                chosen.append((ids, rows))
    rng.shuffle(chosen)
    return chosen


def batches(chosen, size_tokens, seed):
    """Batches of like length, in random order."""
    rng = random.Random(seed)
    ordered = sorted(chosen, key=lambda window: len(window[0]) + rng.random() * 8)
    batch, all_batches = [], []
    for window in ordered:
        if batch and (len(batch) + 1) * (len(window[0]) + 2) > size_tokens:
            all_batches.append(batch)
            batch = []
        batch.append(window)
    all_batches.append(batch)
    rng.shuffle(all_batches)
    return all_batches
