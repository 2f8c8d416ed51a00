#!/usr/bin/env python3
"""Takes the engine, Envoy, HAProxy and nginx through the same failures of one of three endpoints; prints Markdown tables.

Exit codes: 0 measured; 1 a system did not start or did not live through it; 2 usage, or something needed is missing. The
method, the results and what explains them are in README.md beside this file.
"""

import argparse
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.append(str(HERE.parent / "compare"))

import gateways  # the folder of the modules that are shared has to be known first
import measure
import phases
import table
import tools
from processes import Fleet

DIRECT = "direct"
DIRECT_SCRIPT = phases.Script("noise", (phases.Phase(phases.WARM_UP, "", 2), phases.Phase(
    "healthy", "no system between: the callers ask the endpoints in turn. What is above 5 ms is the machine's and the harness's", 8)))


def main():
    """Every system in turn through every script that was asked for."""
    arguments = _parse()
    # A run that is told to end must still end what it started: SIGTERM leaves through the same `with` blocks as Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return _refuse("two cores are needed: one for the system, one for callers and endpoints")
    candidates = [gateway for gateway in gateways.known(arguments.mainstay.resolve()) if gateway.name in arguments.only]
    absent = [gateway.name for gateway in candidates if not gateway.is_there()]
    chosen = [gateway for gateway in candidates if gateway.is_there()]
    if arguments.realtime and os.geteuid() != 0:
        return _refuse("--realtime needs root")
    load = measure.Load(arguments.rate, arguments.post_share, arguments.seed)
    take = functools.partial(_take, arguments.realtime)
    machine = table.machine_line(load) + ("; real-time priority" if arguments.realtime else "")
    print(machine)
    if absent:
        print(f"Left out, since they are not installed: {', '.join(absent)} (bench/compare/run.py --install; cargo build)")
    with _folder(arguments.keep) as folder:
        built = tools.build(folder, HERE / "native")
        tables = [(DIRECT_SCRIPT, [(DIRECT, take(Path(folder), None, DIRECT_SCRIPT, load, built, cores))])]
        print("\n" + table.markdown(*tables[0]), flush=True)
        for script in (phases.SCRIPTS[name].scaled(arguments.scale) for name in arguments.script):
            results = [(f"{gateway.name} {gateway.version()}", take(Path(folder), gateway, script, load, built, cores))
                       for gateway in chosen]
            tables.append((script, results))
            print("\n" + table.markdown(script, results), flush=True)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(table.as_json(machine, tables), indent=2) + "\n")
    return 0


def _take(realtime, folder, gateway, script, load, built, cores):
    """One system through one script, with a folder, ports, endpoints and processes of its own."""
    place = folder / script.name / (gateway.name if gateway else DIRECT)
    place.mkdir(parents=True, mode=0o755)
    with Fleet(place, realtime) as fleet:
        return measure.run(fleet, gateway, script, load, built, cores)


def _folder(keep):
    if keep is None:
        return tempfile.TemporaryDirectory(prefix="resilience-")
    keep.mkdir(parents=True)
    return _Kept(keep.resolve())


class _Kept(str):
    """A folder that is still there afterwards, with logs, journals and configurations."""

    def __new__(cls, path):
        return super().__new__(cls, str(path))

    def __enter__(self):
        return str(self)

    def __exit__(self, *_):
        pass


def _refuse(reason):
    print(reason, file=sys.stderr)
    return 2


def _parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    gateways_known = gateways.known("")
    names = [gateway.name for gateway in gateways_known]
    usual = [gateway.name for gateway in gateways_known if not gateway.options]
    parser.add_argument("--script", nargs="+", default=list(phases.SCRIPTS), choices=list(phases.SCRIPTS), metavar="NAME")
    parser.add_argument("--only", nargs="+", default=usual, choices=names, metavar="SYSTEM",
                        help=f"of {', '.join(names)} (default: {', '.join(usual)})")
    parser.add_argument("--scale", type=float, default=1.0, help="all phases so much longer (default 1)")
    parser.add_argument("--rate", type=float, default=400.0, help="calls a second (default 400)")
    parser.add_argument("--post-share", type=float, default=0.2, help="share of payments among the calls (default 0.2)")
    parser.add_argument("--seed", type=int, default=1, help="of arrivals and methods (default 1)")
    parser.add_argument("--realtime", action="store_true",
                        help="everything that is measured goes before whatever else runs on the machine (needs root)")
    parser.add_argument("--mainstay", type=Path, default=ROOT / "target/release/mainstay", help="the engine's binary")
    parser.add_argument("--json", metavar="FILE", help="also write everything measured to FILE")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep logs, journals and configurations in a new FOLDER")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (measure.Unusable, RuntimeError, subprocess.SubprocessError) as problem:
        print(f"stopped: {problem}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
