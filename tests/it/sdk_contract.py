"""What a program written for the OpenAI SDK may rely on. Run by tests/it/sdk.rs against a test gateway."""

import json
import os

import openai

client = openai.OpenAI(base_url=os.environ["SLUICEGATE_BASE_URL"], max_retries=0, timeout=120)
HARD = (
    "Prove that the halting problem is undecidable, then reduce it to the Post correspondence problem in full "
    "detail, justify every step of the reduction, and analyse which restricted variants become decidable and why."
)


def ask(text, **options):
    defaults = {"model": "auto", "max_tokens": 12, "temperature": 0}
    messages = [{"role": "user", "content": text}]
    return client.chat.completions.with_raw_response.create(messages=messages, **{**defaults, **options})


# Plain, local.
raw = ask("What is the capital of France?", model="local/default")
answer = raw.parse()
assert raw.headers["x-sluicegate-route"] == "local", raw.headers
assert answer.choices[0].message.role == "assistant" and answer.usage.completion_tokens > 0
assert answer.choices[0].finish_reason in ("stop", "length")

# Log-probabilities of a local answer.
raw = ask("Say hello.", model="local/default", logprobs=True, top_logprobs=3)
first = raw.parse().choices[0].logprobs.content[0]
assert first.logprob <= 0 and len(first.top_logprobs) == 3
assert abs(first.top_logprobs[0].logprob - first.logprob) < 1e-4, "greedy takes the likeliest token"

# A local answer that follows a schema, in two versions.
schema = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "coastal": {"type": "boolean"}},
    "required": ["city", "coastal"],
    "additionalProperties": False,
}
answer = ask(
    "Describe Lisbon.",
    model="local/default",
    max_tokens=60,
    temperature=1,
    seed=3,
    n=2,
    response_format={"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": schema}},
).parse()
assert [choice.index for choice in answer.choices] == [0, 1], answer
for choice in answer.choices:
    city = json.loads(choice.message.content)
    assert choice.finish_reason == "stop" and set(city) == {"city", "coastal"}, choice
    assert isinstance(city["city"], str) and isinstance(city["coastal"], bool), city
assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
answer = ask("Answer in JSON.", model="local/default", max_tokens=60, response_format={"type": "json_object"}).parse()
if answer.choices[0].finish_reason == "stop":
    assert isinstance(json.loads(answer.choices[0].message.content), dict), answer

# Hard, cloud.
raw = ask(HARD)
assert raw.headers["x-sluicegate-route"] == "cloud:cloud", raw.headers
assert raw.parse().choices[0].message.content == "from the cloud"
assert raw.headers["x-sluicegate-cost-usd"] == "0.003000"

# Streams, from both.
for model, text in [("auto", HARD), ("local/default", "Count to three.")]:
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": text}],
        max_tokens=12,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
        extra_headers={"x-sluicegate-usage": "1"},
    )
    chunks = list(stream)
    said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert said, model
    assert any(c.usage and c.usage.completion_tokens > 0 for c in chunks), model
    assert chunks[-1].sluicegate["cost_usd"], model

# A seed gives the same answer again.
same = [
    ask("Name a colour.", model="local/default", temperature=1, seed=7).parse().choices[0].message.content
    for _ in range(2)
]
assert same[0] == same[1], same

# Tool calls by the local model: forced, so that they are certain, and valid.
weather = {
    "type": "object",
    "properties": {"town": {"type": "string", "maxLength": 12}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["town", "days"],
    "additionalProperties": False,
}
tools = [{"type": "function", "function": {"name": "get_weather", "description": "Weather.", "parameters": weather}}]
forced = {"model": "local/default", "tools": tools, "tool_choice": "required", "max_tokens": 150, "parallel_tool_calls": False}
choice = ask("What is the weather in Rome?", **forced).parse().choices[0]
assert choice.finish_reason == "tool_calls" and choice.message.content is None, choice
[call] = choice.message.tool_calls
arguments = json.loads(call.function.arguments)
assert call.function.name == "get_weather" and set(arguments) == {"town", "days"} and 1 <= arguments["days"] <= 9, call
question = {"role": "user", "content": "What is the weather in Rome?"}
with client.chat.completions.stream(messages=[question], temperature=0, **forced) as stream:
    events = [event.type for event in stream]
    final = stream.get_final_completion().choices[0]
assert "tool_calls.function.arguments.delta" in events and "tool_calls.function.arguments.done" in events, events
assert json.loads(final.message.tool_calls[0].function.arguments) == arguments, final
result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
history = [question, choice.message.model_dump(exclude_none=True), result]
answer = client.chat.completions.create(model="local/default", messages=history, tools=tools, max_tokens=12, temperature=0)
assert answer.choices[0].finish_reason in ("stop", "length", "tool_calls"), answer

# Sensitive: kept here.
raw = ask(HARD + " My card is 4111 1111 1111 1111.")
assert raw.headers["x-sluicegate-route"] == "local" and raw.headers["x-sluicegate-label"] == "restricted"

# Refused: forced to a place that is not cleared.
try:
    ask("My card is 4111 1111 1111 1111.", model="cloud/gpt-4o")
    raise SystemExit("a card went to the cloud")
except openai.PermissionDeniedError as error:
    assert error.code == "refused_by_policy" and "4111" not in error.message, error

# Faults arrive as the SDK's own exceptions.
for options, kind, param in [
    ({"model": "local/other"}, openai.NotFoundError, "model"),
    ({"temperature": 9}, openai.BadRequestError, "temperature"),
    ({"stop": [""]}, openai.BadRequestError, "stop"),
    ({"n": 0}, openai.BadRequestError, "n"),
    ({"logit_bias": {"1": 101}}, openai.BadRequestError, "logit_bias"),
    ({"response_format": {"type": "json_schema"}}, openai.BadRequestError, "response_format.json_schema"),
    (
        {
            "model": "local/default",
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": {"type": "integer", "minimum": 2, "maximum": 1}},
            },
        },
        openai.BadRequestError,
        "response_format",
    ),
    ({"tools": [{"type": "function", "function": {}}]}, openai.BadRequestError, "tools[0].function.name"),
]:
    try:
        ask("hello", **options)
        raise SystemExit(f"{options} was accepted")
    except kind as error:
        assert error.param == param, error

# Models.
ids = [model.id for model in client.models.list()]
assert ids[0] == "auto" and any(one.startswith("local/") for one in ids), ids
assert client.models.retrieve("auto").id == "auto"
print("contract holds")
