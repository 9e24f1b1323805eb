#!/usr/bin/env bash
# Sluicegate with curl: models, a plain answer, a stream, a forced route, a raised label, feedback.
#
# SLUICEGATE_BASE_URL   where the gateway listens (default http://127.0.0.1:8080/v1)
# SLUICEGATE_API_KEY    a key from `sluicegate keys create`, where the gateway requires one
set -euo pipefail

base=${SLUICEGATE_BASE_URL:-http://127.0.0.1:8080/v1}
headers=$(mktemp)
trap 'rm -f "$headers"' EXIT

# Without a key the team comes from a header; with a key, the key's team pays.
caller=(-H 'x-sluicegate-team: examples')
if [ -n "${SLUICEGATE_API_KEY:-}" ]; then
    caller=(-H "Authorization: Bearer $SLUICEGATE_API_KEY")
fi

# A refusal is an answer too, so the status is not made an error; only a failed connection ends the script.
call() {
    local path=$1
    shift
    curl --silent --show-error --max-time 120 --dump-header "$headers" "${caller[@]}" "$@" "$base$path"
    echo
}

chat() {
    local body=$1
    shift
    call /chat/completions -H 'Content-Type: application/json' --data "$body" "$@"
}

# Status line, request id, and the gateway's own headers.
explained() {
    grep -iE '^(HTTP/|x-request-id:|x-sluicegate-)' "$headers" | tr -d '\r' | sed 's/^/   /' || true
}

echo '-- models'
call /models

echo '-- plain: the gateway chooses'
chat '{"model":"auto","max_tokens":24,"temperature":0,
       "messages":[{"role":"user","content":"What is the capital of Australia? Answer with the name only."}]}'
explained
request=$(grep -i '^x-request-id:' "$headers" | tr -d '\r' | awk '{print $2}')

echo '-- streaming: the last chunk before [DONE] tells route, label and cost'
chat '{"model":"auto","max_tokens":48,"temperature":0,"stream":true,
       "messages":[{"role":"user","content":"Rewrite politely: Send me the report now."}]}' \
    --no-buffer -H 'x-sluicegate-usage: 1'

echo '-- forced route: local/default is the embedded model, <upstream>/<model> any other'
chat '{"model":"local/default","max_tokens":24,"temperature":0,
       "messages":[{"role":"user","content":"Name three HTTP methods, separated by commas."}]}'
explained

echo '-- raised label: x-sluicegate-label can only raise, and this text now stays where confidential data may be'
chat '{"model":"auto","max_tokens":32,"temperature":0,
       "messages":[{"role":"user","content":"Shorten: the meeting about the new shelf is moved to Friday."}]}' \
    -H 'x-sluicegate-label: confidential'
explained

echo '-- forced and raised: clearance holds for forced routes too (403, unless the upstream is cleared for it)'
chat '{"model":"openai/gpt-4o","max_tokens":24,
       "messages":[{"role":"user","content":"Name one use of a paper clip."}]}' \
    -H 'x-sluicegate-label: confidential'
explained

echo '-- feedback on the plain answer, from -1 to 1; "label" may say what it should have been labelled'
call /feedback -H 'Content-Type: application/json' \
    --data "{\"request_id\":\"$request\",\"score\":1,\"label\":\"public\"}"
