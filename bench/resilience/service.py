"""The payments service: three endpoints of which the last one falls ill, and the journals of what reached them."""

import json
import random
import signal
import socket
from dataclasses import dataclass, field
from pathlib import Path

import phases

ENDPOINTS = 3
PORT_MIN = 20_000


@dataclass
class Endpoint:
    """One process that is made to fail by real signals. Every fault may be asked for in every state."""

    fleet: object
    binary: Path
    number: int
    port: int
    core: int
    process: object = None
    is_hung: bool = False

    @property
    def journal(self):
        """Where it writes what it was asked; the file outlives the process."""
        return Path(self.fleet.folder) / f"endpoint-{self.number}.journal"

    def start(self):
        """Starts it, if it does not run."""
        if self.process is None:
            argv = [str(self.binary), str(self.port), str(phases.NORMAL_MS), str(phases.SLOW_MS), str(self.journal)]
            self.process = self.fleet.start(f"endpoint-{self.number}", argv, self.core)

    def die(self):
        """Ends it as a crash does."""
        if self.process is not None:
            self.fleet.kill(self.process)
            self.process, self.is_hung = None, False

    def slow_down(self):
        """Answers to what comes from now on take longer."""
        self.process.send_signal(signal.SIGUSR1)

    def hang(self):
        """Stops it in the middle of whatever it does."""
        self.is_hung = True
        self.process.send_signal(signal.SIGSTOP)

    def wake(self):
        """Lets it go on."""
        if self.is_hung:
            self.is_hung = False
            self.process.send_signal(signal.SIGCONT)


@dataclass
class Journals:
    """What reached the endpoints: how often each payment was applied, and when which endpoint was asked."""

    applied: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)

    def read(self, number, text):
        """Takes the journal of one endpoint. Health checks and the harness's own first questions do not count."""
        for line in text.splitlines():
            at_us, method, *rest = line.split(" ", 2)
            if method == "POST":
                payment = json.loads(rest[0])["payment"]
                self.applied[payment] = self.applied.get(payment, 0) + 1
            if method == "POST" or (method == "GET" and rest[0].rpartition("/")[2].isdigit()):
                self.asked.append((int(at_us), number))


def start_endpoints(fleet, binary, core):
    """Three endpoints that run."""
    ports = set()
    while len(ports) < ENDPOINTS:
        ports.add(_port())
    endpoints = [Endpoint(fleet, binary, number + 1, port, core) for number, port in enumerate(sorted(ports))]
    for endpoint in endpoints:
        endpoint.start()
    return endpoints


def read_journals(endpoints):
    """What all of them wrote."""
    journals = Journals()
    for endpoint in endpoints:
        journals.read(endpoint.number, endpoint.journal.read_text())
    return journals


def _port():
    """A free port that no outgoing connection is ever given: one of those could take a dead endpoint's port, or meet itself."""
    lowest_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(PORT_MIN, max(lowest_ephemeral, PORT_MIN + 1_000))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
