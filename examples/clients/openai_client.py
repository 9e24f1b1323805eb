"""Sluicegate through the official OpenAI SDK: the only change is the base URL.

    pip install -r requirements.txt
    python openai_client.py

SLUICEGATE_BASE_URL   where the gateway listens (default http://127.0.0.1:8080/v1)
SLUICEGATE_API_KEY    a key from `sluicegate keys create`, where the gateway requires one
"""

import os
import sys

import openai

client = openai.OpenAI(
    base_url=os.environ.get("SLUICEGATE_BASE_URL", "http://127.0.0.1:8080/v1"),
    # The SDK insists on some key. Without `require_key` the gateway does not look at this one, and it never
    # forwards it: upstreams get the key of their own `api_key` setting.
    api_key=os.environ.get("SLUICEGATE_API_KEY", "not-needed"),
    # Counts only while no key is presented; with a key, the key's team pays.
    default_headers={"x-sluicegate-team": "examples"},
    timeout=120,
    max_retries=1,
)

HEADERS = ("x-request-id", "x-sluicegate-route", "x-sluicegate-model", "x-sluicegate-label",
           "x-sluicegate-reason", "x-sluicegate-cost-usd")


def plain() -> str:
    """One answer, with the headers that explain it. Returns the request id."""
    print("-- plain")
    raw = client.chat.completions.with_raw_response.create(
        model="auto",
        messages=[{"role": "user", "content": "What is the capital of Australia? Answer with the name only."}],
        max_tokens=24,
        temperature=0,
    )
    print(raw.parse().choices[0].message.content)
    for name in HEADERS:
        print(f"   {name}: {raw.headers.get(name, '-')}")
    return raw.headers["x-request-id"]


def streaming() -> None:
    """A stream with OpenAI's usage chunk and the gateway's own last chunk, which tells route, label and cost."""
    print("-- streaming")
    stream = client.chat.completions.create(
        model="auto",
        messages=[{"role": "user", "content": "Rewrite politely: \"Send me the report now.\""}],
        max_tokens=48,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
        extra_headers={"x-sluicegate-usage": "1"},
    )
    usage = told = None
    for chunk in stream:
        for choice in chunk.choices:  # empty in the two chunks at the end
            print(choice.delta.content or "", end="", flush=True)
        usage = chunk.usage or usage
        told = (chunk.model_extra or {}).get("sluicegate") or told
    print()
    if usage:
        print(f"   {usage.prompt_tokens} tokens in, {usage.completion_tokens} out")
    if told:
        print(f"   route {told['route']}, label {told['label']}, cost {told['cost_usd']} dollars: {told['reason']}")


def refused() -> None:
    """A route is forced, and the label is raised above what that upstream is cleared for."""
    print("-- refused by policy")
    try:
        client.chat.completions.create(
            model="openai/gpt-4o",
            messages=[{"role": "user", "content": "Name one use of a paper clip."}],
            max_tokens=24,
            extra_headers={"x-sluicegate-label": "confidential"},
        )
    except openai.PermissionDeniedError as error:  # status 403; repeating it cannot help
        print(f"   {error.code}: {error.message}")
        print(f"   label {error.response.headers.get('x-sluicegate-label', '-')}, request {error.request_id}")
    else:
        print("   served: this gateway observes only, or has cleared that upstream for confidential data")


def feedback(request_id: str) -> None:
    """How good an answer was: from -1 to 1."""
    print("-- feedback")
    answer = client.post("/feedback", body={"request_id": request_id, "score": 1}, cast_to=object)
    print(f"   {answer}")


def main() -> int:
    try:
        request_id = plain()
        streaming()
        refused()
        feedback(request_id)
    except openai.AuthenticationError as error:  # 401
        print(f"set SLUICEGATE_API_KEY: {error.message}", file=sys.stderr)
    except openai.RateLimitError as error:  # 429: the team's budget (insufficient_quota), or an upstream's limit
        print(f"{error.code}: {error.message}", file=sys.stderr)
    except openai.APIStatusError as error:  # 503 while the local model loads and nothing else may answer
        print(f"{error.code}: {error.message}", file=sys.stderr)
    except openai.APIConnectionError as error:
        print(f"no gateway at {client.base_url}: {error}", file=sys.stderr)
    except openai.APIError as error:  # a stream that broke off after it had begun
        print(f"{error.code}: {error.message}", file=sys.stderr)
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
