"""The cases, in the groups of the Autobahn test suite. Each is what a client sends, frame by frame, by hand.

A step is bytes, `wait(n)` (until so many frames have come), `chopped` bytes (one octet a write), or `SHUT` (the client
ends its direction). `owed` is what RFC 6455 has the backend answer, or nothing where that is a matter of the library; what comes through the
engine must be the same bytes in any case.
"""

import struct
import zlib
from dataclasses import dataclass, field

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x37\xfa\x21\x3d"
SHUT = object()
MIB = 1024 * 1024


@dataclass(frozen=True)
class Chopped:
    octets: bytes


@dataclass(frozen=True)
class Wait:
    frames: int


@dataclass(frozen=True)
class Case:
    name: str
    steps: list
    owed: list
    what: str = "echo"
    fields: list = field(default_factory=list)
    """More fields of the handshake."""
    early: bytes = b""
    """What is sent with the handshake, before its answer."""


def masked(payload):
    # As one number: octet by octet a MiB would take seconds.
    size = len(payload)
    mask = (MASK * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")


def frame(opcode, payload=b"", fin=True, reserved=0, mask=True, width=None):
    """`width`: how many octets the length takes, where it is not the shortest form."""
    payload = payload.encode() if isinstance(payload, str) else payload
    size = len(payload)
    width = width if width is not None else 0 if size < 126 else 2 if size < 65536 else 8
    short = {0: size, 2: 126, 8: 127}[width]
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode, (0x80 if mask else 0) | short])
    head += size.to_bytes(width, "big") if width else b""
    return head + (MASK + masked(payload) if mask else payload)


def close(code=1000, reason=b""):
    return frame(CLOSE, struct.pack(">H", code) + reason)


BYE = close()
CASES = []


def case(name, steps, owed, **more):
    assert name not in {other.name for other in CASES}, name
    CASES.append(Case(name, steps, owed, **more))


def message(opcode, payload):
    return f"{'text' if opcode == TEXT else 'binary'} {len(payload)}"


# --- 1 Framing

for _opcode, _kind in ((TEXT, "text"), (BINARY, "binary")):
    for _size in (0, 1, 125, 126, 127, 128, 65535, 65536, MIB):
        _payload = b"*" * _size if _opcode == TEXT else bytes(range(256)) * (_size // 256) + bytes(_size % 256)
        case(f"1-{_kind}-{_size}", [frame(_opcode, _payload), Wait(1), BYE], [message(_opcode, _payload), "close 1000"])
    case(f"1-{_kind}-chopped", [Chopped(frame(_opcode, b"*" * 300)), Wait(1), BYE], [f"{_kind} 300", "close 1000"])
case("1-length-of-16-bits-for-5", [frame(TEXT, "Hello", width=2), Wait(1), BYE], None)
case("1-length-of-64-bits-for-5", [frame(TEXT, "Hello", width=8), Wait(1), BYE], None)
case("1-length-of-64-bits-for-300", [frame(BINARY, b"x" * 300, width=8), Wait(1), BYE], None)
case("1-length-above-the-limit", [frame(BINARY, b"", width=8)[:2] + struct.pack(">Q", 2**40) + MASK + b"x" * 100, SHUT],
     None)
case("1-many-messages", [frame(TEXT, f"number {n}") for n in range(100)] + [Wait(100), BYE],
     [f"text {len(f'number {n}')}" for n in range(100)] + ["close 1000"])
case("1-many-messages-in-one-write", [b"".join(frame(TEXT, f"number {n}") for n in range(100)), Wait(100), BYE],
     [f"text {len(f'number {n}')}" for n in range(100)] + ["close 1000"])

# --- 2 Pings and pongs

case("2-ping-empty", [frame(PING), Wait(1), BYE], ["pong 0", "close 1000"])
case("2-ping-payload", [frame(PING, "Hello"), Wait(1), BYE], ["pong 5", "close 1000"])
case("2-ping-binary", [frame(PING, b"\0\xff\xfe\xfd"), Wait(1), BYE], ["pong 4", "close 1000"])
case("2-ping-125", [frame(PING, b"\xfe" * 125), Wait(1), BYE], ["pong 125", "close 1000"])
case("2-ping-126", [frame(PING, b"\xfe" * 126)], ["close 1002"])
case("2-ping-chopped", [Chopped(frame(PING, b"\xfe" * 125)), Wait(1), BYE], ["pong 125", "close 1000"])
case("2-pong-unasked", [frame(PONG, "unasked"), frame(TEXT, "a"), Wait(1), BYE], ["text 1", "close 1000"])
case("2-pings-ten", [frame(PING, f"{n}") for n in range(10)] + [Wait(10), BYE], ["pong 1"] * 10 + ["close 1000"])
case("2-pings-ten-chopped", [Chopped(frame(PING, f"{n}")) for n in range(10)] + [Wait(10), BYE],
     ["pong 1"] * 10 + ["close 1000"])

# --- 3 Reserved bits

for _bits in range(1, 8):
    case(f"3-text-{_bits}", [frame(TEXT, "Hello", reserved=_bits)], ["close 1002"])
case("3-after-message", [frame(TEXT, "a"), Wait(1), frame(TEXT, "b", reserved=4), frame(PING)], ["text 1", "close 1002"])
case("3-ping", [frame(PING, "x", reserved=1)], ["close 1002"])
case("3-close", [frame(CLOSE, b"\x03\xe8", reserved=7)], ["close 1002"])

# --- 4 Opcodes

for _opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
    case(f"4-opcode-{_opcode}", [frame(_opcode, "x")], ["close 1002"])
    case(f"4-opcode-{_opcode}-after-message", [frame(TEXT, "a"), Wait(1), frame(_opcode), frame(PING)],
         ["text 1", "close 1002"])

# --- 5 Fragmentation

case("5-two-fragments", [frame(TEXT, "ab", fin=False), frame(CONT, "cd"), Wait(1), BYE], ["text 4", "close 1000"])
case("5-fragments-chopped", [Chopped(frame(TEXT, "ab", fin=False) + frame(CONT, "cd")), Wait(1), BYE],
     ["text 4", "close 1000"])
case("5-empty-fragments", [frame(TEXT, "", fin=False), frame(CONT, "", fin=False), frame(CONT, ""), Wait(1), BYE],
     ["text 0", "close 1000"])
case("5-ping-between", [frame(TEXT, "ab", fin=False), frame(PING, "now"), Wait(1), frame(CONT, "cd"), Wait(2), BYE],
     ["pong 3", "text 4", "close 1000"])
case("5-pings-between-in-one-write",
     [frame(BINARY, "ab", fin=False) + frame(PING, "1") + frame(CONT, "cd", fin=False) + frame(PING, "22")
      + frame(CONT, "ef"), Wait(3), BYE], ["pong 1", "pong 2", "binary 6", "close 1000"])
case("5-pong-between", [frame(TEXT, "ab", fin=False), frame(PONG, "x"), frame(CONT, "cd"), Wait(1), BYE],
     ["text 4", "close 1000"])
case("5-ping-in-fragments", [frame(PING, "ab", fin=False), frame(CONT, "cd")], ["close 1002"])
case("5-pong-in-fragments", [frame(PONG, "ab", fin=False), frame(CONT, "cd")], ["close 1002"])
case("5-continuation-of-nothing", [frame(CONT, "ab"), frame(TEXT, "cd")], ["close 1002"])
case("5-continuation-after-end", [frame(TEXT, "ab"), Wait(1), frame(CONT, "cd")], ["text 2", "close 1002"])
case("5-text-within-text", [frame(TEXT, "ab", fin=False), frame(TEXT, "cd")], ["close 1002"])
# Allowed by RFC 6455, an error for the library; the engine has no opinion.
case("5-close-between", [frame(TEXT, "ab", fin=False), BYE, frame(CONT, "cd")], None)

# --- 6 UTF-8

VALID = "Hello-µ@ßöäüàá-UTF-8!! κόσμε 𐍈 \U0010ffff".encode()
case("6-valid", [frame(TEXT, VALID), Wait(1), BYE], [message(TEXT, VALID), "close 1000"])
case("6-valid-octet-by-octet", [frame(TEXT, VALID[:1], fin=False),
                                *[frame(CONT, VALID[n:n + 1], fin=False) for n in range(1, len(VALID))],
                                frame(CONT), Wait(1), BYE], [message(TEXT, VALID), "close 1000"])
for _name, _octets in {"lone-continuation": b"\x80", "overlong": b"\xc0\xaf", "surrogate": b"\xed\xa0\x80",
                       "above-unicode": b"\xf4\x90\x80\x80", "cut-off": "κ".encode()[:1], "no-such-octet": b"\xff"}.items():
    case(f"6-{_name}", [frame(TEXT, b"a" + _octets)], ["close 1007"])
    case(f"6-{_name}-as-binary", [frame(BINARY, b"a" + _octets), Wait(1), BYE],
         [message(BINARY, b"a" + _octets), "close 1000"])
case("6-invalid-before-the-end", [frame(TEXT, b"ab\xed\xa0\x80", fin=False), frame(CONT, "rest")], ["close 1007"])

# --- 7 Close

case("7-close-at-once", [BYE], ["close 1000"])
case("7-close-with-reason", [close(1000, "until later".encode())], ["close 1000 'until later'"])
case("7-close-with-longest-reason", [close(1000, b"*" * 123)], [f"close 1000 '{'*' * 123}'"])
case("7-close-empty", [frame(CLOSE)], ["close"])
case("7-close-of-one-octet", [frame(CLOSE, b"\x03")], ["close 1002"])
case("7-close-too-long", [frame(CLOSE, b"\x03\xe8" + b"*" * 124)], ["close 1002"])
case("7-close-reason-no-utf8", [close(1000, b"\xce\xba\xed\xa0\x80")], ["close 1007"])
case("7-close-twice", [BYE, BYE], ["close 1000"])
case("7-ping-after-close", [BYE, frame(PING)], ["close 1000"])
case("7-message-after-close", [BYE, frame(TEXT, "late")], ["close 1000"])
case("7-large-message-after-close", [BYE, frame(BINARY, b"x" * 256 * 1024)], ["close 1000"])
case("7-large-message-then-close", [frame(BINARY, b"x" * 256 * 1024) + BYE], [f"binary {256 * 1024}", "close 1000"])
for _code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
    case(f"7-code-{_code}", [close(_code)], [f"close {_code}"])
for _code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535):
    case(f"7-no-code-{_code}", [close(_code)], ["close 1002"])

# --- 8 Masks (not a group of Autobahn's)

case("8-unmasked", [frame(TEXT, "Hello", mask=False)], ["close 1002"])
case("8-unmasked-ping", [frame(PING, "Hello", mask=False)], ["close 1002"])
case("8-unmasked-close", [frame(CLOSE, b"\x03\xe8", mask=False)], ["close 1002"])
case("8-unmasked-after-message", [frame(TEXT, "a"), Wait(1), frame(TEXT, "b", mask=False)], ["text 1", "close 1002"])

# --- 9 Large messages

for _part in (1024, 4096, 65536, 256 * 1024):
    _count = MIB // _part
    case(f"9-mib-in-fragments-of-{_part}",
         [frame(BINARY, b"x" * _part, fin=False), *[frame(CONT, b"y" * _part, fin=False) for _ in range(_count - 2)],
          frame(CONT, b"z" * _part), Wait(1), BYE], [f"binary {MIB}", "close 1000"])
case("9-mib-in-small-writes", [*[frame(TEXT, b"x" * MIB)[n:n + 997] for n in range(0, MIB + 14, 997)], Wait(1), BYE],
     [f"text {MIB}", "close 1000"])
case("9-too-large", [frame(BINARY, b"x" * (2 * MIB + 1))], ["close 1009"])
case("9-mib-and-ping", [frame(TEXT, b"x" * MIB) + frame(PING, "p"), Wait(2), BYE], [f"text {MIB}", "pong 1", "close 1000"])

# --- 10 How it begins and ends (not a group of Autobahn's)

case("10-message-with-the-handshake", [Wait(1), BYE], ["text 5", "close 1000"], early=frame(TEXT, "early"))
case("10-half-a-frame-with-the-handshake", [frame(TEXT, "early")[4:], Wait(1), BYE], ["text 5", "close 1000"],
     early=frame(TEXT, "early")[:4])
case("10-ping-and-close-with-the-handshake", [], ["pong 1", "close 1000"], early=frame(PING, "p") + BYE)
case("10-the-service-speaks-first", [Wait(1), BYE], ["text 7", "close 1000"], what="greet")
case("10-half-close-after-message", [frame(TEXT, "a"), SHUT], ["text 1"])
case("10-half-close-after-large-message", [frame(BINARY, b"x" * MIB), SHUT], [f"binary {MIB}"])
case("10-half-close-within-a-frame", [frame(TEXT, "Hello")[:5], SHUT], [])
case("10-half-close-within-fragments", [frame(TEXT, "Hello", fin=False), SHUT], [])
case("10-half-close-at-once", [SHUT], [])
case("10-half-close-after-close", [BYE, SHUT], ["close 1000"])
case("10-subprotocol", [frame(TEXT, "a"), Wait(1), BYE], ["text 1", "close 1000"],
     fields=["Sec-WebSocket-Protocol: echo.one, echo.two"])
case("10-subprotocol-unknown", [frame(TEXT, "a"), Wait(1), BYE], ["text 1", "close 1000"],
     fields=["Sec-WebSocket-Protocol: other"])
case("10-denied", [], ["status 403"], what="deny")
case("10-wrong-version", [], ["status 400"], fields=["Sec-WebSocket-Version: 12"])


# --- 12 Compression

def deflated(text):
    squeeze = zlib.compressobj(wbits=-12)
    return (squeeze.compress(text) + squeeze.flush(zlib.Z_SYNC_FLUSH))[:-4]


DEFLATE = ["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=12; server_no_context_takeover"]
case("12-compressed", [frame(TEXT, deflated(b"again and again " * 100), reserved=4), Wait(1), BYE], None, fields=DEFLATE)
case("12-compressed-in-fragments",
     [frame(TEXT, deflated(b"again and again " * 100)[:9], reserved=4, fin=False),
      frame(CONT, deflated(b"again and again " * 100)[9:]), Wait(1), BYE], None, fields=DEFLATE)
case("12-compressed-mib", [frame(BINARY, deflated(bytes(range(256)) * 4096), reserved=4), Wait(1), BYE], None,
     fields=DEFLATE)
case("12-compressed-continuation", [frame(TEXT, "ab", fin=False), frame(CONT, "cd", reserved=4)], None, fields=DEFLATE)
case("12-not-deflate", [frame(TEXT, b"\xff\xff\xff", reserved=4)], None, fields=DEFLATE)
