"""An HTTP/2 client that sends whatever it is told to, byte by byte, and reads what comes back strictly.

What is sent is built by hand (`frame`, `literal`); what is received is taken apart by hyperframe and hpack, which know
nothing of the engine and refuse what is malformed.
"""

import json
import socket
import ssl
import struct
import time

from hpack import Decoder
from hyperframe.frame import (ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame,
                              SettingsFrame)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
(HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE,
 MAX_HEADER_LIST_SIZE) = range(1, 7)
CODES = ("NO_ERROR PROTOCOL_ERROR INTERNAL_ERROR FLOW_CONTROL_ERROR SETTINGS_TIMEOUT STREAM_CLOSED FRAME_SIZE_ERROR "
         "REFUSED_STREAM CANCEL COMPRESSION_ERROR CONNECT_ERROR ENHANCE_YOUR_CALM INADEQUATE_SECURITY "
         "HTTP_1_1_REQUIRED").split()
FRAME_BYTES_MAX = 16_384
WINDOW_MAX = 2**31 - 1
WAIT_S = 8.0
"""How long a verdict may take that has to come; only a deviation is ever waited for so long."""


def frame(kind, flags, stream, payload=b"", length=None):
    """One frame, of any kind, also of one that does not exist. `length` lies about the payload."""
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(*values, flags=0, stream=0):
    return frame(SETTINGS, flags, stream, b"".join(struct.pack(">HI", name, value) for name, value in values))


def data(stream, content=b"", end=False, flags=0):
    return frame(DATA, flags | (END_STREAM if end else 0), stream, content)


def headers(stream, block, end=True, flags=END_HEADERS):
    return frame(HEADERS, flags | (END_STREAM if end else 0), stream, block)


def continuation(stream, block, flags=END_HEADERS):
    return frame(CONTINUATION, flags, stream, block)


def window_update(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def reset(stream, code=0x8):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def priority(stream, depends_on=0, weight=15):
    return frame(PRIORITY, 0, stream, struct.pack(">IB", depends_on, weight))


def ping(payload=b"12345678", flags=0, stream=0):
    return frame(PING, flags, stream, payload)


def goaway(last=0, code=0, stream=0):
    return frame(GOAWAY, 0, stream, struct.pack(">II", last, code))


def integer(value, prefix_bits, first=0):
    """RFC 7541, 5.1."""
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes([first | value])
    out, value = [first | limit], value - limit
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def string(text):
    octets = text if isinstance(text, bytes) else text.encode("latin-1")
    return integer(len(octets), 7) + octets


def literal(name, value, first=0x00):
    """A field that is not indexed (RFC 7541, 6.2.2), so that no block depends on another; 0x40 indexes it."""
    return bytes([first]) + string(name) + string(value)


def block(*fields):
    return b"".join(literal(name, value) for name, value in fields)


class Client:
    """A connection. `row` is the name that its requests carry in their paths."""

    def __init__(self, engine, secure, row):
        self.socket = engine.connect(secure)
        self.scheme = "https" if secure else "http"
        self.authority = "localhost"
        self.row = row
        self.decoder = Decoder()
        self.next_stream = 1
        self.server_settings = {}
        self.settings_acked = 0
        self.first_block = {}
        """Of each stream: the field block of its answer, as it came."""
        self.status = {}
        """Of each stream: the last status that came."""
        self._received = b""
        self._partial = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    # --- sending

    def send(self, *parts):
        """Sends; that the engine has closed already is for the reading side to find."""
        try:
            self.socket.sendall(b"".join(parts))
        except ConnectionError:
            pass

    def open(self, *values):
        """The connection preface of both sides."""
        self.send(PREFACE, settings(*values))
        while not (self.server_settings and self.settings_acked):
            assert isinstance(self.read(), SettingsFrame), "the first frame is SETTINGS, and ours are acknowledged"

    def stream(self):
        number = self.next_stream
        self.next_stream += 2
        return number

    def fields(self, *more, what="good", method="GET", leave_out=(), **other):
        """The fields of a request, in order; `other` replaces pseudo-header fields by name."""
        pseudo = {"method": method, "scheme": self.scheme, "authority": self.authority,
                  "path": f"/v1/{self.row}/{what}"} | other
        return [(f":{name}", value) for name, value in pseudo.items() if name not in leave_out] + list(more)

    def request(self, *more, end=True, stream=None, **how):
        """A request's HEADERS frame. Returns its stream."""
        stream = stream or self.stream()
        self.send(headers(stream, block(*self.fields(*more, **how)), end))
        return stream

    def bad(self, *more, end=True, **how):
        """A request of which nothing may reach the upstream."""
        return self.request(*more, end=end, what="bad", **how)

    def late(self, *more, **how):
        """A request that turns bad after its head: its beginning may reach the upstream, its end may not."""
        return self.request(*more, end=False, what="late", method="POST", **how)

    def post(self, *more, **how):
        return self.request(*more, end=False, method="POST", **how)

    # --- receiving

    def read(self, wait_s=WAIT_S):
        """The next frame; nothing when the connection has ended. Acknowledges SETTINGS."""
        head = self._take(9, wait_s)
        if head is None:
            return None
        received, length = Frame.parse_frame_header(memoryview(head), strict=True)
        assert length <= FRAME_BYTES_MAX, f"a frame of {length} bytes was sent to a client that takes {FRAME_BYTES_MAX}"
        payload = self._take(length, wait_s)
        if payload is None:
            return None
        received.parse_body(memoryview(payload))
        self._note(received)
        return received

    def _take(self, count, wait_s):
        deadline = time.monotonic() + wait_s
        while len(self._received) < count:
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                more = self.socket.recv(65536)
            except (ConnectionError, ssl.SSLError):
                # HTTP/2 has an end of its own; a session without one in order is as good.
                more = b""
            if not more:
                return None
            self._received += more
        taken, self._received = self._received[:count], self._received[count:]
        return taken

    def _note(self, received):
        if isinstance(received, SettingsFrame):
            if "ACK" in received.flags:
                self.settings_acked += 1
            else:
                self.server_settings |= received.settings or {0: 0}
                self.send(settings(flags=ACK))
        if isinstance(received, HeadersFrame | ContinuationFrame):
            if isinstance(received, HeadersFrame):
                self._partial = b""
            self._partial += received.data
            if "END_HEADERS" in received.flags:
                self.first_block.setdefault(received.stream_id, self._partial)
                fields = dict(self.decoder.decode(self._partial))
                if ":status" in fields:
                    self.status[received.stream_id] = fields[":status"]

    def until_pong(self, payload=b"are-done"):
        """Everything that the engine sends before it has worked off what it was sent so far."""
        self.send(ping(payload))
        frames = []
        while True:
            received = self.read()
            if received is None:
                return frames
            if isinstance(received, PingFrame) and received.opaque_data == payload and "ACK" in received.flags:
                return frames
            frames.append(received)

    def answer(self, stream):
        """Waits for what becomes of a stream: `answer STATUS`, `reset CODE`, `goaway CODE`, `closed`, `silence`. Of an
        answer the body is kept in `content`."""
        self.content = b""
        try:
            while (received := self.read()) is not None:
                if isinstance(received, GoAwayFrame) and received.error_code:
                    return self._until_closed(received)
                if received.stream_id != stream:
                    continue
                if isinstance(received, RstStreamFrame):
                    return f"reset {code(received.error_code)}"
                if isinstance(received, DataFrame):
                    self.content += received.data
                    if received.flow_controlled_length:
                        self.send(window_update(0, received.flow_controlled_length))
                if "END_STREAM" in received.flags:
                    return f"answer {self.status.get(stream)}"
        except (TimeoutError, socket.timeout):
            return "silence"
        return "closed"

    def echoed(self, stream):
        """What the upstream was sent with a request; the verdict when it was not answered 200."""
        verdict = self.answer(stream)
        return json.loads(self.content) if verdict == "answer 200" else verdict

    def body_arrives(self, stream, expected):
        """`answer 200` when the upstream was sent this body."""
        seen = self.echoed(stream)
        return "answer 200" if isinstance(seen, dict) and seen["body"] == expected else str(seen)[:200]

    def fate(self, stream=None):
        """What becomes of a stream of which nothing has to come any more, or of the connection: nothing is waited for but
        the answers to two PINGs, since a PING may overtake a frame that was on its way."""
        verdict = None
        try:
            for payload in (b"first-up", b"secondly"):
                self.send(ping(payload))
                while True:
                    received = self.read()
                    if received is None:
                        return verdict or "closed"
                    if isinstance(received, GoAwayFrame) and received.error_code:
                        return self._until_closed(received)
                    if isinstance(received, RstStreamFrame) and received.error_code:
                        if stream in (None, received.stream_id):
                            verdict = verdict or f"reset {code(received.error_code)}"
                    if isinstance(received, PingFrame) and received.opaque_data == payload:
                        break
        except (TimeoutError, socket.timeout):
            return "silence"
        return verdict or "ignored"

    def closed_or_http1(self):
        """Like `fate`, where the answer may be one of HTTP/1.1."""
        received = self._take(9, WAIT_S) or b""
        self._received = received + self._received
        if not received.startswith(b"HTTP/1.1 "):
            return self.answer(-1)
        while (more := self.socket.recv(65536)):
            self._received += more
        status = self._received.split(b" ")[1].decode()
        return f"http1 {status}" if self.scheme == "http" else f"http1 {status} although h2 was agreed on"

    def _until_closed(self, received):
        self.last_stream = received.last_stream_id
        verdict = f"goaway {code(received.error_code)}"
        try:
            while self.read() is not None:
                pass
        except (TimeoutError, socket.timeout):
            return f"{verdict}, left open"
        return verdict

    def next_answered(self, *watched):
        """The verdict `ignored`: a further request is answered, and none of `watched` was reset as an error."""
        stream = self.request()
        verdict = self._answer_watching(stream, set(watched))
        return "ignored" if verdict == "answer 200" else verdict

    def _answer_watching(self, stream, watched):
        self._resets = []
        read = self.read

        def reading(wait_s=WAIT_S):
            received = read(wait_s)
            if isinstance(received, RstStreamFrame) and received.stream_id in watched and received.error_code:
                self._resets.append(f"reset {code(received.error_code)}")
            return received

        self.read = reading
        try:
            verdict = self.answer(stream)
        finally:
            self.read = read
        return self._resets[0] if self._resets else verdict


def code(number):
    return CODES[number] if number < len(CODES) else hex(number)
