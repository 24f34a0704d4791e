"""Benchmark synthesis: fact coverage, throughput of a served teacher, and losses under faults and kills.

    python benchmarks/synthesis.py            # everything; coverage takes six minutes on two cores
    python benchmarks/synthesis.py --server   # only the server benchmark, two minutes

Coverage is the share of planted facts in the sample corpus with a question that the embedded teacher wrote and
`curate` kept. The server is a separate HTTP process that answers after 50 ms; 64 calls are concurrent. In the second
round 30% of the calls fail (429, 500, timeout, dropped connection, malformed JSON) and the client process is killed
twice. The last line is one JSON object. `paid_twice` counts calls that the server billed twice; it bills an
Idempotency-Key once, as gateways do. `paid_twice_without_key` counts calls that it would bill twice
without the key.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from aiohttp import ClientSession, web

from pipelines import artifacts
from pipelines.llm.budget import Budget
from pipelines.llm.cache import CachedModel, ResponseCache
from pipelines.llm.calls import Call
from pipelines.llm.config import ServedModel
from pipelines.llm.openai import ServedTeacher
from pipelines.text.normalize import spans, tokens

ROOT = Path(__file__).parents[1]
LATENCY = 0.05  # seconds
CONCURRENCY = 64
CALLS = 12_000
FAULTY_CALLS = 6_000
FAULTS = 0.3  # share of calls that fail
KILLS = (1.5, 4.0)  # seconds after the start


def serve(port: int) -> None:
    """Answer chat requests, with faults if configured; /bill returns the number of billed calls."""
    billed: Counter[str] = Counter()
    delivered: Counter[str] = Counter()
    faults = {"share": 0.0}
    rng = random.Random(0)
    reply = {"role": "assistant", "content": "What is told of it?"}
    usage = {"prompt_tokens": 20, "completion_tokens": 6, "total_tokens": 26}
    done = {"id": "1", "object": "chat.completion", "usage": usage}
    body = json.dumps({**done, "choices": [{"index": 0, "message": reply, "finish_reason": "stop"}]}).encode()

    async def chat(request: web.Request) -> web.StreamResponse:
        await request.read()
        if rng.random() < faults["share"]:
            return await fault(request, rng.randrange(5))
        await asyncio.sleep(LATENCY)
        answer = web.Response(body=body, content_type="application/json")
        await answer.prepare(request)
        await answer.write_eof()
        key = request.headers["Idempotency-Key"]
        billed[key] = 1
        delivered[key] += 1
        return answer

    async def fault(request: web.Request, kind: int) -> web.StreamResponse:
        if kind == 0:
            return web.json_response({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "0.02"})
        if kind == 1:
            return web.json_response({"error": {"message": "oops"}}, status=500)
        if kind == 2:
            await asyncio.sleep(3)
            return web.Response(status=504)
        if kind == 3:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return web.Response(body=body[: len(body) // 2], content_type="application/json")

    async def listing(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": []})

    async def bill(request: web.Request) -> web.Response:
        faults["share"] = float(request.query.get("faults", faults["share"]))
        twice = sum(count - 1 for count in billed.values()), sum(count - 1 for count in delivered.values())
        return web.json_response({"calls": len(billed), "twice": twice[0], "twice_without_key": twice[1]})

    app = web.Application()
    app.add_routes(
        [web.post("/v1/chat/completions", chat), web.get("/v1/models", listing), web.get("/bill", bill)],
    )
    web.run_app(app, host="127.0.0.1", port=port, print=None, backlog=512)


def ask(port: int, store: Path, first: int, count: int) -> None:
    """Ask the server `count` different questions, and print the seconds and the number of missing answers."""
    served = ServedModel(
        kind="openai",
        url=f"http://127.0.0.1:{port}/v1",
        model="stub",
        revision=None,
        key=None,
        max_concurrency=CONCURRENCY,
        timeout_s=1.0,
        context_tokens=None,
        structured="none",
        price=None,
        extra_body={},
    )
    teacher = CachedModel(ServedTeacher(served, 0, Budget(None)), ResponseCache(store), "stub", "1", 0)
    calls = [Call([{"role": "user", "content": f"Question {first + at}?"}], 16) for at in range(count)]
    started = time.perf_counter()
    replies = teacher.ask(calls, "asking")
    print(json.dumps({"seconds": time.perf_counter() - started, "missing": sum(not each.text for each in replies)}))


def bill(port: int, faults: float) -> dict[str, int]:
    """Set the share of faults, and return the server's billing counts."""

    async def get() -> dict[str, int]:
        async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/bill?faults={faults}") as reply:
            found: dict[str, int] = await reply.json()
            return found

    for _ in range(100):
        try:
            return asyncio.run(get())
        except OSError:
            time.sleep(0.1)
    raise SystemExit("The stub server did not start.")


def server(folder: Path) -> dict[str, float]:
    """Measure throughput without faults, then losses with faults and kills."""
    port = 20_000 + os.getpid() % 20_000
    me = [sys.executable, __file__]
    stub = subprocess.Popen(
        [*me, "--serve", str(port)], stderr=subprocess.DEVNULL
    )  # hides the errors of disconnected clients
    try:
        bill(port, 0.0)
        quick = [*me, "--ask", str(port), str(folder / "quick.db"), "0", str(CALLS)]
        found = json.loads(subprocess.run(quick, capture_output=True, text=True, check=True).stdout)
        ideal = CALLS * LATENCY / CONCURRENCY
        before = bill(port, FAULTS)
        faulty = [*me, "--ask", str(port), str(folder / "faulty.db"), str(CALLS), str(FAULTY_CALLS)]
        for delay in KILLS:
            killed = subprocess.Popen(faulty, stdout=subprocess.DEVNULL)
            time.sleep(delay + 3.0)  # importing takes about three seconds
            killed.send_signal(signal.SIGKILL)
            killed.wait()
        last = json.loads(subprocess.run(faulty, capture_output=True, text=True, check=True).stdout)
        after = bill(port, 0.0)
    finally:
        stub.kill()
    print(f"{CALLS} calls in {found['seconds']:.2f} s, {CALLS / found['seconds']:.0f} a second; ideal {ideal:.2f} s")
    billed = after["calls"] - before["calls"]
    print(f"{FAULTY_CALLS} calls with {FAULTS:.0%} faults and {len(KILLS)} kills: {billed} billed")
    return {
        "of_ideal_throughput": round(ideal / found["seconds"], 3),
        "lost": found["missing"] + last["missing"],
        "paid_twice": after["twice"],
        "paid_twice_without_key": after["twice_without_key"],
    }


def coverage(folder: Path) -> dict[str, float]:
    """Run the pipeline up to `curate` in a clone, and return the share of planted facts covered by kept questions."""
    clone = folder / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    for name in ("base", "ingest", "clean", "dedup", "split", "teacher"):
        subprocess.run([sys.executable, "-m", f"tasks.{name}"], cwd=clone, check=True, stderr=subprocess.DEVNULL)
    started = time.perf_counter()
    for name in ("synthesize", "curate"):
        subprocess.run([sys.executable, "-m", f"tasks.{name}"], cwd=clone, check=True)
    seconds = time.perf_counter() - started
    names = {row["id"]: row["source"] for row in artifacts.read_table(clone / "artifacts/split/train.parquet")}
    rows = artifacts.read_rows(clone / "artifacts/curate/train.jsonl")
    kept = [row for row in rows if row["kind"] == "answer"]
    truth = artifacts.read_json(clone / "data/sample_manifest.json")["facts"]
    facts = [fact for fact in truth if set(fact["sources"]) & set(names.values())]
    asked = [fact for fact in facts if any(_covers(row, names[row["source"]], fact) for row in kept)]
    print(f"{len(asked)} of {len(facts)} facts have a kept question, after {seconds:.0f} s")
    return {"coverage": round(len(asked) / len(facts), 3), "synthesis_seconds": round(seconds)}


def _covers(row: artifacts.Row, source: str, fact: artifacts.Row) -> bool:
    """Return whether a question covers a fact: answer and evidence contain its core, and the source matches."""
    core, answer = tokens(fact["core"]), tokens(row["answer_span"])
    matches = bool(spans(answer, core) or spans(core, answer))
    return source in fact["sources"] and matches and bool(spans(tokens(row["evidence"]), core))


def main() -> None:
    """Run the benchmark; print one line of JSON last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", action="store_true", help="run only the server benchmark")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--ask", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
    elif args.ask:
        port, store, first, count = args.ask
        ask(int(port), Path(store), int(first), int(count))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            figures = server(Path(scratch))
            covered = {"coverage": None} if args.server else coverage(Path(scratch))
        print(json.dumps({**covered, **figures}))


if __name__ == "__main__":
    main()
