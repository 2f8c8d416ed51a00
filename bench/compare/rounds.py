"""The measurement itself: start everything, check every answer, then load the systems in turn.

All systems of a scenario run at once on the core under test, but only one is loaded at a time; a round loads each once,
and every round starts with another one. So what drifts on the machine (clock, neighbours, page cache) falls on all alike.
"""

import http.client
import os
import ssl
import time
from dataclasses import asdict, dataclass
from statistics import median

import load
import systems
from processes import core_busy_seconds, cpu_seconds, is_alive, rss_bytes

READY_WITHIN_S = 20.0
WARM_UP_S = 1
LONGEST_OUTPUT = 400
RELAY = "relay"


@dataclass(frozen=True)
class Turn:
    """One system under load once."""

    cpu_us_per_request: float
    core_share: float
    foreign_share: float
    rate: float
    p50_us: float
    p99_us: float
    rss_bytes: int
    failures: int


@dataclass(frozen=True)
class Result:
    """One system over all rounds: medians, except for failures (sum), memory and foreign load (most)."""

    system: str
    version: str
    cpu_us_per_request: float
    relay_ratio: float
    rate: float
    core_share: float
    foreign_share: float
    p50_us: float
    p99_us: float
    rss_start_bytes: int
    rss_bytes: int
    failures: int
    turns: tuple[Turn, ...]

    def as_dict(self):
        """For the JSON file."""
        return asdict(self)


@dataclass(frozen=True)
class Settings:
    """What the command line says about how to measure."""

    rounds: int
    seconds: int
    system_core: int
    load_core: int
    relay: object
    pacer: object


class Unusable(Exception):
    """A system that does not start or does not answer as it must."""


def measure(fleet, scenario, peers, settings, folder):
    """Runs one scenario. Returns the results in the order of cost, the systems left out with the reason, and notes."""
    around = systems.start_upstream(fleet, scenario, folder, settings.load_core)
    _wait_until_right(scenario, around.port_for_clients(), settings.load_core, None, fleet.output_path("upstream"))
    running, left_out = _start_all(fleet, peers, around, settings)
    turn, notes = _turn_for(scenario, running, settings, folder)
    turns = {system.name: [] for system in running}
    for number in range(settings.rounds):
        for system in running[number % len(running):] + running[:number % len(running)]:
            turns[system.name].append(_take_turn(system, around.upstream, settings, turn))
            _empty(system.log_file)
    return _results(running, turns), left_out, notes


def _start_all(fleet, peers, around, settings):
    """Starts the relay and the peers; returns those that answer rightly, and why the others do not."""
    running, left_out = [], {}
    starters = [(RELAY, lambda: systems.start_relay(fleet, settings.relay, around, settings.system_core))]
    for peer in peers:
        starters.append((peer.name, lambda peer=peer: systems.start_peer(fleet, peer, around, settings.system_core)))
    for name, start in starters:
        system = start()
        try:
            _wait_until_right(around.scenario, system.port, settings.load_core, system.process.pid, fleet.output_path(name))
        except Unusable as problem:
            left_out[name] = str(problem)
            continue
        system.rss_start_bytes = rss_bytes(system.process.pid)
        running.append(system)
    if RELAY in left_out:
        raise Unusable(f"the relay does not work: {left_out[RELAY]}")
    return running, left_out


def _wait_until_right(scenario, port, load_core, pid, output):
    """Waits until the system answers, then asks for every path once: 200 and, on HTTP/1.1, the upstream's very bytes."""
    deadline = time.monotonic() + READY_WITHIN_S
    problem = "did not answer"
    while time.monotonic() < deadline and (pid is None or is_alive(pid)):
        try:
            for path in scenario.paths():
                _ask(scenario, port, path, load_core)
            return
        except (OSError, http.client.HTTPException, RuntimeError) as error:
            problem = f"{type(error).__name__}: {error}"
            time.sleep(0.2)
    said = " ".join(output.read_text(errors="replace").split())[-LONGEST_OUTPUT:]
    raise Unusable(f"{problem}; it said: {said or '(nothing)'}")


def _ask(scenario, port, path, load_core):
    if scenario.client_h2:
        if not load.probe_h2(port, path, load_core):
            raise RuntimeError(f"{path} was not answered with a 2xx over h2")
        return
    connection = _connection(scenario, port)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode()
        if answer.status != 200 or body != scenario.body():
            raise RuntimeError(f"{path} was answered with {answer.status} and {len(body)} bytes")
    finally:
        connection.close()


def _connection(scenario, port):
    if not scenario.tls:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    # The certificate was made for this run and signs itself; whose it is, is not what is measured.
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=trusting)


def _turn_for(scenario, running, settings, folder):
    """The function that loads one system for one turn, and notes about it for the reader."""
    if scenario.fixed_rate_share:
        return _fixed_rate_turn(scenario, running, settings, folder)
    generator = load.run_h2load if scenario.client_h2 else load.run_wrk
    closed_loop = lambda system: generator(scenario, system.port, settings.seconds, settings.load_core, folder)
    for system in running:
        generator(scenario, system.port, WARM_UP_S, settings.load_core, folder)
        _empty(system.log_file)
    return closed_loop, []


def _fixed_rate_turn(scenario, running, settings, folder):
    """Measures what each system can do at most, then fixes one rate for all by the slowest (the relay does not count)."""
    capacity = {}
    for system in running:
        capacity[system.name] = load.run_wrk(scenario, system.port, settings.seconds, settings.load_core, folder).rate
        _empty(system.log_file)
    slowest = min((name for name in capacity if name != RELAY), key=capacity.get, default=RELAY)
    rate = capacity[slowest] * scenario.fixed_rate_share
    shares = ", ".join(f"{name} {rate / most:.0%}" for name, most in capacity.items())
    notes = [f"{rate:.0f} requests/s for all, {scenario.fixed_rate_share:.0%} of what {slowest} can do. "
             f"Share of each one's own measured capacity: {shares}."]
    path = scenario.paths()[0]
    return (lambda system: load.run_pacer(settings.pacer, system.port, path, rate, settings.seconds, settings.load_core,
                                          scenario.connections)[0]), notes


@dataclass(frozen=True)
class _Clocks:
    """Times of work, in seconds: of the system under test, of the load with the upstream, and of their cores."""

    at: float
    system: float
    system_core: float
    load: float
    load_core: float

    @classmethod
    def read(cls, system, upstream, settings):
        ended_children = os.times().children_user + os.times().children_system
        return cls(time.monotonic(), cpu_seconds(system.process.pid), core_busy_seconds(settings.system_core),
                   cpu_seconds(upstream.pid) + ended_children, core_busy_seconds(settings.load_core))

    def foreign_share_since(self, before):
        """The share of time in which others worked, on the core where they worked more."""
        on_system_core = (self.system_core - before.system_core) - (self.system - before.system)
        on_load_core = (self.load_core - before.load_core) - (self.load - before.load)
        return max(0.0, on_system_core, on_load_core) / (self.at - before.at)


def _take_turn(system, upstream, settings, turn):
    pid = system.process.pid
    before = _Clocks.read(system, upstream, settings)
    done = turn(system)
    after = _Clocks.read(system, upstream, settings)
    cpu, elapsed = after.system - before.system, after.at - before.at
    if not is_alive(pid):
        raise Unusable(f"{system.name} ended under load")
    answered = max(1, done.requests)
    return Turn(cpu / answered * 1e6, cpu / elapsed, after.foreign_share_since(before), done.rate, done.p50_us,
                done.p99_us, rss_bytes(pid), done.failures)


def _empty(log_file):
    """Truncates an access log between turns, so that a long run does not fill the disk."""
    if log_file.exists():
        os.truncate(log_file, 0)


def _results(running, turns):
    relay_us = median(turn.cpu_us_per_request for turn in turns[RELAY])
    results = []
    for system in running:
        own = turns[system.name]
        middle = lambda name: median(getattr(turn, name) for turn in own)
        cpu_us = middle("cpu_us_per_request")
        results.append(Result(
            system.name, system.version, cpu_us, cpu_us / relay_us if relay_us else 0.0, middle("rate"),
            middle("core_share"), max(turn.foreign_share for turn in own), middle("p50_us"), middle("p99_us"), system.rss_start_bytes,
            max(turn.rss_bytes for turn in own), sum(turn.failures for turn in own), tuple(own)))
    return sorted(results, key=lambda result: result.cpu_us_per_request)
