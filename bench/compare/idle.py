#!/usr/bin/env python3
"""What an idle connection costs a running server in memory.

Opens COUNT keep-alive connections (HTTP/1.1 or HTTP/2, with TLS or without), makes one request on each, leaves them idle, waits until the server's
resident memory is steady, and prints the growth per connection. The server must allow that many connections from one
address and keep idle ones for longer than the measurement (up to two minutes).

Exit codes: 0 within the limit; 1 above it, or connections were refused or lost; 2 usage.
"""

import argparse
import functools
import http.client
import resource
import select
import socket
import ssl
import sys
import time

from processes import is_alive, rss_bytes

WARM_UP_REQUESTS = 1000
SAMPLE_S = 1.0
STEADY_SAMPLES = 4
STEADY_BYTES = 128 * 1024
STEADY_WITHIN_S = 60
OPEN_WITHIN_S = 60
SPARE_DESCRIPTORS = 64


def main():
    """Measures and prints one Markdown table."""
    arguments = _parse()
    if not is_alive(arguments.pid):
        print(f"no process {arguments.pid}", file=sys.stderr)
        return 2
    if not _raise_descriptor_limit(arguments.count + SPARE_DESCRIPTORS):
        print(f"the limit of open files is below {arguments.count + SPARE_DESCRIPTORS} (ulimit -Hn)", file=sys.stderr)
        return 2
    # Pools, buffers and code pages that the first requests bring in are not what a connection costs.
    _warm_up(arguments)
    before, was_steady = _steady_rss(arguments.pid)
    connections = []
    try:
        problem = _open(arguments, connections)
        after, is_steady = _steady_rss(arguments.pid)
        lost = sum(_is_closed(connection.sock) for connection in connections)
    finally:
        for connection in connections:
            connection.close()
    return _judge(arguments, before, after, was_steady and is_steady, len(connections), lost, problem)


def _judge(arguments, before, after, steady, opened, lost, problem):
    each = (after - before) / max(1, opened)
    print("| idle connections | RSS before | RSS with them | bytes each | limit |\n|---:|---:|---:|---:|---:|")
    print(f"| {opened - lost} | {before / 2**20:.1f} MiB | {after / 2**20:.1f} MiB | {each:.0f} | {arguments.limit_bytes} |")
    faults = [f"opening stopped: {problem}"] if problem else []
    faults += [f"{lost} connections were closed by the server"] if lost else []
    faults += [f"memory was not steady within {STEADY_WITHIN_S} s"] if not steady else []
    faults += ["above the limit"] if each > arguments.limit_bytes else []
    for fault in faults:
        print(f"- {fault}")
    return 1 if faults else 0


def _connect(arguments):
    """A connection that has made its one request; raises when the answer is not a 200."""
    kind = H2Connection if arguments.speak.endswith("h2") else http.client.HTTPConnection
    connection = kind("127.0.0.1", arguments.port, timeout=5)
    try:
        connection.connect()
        if arguments.speak.startswith("tls"):
            connection.sock = _secured(connection.sock, arguments.speak)
        _request(connection, arguments.path)
    except BaseException:
        connection.close()
        raise
    return connection


@functools.cache
def _trusting(protocol):
    # The certificate is one for tests; whose it is, is not what is measured.
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    trusting.set_alpn_protocols([protocol])
    return trusting


def _secured(sock, speak):
    return _trusting("h2" if speak.endswith("h2") else "http/1.1").wrap_socket(sock)


class H2Connection:
    """As much of HTTP/2 as one GET at a time takes (RFC 9113), called like `http.client.HTTPConnection`."""

    _DATA, _HEADERS, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 4, 6, 7, 8
    _ACK = _END_STREAM = 1
    _END_HEADERS = 4

    def __init__(self, host, port, timeout):
        self._address, self._timeout = (host, port), timeout
        self.sock, self.status, self._stream, self._begun = None, 0, -1, False

    def connect(self):
        self.sock = socket.create_connection(self._address, self._timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def request(self, _method, path):
        if not self._begun:
            self._begun = True
            self.sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            self._send(self._SETTINGS, 0, 0, b"")
            # Room for every answer on the connection, so that none has to be given back.
            self._send(self._WINDOW_UPDATE, 0, 0, (2**30).to_bytes(4, "big"))
        self._stream += 2
        # Static names with plain values (RFC 7541, 6.1 and 6.2.2): :method GET, :scheme http, :path, :authority.
        block = b"\x82\x86" + self._literal(4, path) + self._literal(1, "localhost")
        self._send(self._HEADERS, self._END_HEADERS | self._END_STREAM, self._stream, block)

    def getresponse(self):
        """Waits for the end of the answer. Its status is the first field, which every server has in its static table."""
        while True:
            kind, flags, payload = self._frame()
            if kind == self._HEADERS and payload[0] == 0x88:
                self.status = 200
            elif kind in (self._SETTINGS, self._PING) and not flags & self._ACK:
                self._send(kind, self._ACK, 0, payload if kind == self._PING else b"")
            elif kind == self._GOAWAY:
                raise http.client.HTTPException("told to go away")
            if kind in (self._HEADERS, self._DATA) and flags & self._END_STREAM:
                return self

    def read(self):
        """The answer has been read already."""

    def close(self):
        if self.sock:
            self.sock.close()

    def _literal(self, name, value):
        return bytes([name, len(value)]) + value.encode()

    def _send(self, kind, flags, stream, payload):
        head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
        self.sock.sendall(head + payload)

    def _frame(self):
        head = self._exactly(9)
        return head[3], head[4], self._exactly(int.from_bytes(head[:3], "big"))

    def _exactly(self, count):
        read = b""
        while len(read) < count:
            some = self.sock.recv(count - len(read))
            if not some:
                raise http.client.HTTPException("closed")
            read += some
        return read


def _request(connection, path):
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200 or connection.sock is None:
        raise http.client.HTTPException(f"answered {answer.status}, {'kept' if connection.sock else 'closed'}")


def _warm_up(arguments):
    connection = _connect(arguments)
    try:
        for _ in range(WARM_UP_REQUESTS):
            _request(connection, arguments.path)
    finally:
        connection.close()


def _open(arguments, connections):
    """Fills `connections` up to the count; returns what went wrong, if anything did."""
    deadline = time.monotonic() + OPEN_WITHIN_S
    while len(connections) < arguments.count:
        if time.monotonic() > deadline:
            return f"{OPEN_WITHIN_S} s were not enough"
        try:
            connections.append(_connect(arguments))
        except (OSError, http.client.HTTPException) as error:
            return f"after {len(connections)}: {type(error).__name__}: {error}"
    return None


def _steady_rss(pid):
    """The resident memory once some samples in a row agree (or the last one), and whether they did."""
    samples = []
    deadline = time.monotonic() + STEADY_WITHIN_S
    while time.monotonic() < deadline:
        samples.append(rss_bytes(pid))
        recent = samples[-STEADY_SAMPLES:]
        if len(recent) == STEADY_SAMPLES and max(recent) - min(recent) <= STEADY_BYTES:
            return samples[-1], True
        time.sleep(SAMPLE_S)
    return samples[-1], False


def _is_closed(sock):
    """Whether the server has ended an idle connection (it has nothing else to say on it)."""
    if sock is None:
        return True
    # Something may lie there unread: a session ticket, a PING. Only an end counts.
    ended = select.POLLRDHUP | select.POLLHUP | select.POLLERR
    waiting = select.poll()
    waiting.register(sock, ended)
    return bool(waiting.poll(0))


def _raise_descriptor_limit(wanted):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    return True


def _parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pid", type=int, required=True, help="the server; its children count as well")
    parser.add_argument("--port", type=int, required=True, help="its port on loopback")
    parser.add_argument("--path", default="/v1/payments/pay_1", help="what is asked for; must be answered with 200")
    parser.add_argument("--count", type=int, default=10_000, help="connections (default 10,000)")
    parser.add_argument("--limit-bytes", type=int, default=4096, help="most that one may cost (default 4096)")
    parser.add_argument("--speak", choices=("http1", "h2", "tls", "tls-h2"), default="http1", help="what the connections speak")
    arguments = parser.parse_args()
    # One address pair has some 28,000 ports by default.
    if not 1 <= arguments.count <= 25_000:
        parser.error("--count: between 1 and 25,000")
    return arguments


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, http.client.HTTPException) as problem:
        print(f"stopped: {problem}", file=sys.stderr)
        sys.exit(1)
