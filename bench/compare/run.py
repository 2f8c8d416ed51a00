#!/usr/bin/env python3
"""Measures the engine beside nginx, HAProxy, Envoy and Caddy on the same work; prints Markdown tables.

Exit codes: 0 measured; 1 a system under test had failures or died, or (with --gate) the engine missed a budget or was not
measured; 2 usage, or something needed is missing. The method and its limits are in bench/README.md.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import load
import report
import rounds
import systems
import tools
from processes import Fleet
from scenarios import SCENARIOS

ROOT = Path(__file__).resolve().parents[2]


def main():
    """Runs the chosen scenarios one after the other."""
    arguments = _parse()
    # A run that is told to end must still end what it started: SIGTERM leaves through the same `with` blocks as Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if arguments.install:
        tools.install()
    if missing := tools.missing_tools():
        return _refuse(f"missing tools: {', '.join(missing)} (apt-get install, or run with --install)")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return _refuse("two cores are needed: one for the system under test, one for load and upstream")
    peers, absent = _choose(arguments)
    if systems.PEERS[0].find() is None:
        return _refuse("nginx is missing, and it is every system's upstream (run with --install)")
    with tempfile.TemporaryDirectory(prefix="compare-") as folder:
        # The upstream's worker may run as another user and has to reach its files.
        os.chmod(folder, 0o755)
        built = tools.build(folder)
        settings = rounds.Settings(arguments.rounds, arguments.secs, cores[0], cores[1], built["relay"], built["pacer"])
        return _run_all(arguments, settings, peers, absent, Path(folder))


def _run_all(arguments, settings, peers, absent, folder):
    print(report.machine_line(settings))
    tables, sound = [], True
    for scenario in _scenarios(arguments.scenario):
        place = folder / scenario.name
        place.mkdir(mode=0o755)
        with Fleet(place) as fleet:
            results, left_out, notes = rounds.measure(fleet, scenario, peers, settings, place)
        left_out = {**absent, **left_out}
        tables.append((scenario, results, left_out, notes))
        print("\n" + report.markdown(scenario, results, left_out, notes), flush=True)
        sound &= not any(result.failures for result in results)
        sound &= not arguments.gate or report.budgets_kept(scenario, results)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(report.as_json(settings, tables), indent=2) + "\n")
    return 0 if sound else 1


def _choose(arguments):
    """The systems asked for that are there, and the reason for each that is not."""
    candidates = [systems.mainstay_peer(arguments.mainstay.resolve()), *systems.PEERS]
    wanted = set(arguments.only.split(",")) if arguments.only else {peer.name for peer in candidates}
    chosen = [peer for peer in candidates if peer.name in wanted]
    absent = {peer.name: "not installed (run with --install)" for peer in chosen if peer.find() is None}
    if report.ENGINE in absent:
        absent[report.ENGINE] = f"no binary at {os.path.relpath(arguments.mainstay)} (cargo build --release)"
    return [peer for peer in chosen if peer.name not in absent], absent


def _scenarios(name):
    return list(SCENARIOS.values()) if name == "all" else [SCENARIOS[name]]


def _refuse(reason):
    print(reason, file=sys.stderr)
    return 2


def _parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenario", default="plain", choices=[*SCENARIOS, "all"])
    parser.add_argument("--rounds", type=_between(1, 50), default=3, help="how often each system is loaded (default 3)")
    parser.add_argument("--secs", type=_between(1, 120), default=4, help="length of one load in seconds (default 4)")
    parser.add_argument("--only", default="", help="systems, comma-separated; the relay is always measured")
    parser.add_argument("--mainstay", type=Path, default=ROOT / "target/release/mainstay", help="the engine's binary")
    parser.add_argument("--json", metavar="FILE", help="also write everything measured to FILE")
    parser.add_argument("--gate", action="store_true", help="exit with 1 when a budget of the engine is missed or cannot be judged")
    parser.add_argument("--install", action="store_true", help="first install what is missing (Debian and Python packages)")
    arguments = parser.parse_args()
    known = {report.ENGINE, *systems.PEER_NAMES}
    if unknown := sorted(set(filter(None, arguments.only.split(","))) - known):
        parser.error(f"--only: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    return arguments


def _between(least, most):
    """An argument type: a whole number in a range."""
    def parse(text):
        if not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be between {least} and {most}")
        return int(text)
    return parse


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (rounds.Unusable, load.ReportError, RuntimeError, subprocess.SubprocessError) as problem:
        print(f"stopped: {problem}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
