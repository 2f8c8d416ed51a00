"""The service behind the engine: HTTP/1.1, read strictly, and everything that arrives is recorded.

What it answers is a JSON document of what it was sent. Two targets behave otherwise: `/v1/ROW/held` is not answered
until the engine leaves, `/v1/ROW/large` is answered with 100,000 bytes.
"""

import json
import re
import socket
import threading

LARGE_BYTES = 100_000
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (/[\x21-\x7e]*) HTTP/1\.1")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[ \t\x21-\x7e\x80-\xff]*"
                    rb"[\x21-\x7e\x80-\xff])?)?)[ \t]*")


class Malformed(Exception):
    """What arrived is no HTTP/1.1."""


class Upstream:
    """Listens on a free port from the moment it is made."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self._listener.getsockname()[1]
        self.begun = []
        """Targets whose head has arrived."""
        self.whole = []
        """Targets whose last byte has arrived."""
        self.malformed = []
        """What broke the rules of HTTP/1.1, in words."""
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            peer, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        with peer, peer.makefile("rb") as stream:
            try:
                while self._exchange(peer, stream):
                    pass
            except Malformed as problem:
                with self._lock:
                    self.malformed.append(str(problem))
            except OSError:
                pass

    def _exchange(self, peer, stream):
        head = _head(stream)
        if head is None:
            return False
        method, target, fields = head
        with self._lock:
            self.begun.append(target)
        body, trailers = _body(stream, fields)
        if body is None:
            return False
        with self._lock:
            self.whole.append(target)
        if target.endswith("/held"):
            stream.read(1)
            return False
        seen = {"method": method, "target": target, "fields": fields, "body": body.decode("latin-1"),
                "trailers": trailers}
        content = b"x" * LARGE_BYTES if target.endswith("/large") else json.dumps(seen).encode()
        answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(content)
        peer.sendall(answer + (b"" if method == "HEAD" else content))
        return True


def _line(stream):
    line = stream.readline(65536)
    if line and not line.endswith(b"\n"):
        return None
    if line and not line.endswith(b"\r\n"):
        raise Malformed(f"a line ends without CR: {line!r}")
    return line[:-2] if line else None


def _fields(stream):
    fields = []
    while True:
        line = _line(stream)
        if line is None:
            return None
        if not line:
            return fields
        match = _FIELD.fullmatch(line)
        if not match:
            raise Malformed(f"no field: {line!r}")
        fields.append([match[1].decode().lower(), match[2].decode("latin-1")])


def _head(stream):
    first = _line(stream)
    if first is None:
        return None
    match = _REQUEST_LINE.fullmatch(first)
    if not match:
        raise Malformed(f"no request line: {first!r}")
    fields = _fields(stream)
    return None if fields is None else (match[1].decode(), match[2].decode(), fields)


def _body(stream, fields):
    """The body and its trailers; nothing when it breaks off."""
    lengths = [value for name, value in fields if name == "content-length"]
    codings = [value for name, value in fields if name == "transfer-encoding"]
    if len(lengths) + len(codings) > 1:
        raise Malformed(f"more than one length: {fields}")
    if codings:
        return _chunked(stream)
    if lengths and not lengths[0].isdecimal():
        raise Malformed(f"no length: {lengths[0]}")
    length = int(lengths[0]) if lengths else 0
    body = stream.read(length)
    return (body, []) if len(body) == length else (None, [])


def _chunked(stream):
    body = b""
    while True:
        size = _line(stream)
        if size is None:
            return None, []
        if not re.fullmatch(rb"[0-9a-fA-F]{1,8}", size):
            raise Malformed(f"no size of a chunk: {size!r}")
        if int(size, 16) == 0:
            trailers = _fields(stream)
            return (None, []) if trailers is None else (body, trailers)
        chunk = stream.read(int(size, 16))
        if len(chunk) < int(size, 16):
            return None, []
        body += chunk
        if _line(stream) != b"":
            return None, []
