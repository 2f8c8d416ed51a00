#!/usr/bin/env python3
"""What reloads cost those who are being served.

Keeps a constant load on a running engine and, in every other segment, sends it SIGHUP again and again. Compares the p99 of
the segments with reloads to that of those without, counts failed requests, and fits a line through the memory after each
segment. That the engine did reload, as often as asked and with success, is read from its metrics.

Exit codes: 0 all kept; 1 failures, p99 above 1.2 x, memory growing by more than 1 MiB per 100 reloads, or reloads that did
not happen; 2 usage.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from statistics import median
from urllib.parse import urlsplit

import tools
from processes import is_alive, rss_bytes

P99_RATIO_MAX = 1.2
RSS_SLOPE_MAX_BYTES = 1024 * 1024
SEGMENTS = 5
WARM_UP_RELOADS = 5
SETTLE_S = 0.5
SLACK_S = 15
SUCCESS = "ok"


@dataclass(frozen=True)
class Segment:
    """One stretch of load: the pacer's report, how many reloads fell into it, the memory after it."""

    reloads: int
    report: dict
    rss_bytes: int

    @property
    def failures(self):
        """Requests without a 2xx."""
        return self.report["failed"] + self.report["non_2xx"]


def main():
    """Measures, prints the tables, judges."""
    arguments = _parse()
    if not is_alive(arguments.pid):
        return _refuse(f"no process {arguments.pid}")
    if missing := [package for package in tools.missing_tools() if package == "gcc"]:
        return _refuse(f"missing: {missing[0]}")
    try:
        results_before = _reload_results(arguments.control)
    except OSError as error:
        return _refuse(f"{arguments.control}/metrics: {error}")
    with tempfile.TemporaryDirectory(prefix="reload-") as folder:
        pacer = tools.build(folder)["pacer"]
        # The first reloads fill caches and arenas once; what matters is whether memory goes on growing.
        _send_reloads(arguments, WARM_UP_RELOADS, arguments.every)
        quiet, reloading = [], []
        for _ in range(SEGMENTS):
            quiet.append(_segment(pacer, arguments, 0))
            reloading.append(_segment(pacer, arguments, arguments.reloads // SEGMENTS))
    sent = WARM_UP_RELOADS + sum(segment.reloads for segment in reloading)
    results = _wait_for_results(arguments.control, results_before, sent)
    return _judge(quiet, reloading, sent, results)


def _segment(pacer, arguments, reloads):
    """Runs one stretch of load, with `reloads` spread over it."""
    url = urlsplit(arguments.url)
    seconds = arguments.reloads // SEGMENTS * arguments.every
    argv = [str(pacer), str(url.port or 80), url.path or "/", str(arguments.rate), f"{seconds:.3f}", str(arguments.connections)]
    load = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        _send_reloads(arguments, reloads, arguments.every)
        output, _ = load.communicate(timeout=seconds + SLACK_S)
    finally:
        if load.poll() is None:
            load.kill()
            load.wait()
    if load.returncode != 0:
        raise RuntimeError(f"the load ended with {load.returncode}; is {arguments.url} served?")
    time.sleep(SETTLE_S)
    return Segment(reloads, json.loads(output), rss_bytes(arguments.pid))


def _send_reloads(arguments, count, every_s):
    """Sends SIGHUP `count` times at an even pace; signals that come too fast would be merged by the system."""
    next_at = time.monotonic()
    for _ in range(count):
        os.kill(arguments.pid, signal.SIGHUP)
        next_at += every_s
        time.sleep(max(0.0, next_at - time.monotonic()))


def _reload_results(control):
    """How many reloads ended with which result so far, from the engine's metrics."""
    with urllib.request.urlopen(f"{control}/metrics", timeout=5) as answer:
        return parse_reload_results(answer.read().decode())


def parse_reload_results(metrics):
    """Reads `mainstay_reloads_total{result="..."}` from a Prometheus text."""
    found = re.findall(r'^mainstay_reloads_total\{[^}]*result="([^"]*)"[^}]*\}\s+([\d.e+]+)', metrics, re.M)
    return {result: int(float(count)) for result, count in found}


def _wait_for_results(control, before, sent):
    """The results since `before`, once as many are in as reloads were sent, or after a while what there is."""
    deadline = time.monotonic() + SLACK_S
    while True:
        now = _reload_results(control)
        since = {result: count - before.get(result, 0) for result, count in now.items()}
        if sum(since.values()) >= sent or time.monotonic() > deadline:
            return {result: count for result, count in since.items() if count}
        time.sleep(0.2)


def slope_per_reload(segments):
    """Bytes of memory per reload: the least-squares line through memory over the number of reloads so far."""
    points, so_far = [], 0
    for segment in segments:
        so_far += segment.reloads
        points.append((so_far, segment.rss_bytes))
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def _judge(quiet, reloading, sent, results):
    print("| load | requests | failures | p50 | p99 (median) | p99 (worst) | RSS at its end |\n|---|---:|---:|---:|---:|---:|---:|")
    for name, segments in (("without reloads", quiet), ("with reloads", reloading)):
        p99 = [segment.report["p99_us"] for segment in segments]
        print(f"| {name} | {sum(segment.report['due'] for segment in segments)} | {sum(s.failures for s in segments)} "
              f"| {median(s.report['p50_us'] for s in segments):.0f} µs | {median(p99):.0f} µs | {max(p99)} µs "
              f"| {segments[-1].rss_bytes / 2**20:.1f} MiB |")
    failures = sum(segment.failures for segment in quiet + reloading)
    ratio = median(s.report["p99_us"] for s in reloading) / max(1, median(s.report["p99_us"] for s in quiet))
    slope = slope_per_reload(reloading) * 100
    succeeded = results.get(SUCCESS, 0)
    checks = (
        (f"failures: {failures}, at most 0", failures == 0),
        (f"p99 with reloads: {ratio:.2f} x, at most {P99_RATIO_MAX} x", ratio <= P99_RATIO_MAX),
        (f"memory per 100 reloads: {slope / 2**20:+.2f} MiB, at most +1 MiB", slope <= RSS_SLOPE_MAX_BYTES),
        (f"reloads: {sent} asked for, {succeeded} succeeded ({results or 'none counted'})", succeeded == sent),
    )
    print()
    for text, kept in checks:
        print(f"- {'kept' if kept else 'MISSED'}: {text}")
    return 0 if all(kept for _, kept in checks) else 1


def _refuse(reason):
    print(reason, file=sys.stderr)
    return 2


def _parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pid", type=int, required=True, help="the engine; gets SIGHUP")
    parser.add_argument("--url", required=True, help="what is asked for, e.g. http://127.0.0.1:8080/v1/payments/pay_1")
    parser.add_argument("--control", default="http://127.0.0.1:9090", help="the engine's control listener")
    parser.add_argument("--reloads", type=int, default=100, help="how many (default 100, a multiple of 5)")
    parser.add_argument("--every", type=float, default=0.15, help="seconds between two reloads (default 0.15)")
    parser.add_argument("--rate", type=int, default=2000, help="requests per second (default 2000)")
    parser.add_argument("--connections", type=int, default=32, help="connections of the load (default 32)")
    arguments = parser.parse_args()
    url = urlsplit(arguments.url)
    if url.scheme != "http" or url.hostname not in ("127.0.0.1", "localhost"):
        parser.error("--url: the load is made on this machine, http://127.0.0.1:PORT/...")
    if not SEGMENTS <= arguments.reloads <= 10_000 or arguments.reloads % SEGMENTS:
        parser.error(f"--reloads: a multiple of {SEGMENTS}, at most 10,000")
    if not 0.02 <= arguments.every <= 10 or not 1 <= arguments.rate <= 100_000 or not 1 <= arguments.connections <= 4096:
        parser.error("--every 0.02 to 10, --rate 1 to 100,000, --connections 1 to 4,096")
    return arguments


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, RuntimeError, subprocess.SubprocessError) as problem:
        # The engine went away, or its load could not be made: an answer as well, and not a good one.
        print(f"stopped: {problem}", file=sys.stderr)
        sys.exit(1)
