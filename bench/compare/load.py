"""The load generators: how each is called and how its report is read.

wrk makes closed-loop HTTP/1.1 load, h2load closed-loop h2, `native/pacer.c` open-loop HTTP/1.1 at a fixed rate. All are
turned into one `Load`; whatever was not a 2xx in time is in `failures`.
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

from processes import run_pinned

SLACK_S = 20
_WRK_UNITS_US = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7, "h": 3.6e9}


@dataclass(frozen=True)
class Load:
    """What one turn of load did. `requests` were answered; `failures` were not, or not with a 2xx."""

    requests: int
    failures: int
    seconds: float
    p50_us: float
    p99_us: float

    @property
    def rate(self):
        """Answers per second."""
        return self.requests / self.seconds


class ReportError(Exception):
    """A load generator's report that does not look as it should."""


def run_wrk(scenario, port, seconds, core, folder):
    """HTTP/1.1, `scenario.connections` at once, each sending its next request when the last is answered."""
    paths = scenario.paths()
    argv = ["wrk", "-t1", f"-c{scenario.connections}", f"-d{seconds}s", "--timeout", "5s", "--latency"]
    if scenario.new_connections:
        argv += ["-H", "Connection: close"]
    if len(paths) > 1:
        argv += ["-s", str(_write_path_script(paths, folder))]
    scheme = "https" if scenario.tls else "http"
    return parse_wrk(run_pinned([*argv, f"{scheme}://127.0.0.1:{port}{paths[0]}"], core, seconds + SLACK_S))


def parse_wrk(report):
    """Reads wrk's report."""
    total = re.search(r"^\s*(\d+) requests in ([\d.]+)(\w+),", report, re.M)
    percentiles = dict(re.findall(r"^\s+(50|99)%\s+(\S+)$", report, re.M))
    if not total or len(percentiles) != 2:
        raise ReportError(f"wrk reported nothing usable:\n{report}")
    failures = sum(int(count) for count in re.findall(r"Non-2xx or 3xx responses: (\d+)", report))
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", report)
    failures += sum(int(count) for count in errors.groups()) if errors else 0
    seconds = float(total[2]) * _WRK_UNITS_US[total[3]] / 1e6
    return Load(int(total[1]), failures, seconds, _wrk_us(percentiles["50"]), _wrk_us(percentiles["99"]))


def _wrk_us(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m|h)", text).groups()
    return float(number) * _WRK_UNITS_US[unit]


def _write_path_script(paths, folder):
    """A wrk script that takes the paths in turn; requests are formatted once, before the load starts."""
    script = Path(folder) / "paths.lua"
    quoted = ",\n".join(f'  "{path}"' for path in paths)
    script.write_text(f"""local paths = {{\n{quoted}\n}}
local requests, turn = {{}}, 0
function init() for i, path in ipairs(paths) do requests[i] = wrk.format("GET", path) end end
function request() turn = turn % #requests + 1; return requests[turn] end
""")
    return script


def run_h2load(scenario, port, seconds, core, folder):
    """h2 with prior knowledge, `scenario.streams` requests under way on each connection."""
    log = Path(folder) / "h2load.log"
    log.unlink(missing_ok=True)
    argv = ["h2load", "-t1", f"-c{scenario.connections}", f"-m{scenario.streams}", "-D", str(seconds), f"--log-file={log}"]
    report = run_pinned([*argv, f"http://127.0.0.1:{port}{scenario.paths()[0]}"], core, seconds + SLACK_S)
    return parse_h2load(report, log.read_text(), seconds)


def parse_h2load(report, log, seconds):
    """Reads h2load's report (counts) and its log (one line a request: start, status, microseconds)."""
    counts = re.search(r"requests: .*?(\d+) done, ", report)
    if not counts:
        raise ReportError(f"h2load reported nothing usable:\n{report}")
    latencies = sorted(int(line.split("\t")[2]) for line in log.splitlines() if line.split("\t")[1].startswith("2"))
    return Load(len(latencies), int(counts[1]) - len(latencies), seconds, quantile(latencies, 0.50), quantile(latencies, 0.99))


def probe_h2(port, path, core):
    """The status class that one h2 request gets, as h2load sees it: True for a 2xx."""
    report = run_pinned(["h2load", "-n1", "-c1", f"http://127.0.0.1:{port}{path}"], core, SLACK_S)
    return "status codes: 1 2xx" in report


def run_pacer(pacer, port, path, rate, seconds, core, connections):
    """HTTP/1.1 at a fixed mean rate; returns the `Load` and the pacer's own report as a dict."""
    argv = [str(pacer), str(port), path, f"{rate:.3f}", f"{seconds:.3f}", str(connections)]
    report = json.loads(run_pinned(argv, core, seconds + SLACK_S))
    failures = report["failed"] + report["non_2xx"]
    return Load(report["ok"], failures, seconds, report["p50_us"], report["p99_us"]), report


def quantile(ordered, share):
    """The value that `share` of the ordered values do not exceed; 0 without values."""
    if not ordered:
        return 0.0
    return float(ordered[max(0, math.ceil(share * len(ordered)) - 1)])
