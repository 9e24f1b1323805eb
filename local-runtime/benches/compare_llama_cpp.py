#!/usr/bin/env python3
"""The same weights in llama.cpp and in Sluicegate's runtime, in turns, on this machine.

Speeds of two programs can only be compared when they ran under the same conditions, so this script runs
both in one session, one after the other (A B A B ...), each in a process of its own so that neither holds
memory or threads while the other is measured, with the same GGUF file, the same number of threads, and the same
prompt and answer lengths. It prints medians, ratios, the load average before each run, and the
memory bandwidth, which bounds decoding: each token reads about all weights once.

Preparation, once:

    python3 -m venv venv
    venv/bin/pip install --no-cache-dir llama-cpp-python numpy     # compiles llama.cpp for this processor: 5 to 20 minutes
    cargo build --release
    target/release/sluicegate models pull qwen2.5-coder-1.5b-instruct                     # converts and installs it
    target/release/sluicegate models pull qwen2.5-coder-1.5b-instruct --gguf qwen.gguf    # the file it is made from

Where that fails with an illegal instruction, a package built for another processor was cached, or the machine is a
virtual one that announces matrix instructions (AMX) without allowing them. Name the instructions then:

    CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON -DGGML_AVX512=ON \\
        -DGGML_AVX512_VBMI=ON -DGGML_AVX512_VNNI=ON -DGGML_AVX512_BF16=ON -DGGML_AVX_VNNI=ON" \\
        venv/bin/pip install --no-cache-dir --force-reinstall --no-deps --no-binary llama-cpp-python llama-cpp-python

Any other GGUF file of a supported family: `sluicegate models convert FILE --name NAME`, then `--gguf FILE --model NAME`.

Run:

    venv/bin/python local-runtime/benches/compare_llama_cpp.py --gguf qwen.gguf \\
        --model qwen2.5-coder-1.5b-instruct --sluicegate target/release/sluicegate --threads 2 --rounds 3

What is measured: prefill is prompt tokens over the time until the first answer token is chosen; decode is the
tokens after the first over the time they take, greedy, with the end of turn ignored, after a prompt of 64 tokens.
llama.cpp runs with its defaults apart from threads and context, Sluicegate without guessing tokens ahead. Sluicegate's figures come from
`sluicegate models bench --format json`; a length that it does not measure is shown as `-`. The prompts are different
texts of equal length, which makes no difference to a dense model. Nothing else should run meanwhile: look at
the load column. Exit code 1 means that something could not be run or that the weights are not the same.
"""

import argparse
import hashlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROMPT_LENGTHS = (64, 512)
SHORT_PROMPT_TOKENS = 64
# Runs inside one round of llama.cpp, of which the median counts: as many as `models bench` takes.
RUNS = 3
BANDWIDTH_BYTES = 512 << 20
TEXT = "A wet Tuesday, 14 crates of pears, and nobody at the harbour who could say where the lorry had gone. "


class Fault(Exception):
    """Something that the user has to mend."""


def llama_round(gguf, threads, decode_tokens):
    """Speeds of llama.cpp in this process."""
    try:
        from llama_cpp import Llama, llama_print_system_info
    except ImportError as error:
        raise Fault(f"llama-cpp-python is not installed for {sys.executable}: {error}") from error
    started = time.perf_counter()
    model = Llama(
        model_path=str(gguf),
        n_ctx=max(PROMPT_LENGTHS) + decode_tokens + 16,
        n_threads=threads,
        n_threads_batch=threads,
        verbose=False,
    )
    loaded = time.perf_counter() - started
    tokens = model.tokenize(TEXT.encode(), add_bos=False)
    while len(tokens) < max(PROMPT_LENGTHS) + RUNS:
        tokens = tokens + tokens
    prefill = {length: [] for length in PROMPT_LENGTHS}
    decode = []

    def first_token(prompt):
        model.reset()
        began = time.perf_counter()
        model.eval(prompt)
        token = model.sample(temp=0.0)
        return token, time.perf_counter() - began

    first_token(tokens[:16])
    for run in range(RUNS):
        for length in PROMPT_LENGTHS:
            _, took = first_token(tokens[run : run + length])
            prefill[length].append(length / took)
        token, _ = first_token(tokens[run : run + SHORT_PROMPT_TOKENS])
        began = time.perf_counter()
        for _ in range(decode_tokens - 1):
            model.eval([token])
            token = model.sample(temp=0.0)
        decode.append((decode_tokens - 1) / (time.perf_counter() - began))
    system = llama_print_system_info()
    return {
        "load_seconds": loaded,
        "prefill": [
            {"prompt_tokens": length, "tokens_per_second": statistics.median(rates)}
            for length, rates in prefill.items()
        ],
        "decode_tokens_per_second": statistics.median(decode),
        "output_tokens": decode_tokens,
        "system": system.decode() if isinstance(system, bytes) else str(system),
    }


def bandwidth(threads):
    """Bytes a second that `threads` threads read from memory: the best of five passes of a dot product."""
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    from concurrent.futures import ThreadPoolExecutor

    import numpy

    # Two dot products of halves read each byte of the array once.
    array = numpy.ones(BANDWIDTH_BYTES // 4, dtype=numpy.float32)
    parts = numpy.array_split(array, 2 * threads)
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(5):
            began = time.perf_counter()
            list(pool.map(numpy.dot, parts[0::2], parts[1::2]))
            best = max(best, BANDWIDTH_BYTES / (time.perf_counter() - began))
    return {"bytes_per_second": best}


def in_child(arguments):
    """Runs a part of this script in a process of its own and reads what it prints."""
    return run_json([sys.executable, __file__, *arguments])


def run_json(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Fault(f"{command[0]}: {error}") from error
    if done.returncode == -signal.SIGILL:
        raise Fault(f"{command[0]}: illegal instruction: llama.cpp was compiled for more than this machine allows, see --help")
    if done.returncode != 0:
        raise Fault(f"{' '.join(map(str, command))} failed:\n{done.stderr.strip()[-2000:]}")
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError as error:
        raise Fault(f"{' '.join(map(str, command))} printed no JSON: {error}") from error


def sluicegate_round(options):
    """Speeds of this project's runtime, with the same number of threads."""
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "bench.toml"
        spinning = "true" if options.spinning else "false"
        config.write_text(f"[local]\nthreads = {options.threads}\nspinning = {spinning}\n", encoding="utf-8")
        command = [options.sluicegate, "models", "bench", options.model, "--format", "json"]
        return run_json([*command, "--config", str(config)])


def prefill_of(report, length):
    """Prompt tokens a second at a length, from whichever fields the report has."""
    listed = report.get("prefill")
    for entry in listed if isinstance(listed, list) else []:
        if entry.get("prompt_tokens") == length:
            return entry.get("tokens_per_second") or entry.get("prefill_tokens_per_second")
    if report.get("prompt_tokens") == length:
        return report.get("prefill_tokens_per_second")
    first = report.get("first_token_seconds")
    if first and length == report.get("short_prompt_tokens", SHORT_PROMPT_TOKENS):
        return length / first
    return None


def check_same_weights(options):
    """Compares the GGUF file with the one that the installed model says it was made from."""
    root = os.environ.get("SLUICEGATE_CACHE")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if sys.platform == "darwin":
        cache = Path.home() / "Library/Caches"
    store = Path(root) if root else cache / "sluicegate"
    candidates = [Path(options.model) / "manifest.json", store / "models" / options.model / "manifest.json"]
    manifest = next((path for path in candidates if path.is_file()), None)
    if manifest is None:
        print("note: the model's manifest was not found, so the weights are not known to be the same")
        return
    digest = hashlib.sha256()
    with open(options.gguf, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    expected = json.loads(manifest.read_text(encoding="utf-8")).get("source_sha256")
    if digest.hexdigest() != expected:
        raise Fault(f"{options.gguf} has SHA-256 {digest.hexdigest()}, but {manifest} names {expected}")


def load_average():
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


def table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first, *rest = row
        print("  ".join([first.ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(rest, widths[1:])]))


def show(value, digits=1):
    return "-" if value is None else f"{value:.{digits}f}"


def measures(report):
    rows = {f"prefill {length} tok/s": prefill_of(report, length) for length in PROMPT_LENGTHS}
    rows["decode tok/s"] = report.get("decode_tokens_per_second")
    return rows


def median_of(reports, name):
    values = [value for value in (measures(report)[name] for report in reports) if value is not None]
    return statistics.median(values) if values else None


def compare(options):
    check_same_weights(options)
    print(f"model       {options.model} ({options.gguf.stat().st_size / 1e6:.0f} MB as GGUF)")
    print(f"threads     {options.threads} of {os.cpu_count()}, spinning {'on' if options.spinning else 'off'}")
    print(f"load        {load_average():.2f} at the start")
    speed = in_child(["--child", "bandwidth", "--threads", str(options.threads)])["bytes_per_second"]
    print(f"bandwidth   {speed / 1e9:.1f} GB/s read by {options.threads} threads")
    ours, theirs = [], []
    rows = [("round", "engine", "load", *(f"prefill {length}" for length in PROMPT_LENGTHS), "decode")]
    for number in range(1, options.rounds + 1):
        child = ["--child", "llama", "--gguf", str(options.gguf), "--threads", str(options.threads)]
        engines = (
            ("llama.cpp", theirs, lambda: in_child([*child, "--decode-tokens", str(options.decode_tokens)])),
            ("sluicegate", ours, lambda: sluicegate_round(options)),
        )
        for engine, reports, measure in engines:
            load = load_average()
            report = measure()
            reports.append(report)
            rows.append((str(number), engine, f"{load:.2f}", *map(show, measures(report).values())))
    print()
    table(rows)
    decoded = ours[0].get("output_tokens")
    if decoded not in (None, options.decode_tokens):
        print(f"note: sluicegate decoded {decoded} tokens, llama.cpp {options.decode_tokens}")
    print()
    rows = [("median of rounds", "llama.cpp", "sluicegate", "ratio")]
    for name in measures(ours[0]):
        a, b = median_of(theirs, name), median_of(ours, name)
        rows.append((name, show(a), show(b), show(b / a if a and b else None, 2)))
    table(rows)
    bytes_per_token = options.gguf.stat().st_size
    rate = median_of(theirs, "decode tok/s")
    print(
        f"\nllama.cpp reads at least {bytes_per_token * rate / 1e9:.1f} GB/s while decoding, "
        f"taking the whole file as read once a token ({100 * bytes_per_token * rate / speed:.0f} % of the bandwidth)."
    )
    print(f"load        {load_average():.2f} at the end")
    print(f"llama.cpp   {theirs[0].get('system', '').strip()}")
    print(f"sluicegate  {ours[0].get('sluicegate', '?')}, ONNX Runtime {ours[0].get('onnxruntime', '?')}")


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gguf", type=Path, help="the GGUF file")
    parser.add_argument("--model", help="the same model as Sluicegate knows it: a name or a directory")
    parser.add_argument("--sluicegate", default="sluicegate", help="the binary [default: from PATH]")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="for both [default: all cores]")
    parser.add_argument("--rounds", type=int, default=3, help="how often each engine runs [default: 3]")
    parser.add_argument("--decode-tokens", type=int, default=64, help="answer length [default: 64, as `models bench`]")
    parser.add_argument("--spinning", action=argparse.BooleanOptionalAction, default=True,
                        help="local.spinning of Sluicegate [default: on, for a calm machine]")
    parser.add_argument("--child", choices=("llama", "bandwidth"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child == "bandwidth":
        return options
    if options.gguf is None or (options.model is None and options.child is None):
        parser.error("--gguf and --model are needed")
    if not options.gguf.is_file():
        parser.error(f"{options.gguf}: there is no such file")
    if options.threads < 1 or options.rounds < 1 or options.decode_tokens < 2:
        parser.error("--threads and --rounds must be at least 1, --decode-tokens at least 2")
    return options


def main():
    options = arguments()
    try:
        if options.child == "llama":
            print(json.dumps(llama_round(options.gguf, options.threads, options.decode_tokens)))
        elif options.child == "bandwidth":
            print(json.dumps(bandwidth(options.threads)))
        else:
            compare(options)
    except Fault as fault:
        print(f"compare_llama_cpp: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
