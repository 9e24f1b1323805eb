"""The official OpenAI SDK through a gateway that masks, with an upstream that echoes: the values are there again."""

import json
import os
import sys

import openai

text = sys.argv[1]
client = openai.OpenAI(base_url=os.environ["SLUICEGATE_BASE_URL"], api_key="not-a-real-key", max_retries=0)
question = {"model": "auto", "messages": [{"role": "user", "content": text}]}
tools = [{"type": "function", "function": {"name": "note", "parameters": {
    "type": "object", "properties": {"text": {"type": "string"}}}}}]

whole = client.chat.completions.create(**question)
assert whole.choices[0].message.content == text, whole

streamed = client.chat.completions.create(**question, stream=True)
pieces = [choice.delta.content or "" for chunk in streamed for choice in chunk.choices]
assert "".join(pieces) == text, pieces
assert sum(1 for piece in pieces if piece) > 12, "the stream was not collapsed"

called = client.chat.completions.create(**question, tools=tools)
assert json.loads(called.choices[0].message.tool_calls[0].function.arguments) == {"text": text}, called

with client.chat.completions.stream(**question, tools=tools) as stream:
    final = stream.get_final_completion()
call = final.choices[0].message.tool_calls[0].function
assert (call.name, json.loads(call.arguments)) == ("note", {"text": text}), final
print("values came back")
