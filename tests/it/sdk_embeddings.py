"""What a program that embeds through the OpenAI SDK may rely on. Run by tests/it/embeddings.rs."""

import json
import math
import os
import pathlib
import sys

import openai

client = openai.OpenAI(base_url=os.environ["SLUICEGATE_BASE_URL"], max_retries=0, timeout=120)
reference = json.loads(pathlib.Path(sys.argv[1]).read_text())
text, expected = reference["texts"][2], reference["tiny-bert"][2]["unit"]["mean"]


def near(found, wanted, tolerance):
    assert len(found) == len(wanted), (len(found), len(wanted))
    assert max(abs(a - b) for a, b in zip(found, wanted)) <= tolerance, (found, wanted)


# The SDK asks for base64 unless it is told otherwise.
raw = client.embeddings.with_raw_response.create(model="local/default", input=text)
assert json.loads(raw.http_request.content)["encoding_format"] == "base64", raw.http_request.content
answer = raw.parse()
near(answer.data[0].embedding, expected, 1e-4)
assert answer.usage.prompt_tokens == len(reference["tiny-bert"][2]["ids"]) == answer.usage.total_tokens
plain = client.embeddings.create(model="local/default", input=[text, "the cat"], encoding_format="float")
near(plain.data[0].embedding, answer.data[0].embedding, 1e-5)
assert [entry.index for entry in plain.data] == [0, 1]

# Fewer dimensions are the beginning of all, at length one.
short = client.embeddings.create(model="auto", input=text, dimensions=8).data[0].embedding
length = math.sqrt(sum(x * x for x in expected[:8]))
near(short, [x / length for x in expected[:8]], 1e-4)

# Sensitive: kept here for `auto`, refused for an upstream's model.
secret = "my card is 4111 1111 1111 1111"
raw = client.embeddings.with_raw_response.create(model="auto", input=secret)
assert raw.headers["x-sluicegate-route"] == "local" and raw.headers["x-sluicegate-label"] == "restricted"
try:
    client.embeddings.create(model="vectors-1", input=secret)
    raise SystemExit("a card went to the cloud")
except openai.PermissionDeniedError as error:
    assert error.code == "refused_by_policy" and "4111" not in error.message, error

# Faults arrive as the SDK's own exceptions.
for options, kind, param in [
    ({"model": "local/other"}, openai.NotFoundError, "model"),
    ({"dimensions": 999}, openai.BadRequestError, "dimensions"),
    ({"input": []}, openai.BadRequestError, "input"),
    ({"input": "dog " * 100}, openai.BadRequestError, "input[0]"),
]:
    try:
        client.embeddings.create(**{"model": "auto", "input": text, **options})
        raise SystemExit(f"{options} was accepted")
    except kind as error:
        assert error.param == param, error
print("contract holds")
