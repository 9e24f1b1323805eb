"""Turns the shipped model's answers into labels for training: `labels.jsonl.gz`, which is committed.

    python router-model/train/labels.py --questions questions.jsonl --answers answers.jsonl [--answers more.jsonl]

A row: the prompt, whether the answer was right (null for prompts without a right answer), and how many tokens it had. Answers that
the limit cut off count at the limit, which is too short. The questions come from `questions.py`.
"""

import argparse
import gzip
import json
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
FILE = HERE / "labels.jsonl.gz"


def read(path=FILE):
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--questions", required=True, action="append")
    arguments.add_argument("--answers", required=True, action="append")
    arguments.add_argument("--out", default=str(FILE))
    arguments = arguments.parse_args()
    questions = {}
    for path in arguments.questions:
        for line in open(path, encoding="utf-8"):
            row = json.loads(line)
            questions[row["id"]] = row
    rows = []
    for path in arguments.answers:
        for line in open(path, encoding="utf-8"):
            answer = json.loads(line)
            question = questions[answer["id"]]
            source, group, _ = answer["id"].split("/")
            right = None if question["category"] == "open" else answer["correct"]
            rows.append({"id": answer["id"], "source": source, "group": group, "category": question["category"], "language": question["language"],
                         "prompt": question["prompt"], "right": right, "output_tokens": len(answer["signals"]["logprob"])})
    rows.sort(key=lambda row: row["id"])
    # No time stamp inside, so that the same labels give the same file.
    with open(arguments.out, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as out:
        for row in rows:
            out.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
    right = [row["right"] for row in rows if row["right"] is not None]
    print(f"{len(rows)} rows, {len(right)} checked, {sum(right)} right")


if __name__ == "__main__":
    main()
