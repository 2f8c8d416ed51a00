"""One system through one script: callers that do not wait, faults on time, and what both sides saw of it."""

import http.client
import math
import subprocess
import time
from dataclasses import asdict, dataclass

import gateways
import phases
import service
from load import quantile
from processes import is_alive

READY_WITHIN_S = 20.0
START_IN_S = 0.3
PATIENCE_MS = 10_000
# After the last answer: for what still runs in the endpoints and in the gateway.
SETTLE_S = 1.0


@dataclass(frozen=True)
class Load:
    """What the callers do."""

    rate: float
    post_share: float
    seed: int


@dataclass(frozen=True)
class Call:
    """One call, as its caller saw it. `status` is a number, or `closed`, `refused` or `late`."""

    due_us: int
    method: str
    number: int
    status: str
    latency_us: int

    @property
    def is_good(self):
        """Answered, and with a 2xx."""
        return self.status.startswith("2")


@dataclass(frozen=True)
class Cell:
    """One system in one phase. Latencies are of good answers; a lost payment may have been applied nevertheless."""

    phase: str
    calls: int
    lost_gets: int
    lost_posts_applied: int
    lost_posts_not_applied: int
    applied_twice: int
    p50_us: float
    p99_us: float
    p999_us: float
    max_us: float
    asked: tuple[int, ...]
    failures: dict

    @property
    def lost(self):
        """Calls without a good answer."""
        return self.lost_gets + self.lost_posts_applied + self.lost_posts_not_applied

    @property
    def could_be_saved(self):
        """Those of them that a gateway could have had answered by a healthy endpoint without harm."""
        return self.lost_gets + self.lost_posts_not_applied

    def as_dict(self):
        """For the JSON file."""
        return {**asdict(self), "could_be_saved": self.could_be_saved}


class Unusable(Exception):
    """A system that does not start, or does not live through its script."""


def run(fleet, gateway, script, load, built, cores):
    """Takes the system through the script; `gateway` None is the callers at the endpoints themselves. Returns the cells."""
    endpoints = service.start_endpoints(fleet, built["endpoint"], cores[1])
    ports, process = [endpoint.port for endpoint in endpoints], None
    for port in ports:
        _wait_until_ready(port, None, fleet.output_path("endpoint-1"))
    entrance = ports
    if gateway:
        process, port = gateways.start(fleet, gateway, ports, cores[0])
        _wait_until_ready(port, process, fleet.output_path(gateway.name))
        entrance = [port]
    start_ns = time.monotonic_ns() + int(START_IN_S * 1e9)
    with _start_callers(fleet, built["callers"], entrance, start_ns, script, load, cores[1]) as callers:
        _play(script, endpoints[-1], start_ns)
        _, complaint = callers.communicate(timeout=PATIENCE_MS / 1000 + 10)
    if callers.returncode != 0:
        raise Unusable(f"the callers ended with {callers.returncode}: {complaint.decode()}")
    if process and not is_alive(process.pid):
        raise Unusable(f"{gateway.name} died: {fleet.output_path(gateway.name).read_text()[-400:]}")
    endpoints[-1].wake()
    time.sleep(SETTLE_S)
    calls = parse_calls(_calls_file(fleet).read_text())
    return cells(script, calls, service.read_journals(endpoints), start_ns // 1000)


def _calls_file(fleet):
    return fleet.folder / "calls.txt"


def _start_callers(fleet, binary, ports, start_ns, script, load, core):
    argv = [binary, ",".join(map(str, ports)), start_ns, load.rate, script.seconds, load.post_share, load.seed, PATIENCE_MS]
    with open(_calls_file(fleet), "wb") as out:
        return fleet.start_reporting([str(word) for word in argv], core, out)


def _play(script, endpoint, start_ns):
    """Each fault on its time, whatever the system makes of it."""
    for at_s, fault in script.faults():
        time.sleep(max(0.0, start_ns / 1e9 + at_s - time.monotonic()))
        getattr(endpoint, fault)()


def _wait_until_ready(port, process, output):
    deadline = time.monotonic() + READY_WITHIN_S
    problem = "did not answer"
    while time.monotonic() < deadline and (process is None or is_alive(process.pid)):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/v1/payments/ready")
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                return
            problem = f"answered {answer.status}"
        except (OSError, http.client.HTTPException) as error:
            problem = f"{type(error).__name__}: {error}"
        finally:
            connection.close()
        time.sleep(0.1)
    raise Unusable(f"{problem}; it said: {output.read_text(errors='replace')[-800:] or '(nothing)'}")


def parse_calls(text):
    """Reads what the callers printed."""
    calls = []
    for line in text.splitlines():
        due_us, method, number, status, latency_us = line.split()
        calls.append(Call(int(due_us), method, int(number), status, int(latency_us)))
    return calls


def cells(script, calls, journals, start_us):
    """What callers and endpoints saw, by the phase in which a call was due (or an endpoint was asked)."""
    by_phase = {phase.name: [] for phase in script.phases}
    for call in calls:
        by_phase[script.phase_at(call.due_us / 1e6).name].append(call)
    asked = {phase.name: [0] * service.ENDPOINTS for phase in script.phases}
    for at_us, number in journals.asked:
        asked[script.phase_at((at_us - start_us) / 1e6).name][number - 1] += 1
    return [_cell(name, of, journals.applied, tuple(asked[name])) for name, of in by_phase.items() if name != phases.WARM_UP]


def _cell(phase, calls, applied, asked):
    good = sorted(call.latency_us for call in calls if call.is_good)
    lost = [call for call in calls if not call.is_good]
    posts = [call for call in lost if call.method == "POST"]
    failures = {}
    for call in lost:
        key = f"{call.method} {call.status}"
        failures[key] = failures.get(key, 0) + 1
    return Cell(
        phase=phase, calls=len(calls), lost_gets=len(lost) - len(posts),
        lost_posts_applied=sum(call.number in applied for call in posts),
        lost_posts_not_applied=sum(call.number not in applied for call in posts),
        applied_twice=sum(applied.get(call.number, 0) > 1 for call in calls if call.method == "POST"),
        p50_us=quantile(good, 0.5), p99_us=quantile(good, 0.99), p999_us=quantile(good, 0.999), max_us=quantile(good, 1),
        asked=asked, failures=dict(sorted(failures.items())),
    )
