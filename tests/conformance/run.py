"""The conformance suites, against the engine's real binary: HTTP/2, WebSocket, gRPC. See docs/conformance.md.

    cargo build -p mainstay && python3 tests/conformance/run.py [http2|websocket|grpc]... [--row PART] [-v]
"""

import argparse
import importlib
import sys
import time
from pathlib import Path

# A run leaves nothing between the sources.
sys.dont_write_bytecode = True
import packages  # noqa: E402

SUITES = {"http2": "http2.suite", "websocket": "websocket.suite", "grpc": "rpc.suite"}
BINARY = Path(__file__).resolve().parents[2] / "target" / "debug" / "mainstay"


def main():
    parser = argparse.ArgumentParser(description="Conformance of the engine, from outside.")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}; without any: all")
    parser.add_argument("--binary", type=Path, default=BINARY, help="the engine (default: target/debug/mainstay)")
    parser.add_argument("--row", help="only rows whose name contains this")
    parser.add_argument("-v", "--verbose", action="store_true", help="print every verdict")
    options = parser.parse_args()
    if unknown := set(options.suites) - set(SUITES):
        parser.error(f"no such suite: {', '.join(unknown)}")
    packages.use()
    failed = False
    for name in options.suites or SUITES:
        begin = time.monotonic()
        failures, ran = importlib.import_module(SUITES[name]).run(options.binary.resolve(), options.row, options.verbose)
        print(f"{name}: {ran}, {time.monotonic() - begin:.1f} s, {len(failures)} failed", flush=True)
        for failure in failures:
            print(f"  {failure}", flush=True)
        failed |= bool(failures)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
