"""Each case against the backend directly, through the engine in plain text, and through the engine over TLS: the three
transcripts must be equal, byte for byte, and so must be what the backend saw."""

import hashlib
import socket
from concurrent.futures import ThreadPoolExecutor

from engine import GUARD_S, Engine
from .backend import Backend
from .cases import CASES, SHUT, Chopped, Wait

OPERATIONS = '          "GET /{row}/{what}": { upgrade: websocket, timeouts: { idle: 5m } }\n'
KINDS = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
HANDSHAKE_FIELDS = ("upgrade", "connection", "sec-websocket-")
"""What of the handshake's answer has to be the same; the engine adds others, such as the request's id."""
PLACES = ("direct", "plain", "tls")


def run(binary, only=None, verbose=False):
    """The sentences that say what is wrong, and what was run."""
    backend = Backend()
    upstreams = f'  up: {{ endpoints: ["http://127.0.0.1:{backend.address[1]}"] }}\n'
    chosen = [case for case in CASES if not only or only in case.name]
    failures = []
    with Engine(binary, upstreams, OPERATIONS) as engine, ThreadPoolExecutor(max_workers=4) as pool:
        for case, problem in zip(chosen, pool.map(lambda case: _problem(engine, backend, case), chosen)):
            if verbose:
                print(f"{case.name}: {problem or 'equal'}")
            failures += [f"{case.name}: {problem}"] if problem else []
    return failures, f"{len(chosen)} cases, three times"


def _problem(engine, backend, case):
    """What is wrong with a case, if anything."""
    transcripts = {}
    for place in PLACES:
        target = f"/v1/{case.name}-{place}/{case.what}"
        try:
            connection = (socket.create_connection(backend.address, timeout=GUARD_S) if place == "direct"
                          else engine.connect(place == "tls", alpn="http/1.1"))
            with connection:
                said = Conversation(connection).run(case, target)
            seen = backend.ended(target, GUARD_S)
        except Exception as problem:
            return f"{place}: {type(problem).__name__}: {problem}"
        transcripts[place] = {**said, "at the backend": seen}
    direct = transcripts["direct"]
    if case.owed is not None and direct["frames"] != case.owed:
        return f"the backend answers {direct['frames']}, owed is {case.owed}"
    for place in PLACES[1:]:
        for part, expected in direct.items():
            if transcripts[place][part] != expected:
                return f"{place}: {part} is {transcripts[place][part]}, directly it is {expected}"
    return None


class Conversation:
    """The client's side of a case."""

    def __init__(self, connection):
        self.connection, self.received, self.ended = connection, b"", False

    def run(self, case, target):
        versions = [] if any("Version" in line for line in case.fields) else ["Sec-WebSocket-Version: 13"]
        lines = [f"GET {target} HTTP/1.1", "Host: localhost", "Connection: Upgrade", "Upgrade: websocket",
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *versions, *case.fields, "", ""]
        self.connection.sendall("\r\n".join(lines).encode() + case.early)
        head = self.head()
        status = head[0].split(" ")[1]
        if status != "101":
            return {"frames": [f"status {status}"], "handshake": _handshake(head)}
        for step in case.steps:
            self.step(step)
        while not self.ended:
            self.read()
        return {"frames": [text for text, _ in frames(self.received)], "handshake": _handshake(head),
                "octets": (len(self.received), hashlib.sha256(self.received).hexdigest())}

    def head(self):
        while b"\r\n\r\n" not in self.received:
            self.read()
            assert not self.ended, f"no handshake: {self.received}"
        head, self.received = self.received.split(b"\r\n\r\n", 1)
        return head.decode("latin-1").split("\r\n")

    def step(self, step):
        if isinstance(step, Wait):
            while len(frames(self.received)) < step.frames and not self.ended:
                self.read()
        elif step is SHUT:
            self.connection.shutdown(socket.SHUT_WR)
        elif isinstance(step, Chopped):
            for octet in step.octets:
                self.write(bytes([octet]))
        else:
            self.write(step)

    def write(self, octets):
        # Large messages come back while they are being sent; neither side may wait for the other.
        self.connection.settimeout(GUARD_S)
        try:
            self.connection.sendall(octets)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def read(self):
        self.connection.settimeout(GUARD_S)
        more = self.connection.recv(65536)
        self.received += more
        self.ended = not more


def frames(octets):
    """Each whole frame in words, and where it ends."""
    found, at = [], 0
    while len(octets) - at >= 2:
        opcode, length, head = octets[at] & 0x0F, octets[at + 1] & 0x7F, at + 2
        if length >= 126:
            width = 2 if length == 126 else 8
            length, head = int.from_bytes(octets[head:head + width], "big"), head + width
        if len(octets) < head + length:
            break
        found.append((_words(opcode, octets[head:head + length]), head + length))
        at = head + length
    return found


def _words(opcode, payload):
    kind = KINDS.get(opcode, f"opcode {opcode}")
    if opcode != 8:
        return f"{kind} {len(payload)}"
    if not payload:
        return "close"
    code, reason = int.from_bytes(payload[:2], "big"), payload[2:].decode()
    # The library's own reasons of failures are no contract.
    return f"close {code}" + (f" '{reason}'" if reason and code == 1000 else "")


def _handshake(head):
    status = head[0].split(" ")[1]
    # Of a refusal the connection's own fields are each hop's own.
    wanted = HANDSHAKE_FIELDS if status == "101" else ("sec-websocket-",)
    return [status, *sorted(line.lower() for line in head[1:] if line.lower().startswith(wanted))]
