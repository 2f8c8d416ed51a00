"""Sections 3 to 5 of RFC 9113: the preface, frames, field blocks, and the states of streams."""

from .client import (DATA, END_HEADERS, HEADERS, PREFACE, SETTINGS, block, continuation, data, frame, headers, literal,
                     ping, priority, reset, settings, window_update)
from .table import (ANSWERED, COMPRESSION_ERROR, FRAME_SIZE_ERROR, IGNORED, PROTOCOL_ERROR, REFUSED_STREAM, STREAM_CLOSED,
                    goaway, row, stream_error)

# --- 3.4 HTTP/2 connection preface


@row("3.4", "24 octets that begin like the preface and end otherwise", goaway(PROTOCOL_ERROR), "closed", "http1 400",
     opened=False)
def preface_is_spoilt(c):
    # In plain text the port speaks HTTP/1.1, too: what is no preface may be refused as a request of that.
    c.send(PREFACE[:-6] + b"XX\r\n\r\n", settings())
    return c.closed_or_http1()


@row("3.4", "the preface, then a PING where SETTINGS must be", goaway(PROTOCOL_ERROR), "closed", opened=False)
def preface_without_settings(c):
    c.send(PREFACE, ping(), settings())


@row("3.4", "the preface, then a request where SETTINGS must be", goaway(PROTOCOL_ERROR), "closed", opened=False)
def preface_then_request(c):
    c.send(PREFACE)
    c.bad()


@row("3.4", "the preface; the first frame of the server is SETTINGS, and ours is acknowledged", ANSWERED)
def preface_is_answered(c):
    return c.request()


@row("3.4", "the preface and a request at once, before anything was received", ANSWERED, opened=False)
def request_without_waiting(c):
    c.send(PREFACE, settings(), headers(c.stream(), block(*c.fields())))
    return 1


@row("3.4", "the preface and a request, one octet at a time", ANSWERED, opened=False)
def octet_by_octet(c):
    for octet in PREFACE + settings() + headers(c.stream(), block(*c.fields())):
        c.send(bytes([octet]))
    return 1


# --- 4.1 Frame format


@row("4.1", "a frame of unknown type on the connection", IGNORED)
def unknown_type(c):
    c.send(frame(0xbe, 0xff, 0, b"anything"))
    return c.next_answered()


@row("4.1", "a frame of unknown type on an open stream, between its DATA frames", ANSWERED)
def unknown_type_on_stream(c):
    stream = c.post()
    c.send(data(stream, b"a"), frame(0xbe, 0x05, stream, b"x" * 16_384), data(stream, b"b", end=True))
    return c.body_arrives(stream, "ab")


@row("4.1", "a frame of unknown type on an idle stream", IGNORED)
def unknown_type_on_idle_stream(c):
    c.send(frame(0xbe, 0, 99, b"anything"))
    return c.next_answered()


@row("4.1", "PING with all flags that have no meaning", IGNORED)
def undefined_flags_of_ping(c):
    c.send(ping(flags=0xfe))
    return c.next_answered()


@row("4.1", "HEADERS and DATA with all flags that have no meaning", ANSWERED)
def undefined_flags_of_a_request(c):
    stream = c.stream()
    c.send(headers(stream, block(*c.fields(method="POST")), end=False, flags=END_HEADERS | 0xd2),
           data(stream, b"ab", end=True, flags=0xf6))
    return c.body_arrives(stream, "ab")


@row("4.1", "SETTINGS, WINDOW_UPDATE, PRIORITY and RST_STREAM with flags that have no meaning", IGNORED)
def undefined_flags_of_others(c):
    stream = c.request(what="held")
    c.send(settings(flags=0xfe), frame(8, 0xff, 0, b"\0\0\0\1"), frame(2, 0xff, stream, b"\0\0\0\0\1"),
           frame(3, 0xff, stream, b"\0\0\0\x08"))
    return c.next_answered()


@row("4.1", "the reserved bit of the stream identifier, in PING", IGNORED)
def reserved_bit_of_ping(c):
    c.send(ping(stream=0x80000000))
    return c.next_answered()


@row("4.1", "the reserved bit of the stream identifier, in HEADERS", ANSWERED)
def reserved_bit_of_headers(c):
    stream = c.stream()
    c.send(headers(stream | 0x80000000, block(*c.fields())))
    return stream


# --- 4.2 Frame size


@row("4.2", "DATA of 16,384 octets", ANSWERED)
def data_of_the_largest_size(c):
    stream = c.post()
    c.send(data(stream, b"x" * 16_384, end=True))
    return c.body_arrives(stream, "x" * 16_384)


@row("4.2", "HEADERS of 16,384 octets", ANSWERED)
def headers_of_the_largest_size(c):
    fields = block(*c.fields())
    filler = literal("x-filler", b"x" * 10_000)
    rest = 16_384 - len(fields) - len(filler)
    filler += literal("x-rest", b"x" * (rest - len(literal("x-rest", b"x" * 1000)) + 1000))
    assert len(fields + filler) == 16_384
    stream = c.stream()
    c.send(headers(stream, fields + filler))
    return stream


@row("4.2", "DATA of 16,385 octets", *stream_error(FRAME_SIZE_ERROR))
def data_too_large(c):
    stream = c.late()
    c.send(data(stream, b"x" * 16_385, end=True))
    return stream


@row("4.2", "HEADERS of 16,385 octets", goaway(FRAME_SIZE_ERROR))
def headers_too_large(c):
    c.send(headers(c.stream(), block(*c.fields(what="bad")).ljust(16_385, b"\x20")))


@row("4.2", "CONTINUATION of 16,385 octets", goaway(FRAME_SIZE_ERROR))
def continuation_too_large(c):
    stream = c.stream()
    c.send(headers(stream, block(*c.fields(what="bad")), flags=0), continuation(stream, b"\x20" * 16_385))


@row("4.2", "SETTINGS of 16,386 octets, a multiple of six", goaway(FRAME_SIZE_ERROR))
def settings_too_large(c):
    c.send(frame(SETTINGS, 0, 0, b"\xff\xff\0\0\0\0" * 2731))


@row("4.2", "a frame of unknown type with 16,385 octets on stream 0", goaway(FRAME_SIZE_ERROR))
def unknown_type_too_large(c):
    c.send(frame(0xbe, 0, 0, b"x" * 16_385))


@row("4.2", "HEADERS with the PRIORITY flag and four octets", goaway(FRAME_SIZE_ERROR))
def headers_too_small(c):
    c.send(frame(HEADERS, 0x25, c.stream(), b"\0\0\0\0"))


@row("4.2", "HEADERS with the PADDED flag and no octet", goaway(FRAME_SIZE_ERROR), goaway(PROTOCOL_ERROR))
def headers_without_pad_length(c):
    c.send(frame(HEADERS, 0x0d, c.stream()))


@row("4.2", "DATA with the PADDED flag and no octet", *stream_error(FRAME_SIZE_ERROR), goaway(PROTOCOL_ERROR))
def data_without_pad_length(c):
    stream = c.late()
    c.send(frame(DATA, 0x09, stream))
    return stream


# --- 4.3 Field section compression and decompression


@row("4.3", "a field block that breaks off in a field", goaway(COMPRESSION_ERROR))
def block_breaks_off(c):
    c.send(headers(c.stream(), block(*c.fields(what="bad"))[:-3]))


@row("4.3", "a field block in three fragments, the last of which is empty", ANSWERED)
def block_in_fragments(c):
    stream, fields = c.stream(), block(*c.fields())
    c.send(headers(stream, fields[:7], flags=0), continuation(stream, fields[7:], flags=0), continuation(stream, b""))
    return stream


@row("4.3", "a field block in which HEADERS is empty", ANSWERED)
def block_in_continuation_only(c):
    stream = c.stream()
    c.send(headers(stream, b"", flags=0), continuation(stream, block(*c.fields())))
    return stream


def _interleaved(c, between, stream=None):
    """A field block with something in its middle; it is finished, so that only what is between can be wrong."""
    stream = stream or c.stream()
    fields = block(*c.fields(what="bad"))
    c.send(headers(stream, fields[:9], flags=0), between, continuation(stream, fields[9:]))


@row("4.3", "PING within a field block", goaway(PROTOCOL_ERROR))
def ping_within_block(c):
    _interleaved(c, ping())


@row("4.3", "SETTINGS within a field block", goaway(PROTOCOL_ERROR))
def settings_within_block(c):
    _interleaved(c, settings())


@row("4.3", "WINDOW_UPDATE of the connection within a field block", goaway(PROTOCOL_ERROR))
def window_update_within_block(c):
    _interleaved(c, window_update(0, 1))


@row("4.3", "PRIORITY of the same stream within a field block", goaway(PROTOCOL_ERROR))
def priority_within_block(c):
    _interleaved(c, priority(1))


@row("4.3", "RST_STREAM of the same stream within a field block", goaway(PROTOCOL_ERROR))
def reset_within_block(c):
    _interleaved(c, reset(1))


@row("4.3", "DATA of the same stream within a field block", goaway(PROTOCOL_ERROR))
def data_within_block(c):
    _interleaved(c, data(1, b"x"))


@row("4.3", "HEADERS of another stream within a field block", goaway(PROTOCOL_ERROR))
def other_request_within_block(c):
    stream, other = c.stream(), c.stream()
    _interleaved(c, headers(other, block(*c.fields(what="bad"))), stream)


@row("4.3", "HEADERS of the same stream within a field block", goaway(PROTOCOL_ERROR))
def same_headers_within_block(c):
    _interleaved(c, headers(1, block(("x", "y"))))


@row("4.3", "GOAWAY within a field block", goaway(PROTOCOL_ERROR))
def goaway_within_block(c):
    _interleaved(c, frame(7, 0, 0, b"\0" * 8))


INDEXED = literal("x-kept", "yes", first=0x40)
KEPT = b"\xbe"  # index 62, the newest entry of the dynamic table


def _kept(c):
    """What the upstream gets for a request that names its field by the entry made before."""
    stream = c.stream()
    c.send(headers(stream, block(*c.fields()) + KEPT))
    seen = c.echoed(stream)
    return ANSWERED if isinstance(seen, dict) and ["x-kept", "yes"] in seen["fields"] else str(seen)


@row("4.3", "a field indexed by a malformed request, then used by a good one", ANSWERED)
def table_is_kept_of_malformed(c):
    c.send(headers(c.stream(), block(*c.fields(("connection", "close"), what="bad")) + INDEXED))
    return _kept(c)


@row("4.3", "a field indexed by a request that is answered 404, then used", ANSWERED)
def table_is_kept_of_unknown_path(c):
    c.send(headers(c.stream(), block(*c.fields(path="/nowhere")) + INDEXED))
    return _kept(c)


def _too_large(c, count):
    stream, large = c.stream(), literal("x-large", "x" * 12_000)
    c.send(headers(stream, block(*c.fields(what="bad")) + large, flags=0),
           *[continuation(stream, large, flags=0) for _ in range(count - 1)], continuation(stream, INDEXED))
    return _kept(c)


@row("4.3", "a field indexed by a request whose head is over the limit (36 KB), then used", ANSWERED)
def table_is_kept_of_too_large(c):
    return _too_large(c, 3)


@row("10.5.1", "the same with 240 KB, which a server may take for an attack (10.5)", ANSWERED, "goaway ENHANCE_YOUR_CALM")
def table_is_kept_of_far_too_large(c):
    return _too_large(c, 20)


# --- 5.1 Stream states


@row("5.1", "DATA on an idle stream", goaway(PROTOCOL_ERROR))
def idle_data(c):
    c.send(data(1, b"x", end=True))


@row("5.1", "RST_STREAM on an idle stream", goaway(PROTOCOL_ERROR))
def idle_reset(c):
    c.send(reset(1))


@row("5.1", "WINDOW_UPDATE on an idle stream", goaway(PROTOCOL_ERROR))
def idle_window_update(c):
    c.send(window_update(1, 100))


@row("5.1", "CONTINUATION on an idle stream", goaway(PROTOCOL_ERROR))
def idle_continuation(c):
    c.send(continuation(1, block(*c.fields(what="bad"))))


@row("5.1", "PRIORITY on an idle stream", IGNORED)
def idle_priority(c):
    c.send(priority(1), priority(51))
    return c.next_answered()


@row("5.1", "HEADERS on a stream that only the server may open", goaway(PROTOCOL_ERROR))
def idle_server_headers(c):
    c.send(headers(2, block(*c.fields(what="bad"))))


@row("5.1", "DATA on a stream that only the server may open", goaway(PROTOCOL_ERROR))
def idle_server_data(c):
    c.send(data(2, b"x"))


@row("5.1", "WINDOW_UPDATE on a stream that only the server may open", goaway(PROTOCOL_ERROR))
def idle_server_window_update(c):
    c.send(window_update(2, 1))


@row("5.1", "RST_STREAM on a stream that only the server may open", goaway(PROTOCOL_ERROR))
def idle_server_reset(c):
    c.send(reset(2))


@row("5.1", "all that is allowed on an open stream", ANSWERED)
def open_takes_everything(c):
    stream = c.post()
    c.send(priority(stream), data(stream, b"a"), window_update(stream, 5), frame(0xbe, 0, stream), data(stream, b""),
           data(stream, b"b"), headers(stream, b""))
    return c.body_arrives(stream, "ab")


@row("5.1", "DATA on a stream that is half-closed (remote)", *stream_error(STREAM_CLOSED))
def half_closed_data(c):
    stream = c.request(what="held")
    c.send(data(stream, b"x", end=True))
    return stream


@row("5.1", "HEADERS on a stream that is half-closed (remote)", *stream_error(STREAM_CLOSED))
def half_closed_headers(c):
    stream = c.request(what="held")
    c.send(headers(stream, block(("x", "y"))))
    return stream


@row("5.1", "CONTINUATION on a stream that is half-closed (remote)", goaway(PROTOCOL_ERROR), *stream_error(STREAM_CLOSED))
def half_closed_continuation(c):
    stream = c.request(what="held")
    c.send(continuation(stream, block(("x", "y"))))
    return stream


@row("5.1", "WINDOW_UPDATE and PRIORITY on a stream that is half-closed (remote)", IGNORED)
def half_closed_window_update(c):
    stream = c.request(what="held")
    c.send(window_update(stream, 100), priority(stream))
    return c.next_answered(stream)


@row("5.1", "RST_STREAM on a stream that is half-closed (remote)", IGNORED)
def half_closed_reset(c):
    stream = c.request(what="held")
    c.send(reset(stream))
    return c.next_answered(stream)


@row("5.1", "DATA on a stream whose answer has ended already (half-closed (local))", IGNORED)
def answered_early(c):
    stream = c.post(path="/nowhere")
    verdict = c.answer(stream)
    assert verdict == "answer 404", verdict
    c.send(data(stream, b"x"), data(stream, b"x", end=True))
    return c.next_answered(stream)


def _closed_by_end(c):
    stream = c.request()
    verdict = c.answer(stream)
    assert verdict == ANSWERED, verdict
    return stream


@row("5.1", "DATA on a stream that both sides have ended", *stream_error(STREAM_CLOSED))
def closed_data(c):
    stream = _closed_by_end(c)
    c.send(data(stream, b"x"))
    return c.fate(stream)


@row("5.1", "HEADERS on a stream that both sides have ended", *stream_error(STREAM_CLOSED), goaway(PROTOCOL_ERROR))
def closed_headers(c):
    stream = _closed_by_end(c)
    c.send(headers(stream, block(*c.fields(what="bad"))))
    return c.fate(stream)


@row("5.1", "CONTINUATION on a stream that both sides have ended", *stream_error(STREAM_CLOSED), goaway(PROTOCOL_ERROR))
def closed_continuation(c):
    stream = _closed_by_end(c)
    c.send(continuation(stream, block(*c.fields(what="bad"))))
    return c.fate(stream)


@row("5.1", "WINDOW_UPDATE, RST_STREAM and PRIORITY on a stream that both sides have ended", IGNORED)
def closed_window_update(c):
    stream = _closed_by_end(c)
    c.send(window_update(stream, 1), priority(stream), reset(stream), priority(stream))
    return c.next_answered(stream)


@row("5.1", "DATA on a stream that the client has reset", *stream_error(STREAM_CLOSED))
def client_reset_data(c):
    stream = c.post(what="held")
    c.send(reset(stream), data(stream, b"x"))
    return c.fate(stream)


@row("5.1", "HEADERS on a stream that the client has reset", *stream_error(STREAM_CLOSED), goaway(PROTOCOL_ERROR))
def client_reset_headers(c):
    stream = c.post(what="held")
    c.send(reset(stream), headers(stream, block(*c.fields(what="bad"))))
    return c.fate(stream)


@row("5.1", "PRIORITY on a stream that the client has reset", IGNORED)
def client_reset_priority(c):
    stream = c.post(what="held")
    c.send(reset(stream), priority(stream))
    return c.next_answered(stream)


@row("5.1", "DATA, HEADERS and WINDOW_UPDATE on a stream that the engine has reset", IGNORED)
def engine_reset_frames(c):
    stream = c.bad(("connection", "close"), end=False)
    c.send(data(stream, b"x"), window_update(stream, 1), headers(stream, INDEXED))
    verdict = c.next_answered()
    return "ignored" if verdict == "ignored" and _kept(c) == ANSWERED else verdict


# --- 5.1.1 Stream identifiers


@row("5.1.1", "a request on an even identifier", goaway(PROTOCOL_ERROR))
def even_identifier(c):
    c.send(headers(4, block(*c.fields(what="bad"))))


@row("5.1.1", "a request on an identifier below one in use", goaway(PROTOCOL_ERROR))
def lower_identifier(c):
    c.request(stream=5, what="held")
    c.bad(stream=3)


@row("5.1.1", "requests that leave out identifiers", ANSWERED)
def skipped_identifiers(c):
    c.request(stream=5, what="held")
    return c.request(stream=1001)


@row("5.1.1", "a request on the highest identifier", ANSWERED)
def highest_identifier(c):
    return c.request(stream=2**31 - 1)


# --- 5.1.2 Stream concurrency


@row("5.1.2", "one request more than SETTINGS_MAX_CONCURRENT_STREAMS", *stream_error(PROTOCOL_ERROR),
     *stream_error(REFUSED_STREAM))
def too_many_streams(c):
    for _ in range(c.server_settings[3]):
        c.request(what="held")
    return c.bad()


@row("5.1.2", "the same after one of them was reset: its place is free again", ANSWERED)
def place_is_free_again(c):
    streams = [c.request(what="held") for _ in range(c.server_settings[3])]
    c.send(reset(streams[7]))
    return c.request()


# --- 5.4 Error handling


@row("5.4.1", "an error after an answered request: GOAWAY names that request's stream", goaway(PROTOCOL_ERROR))
def last_stream_is_named(c):
    stream = _closed_by_end(c)
    c.send(data(0, b"x"))
    verdict = c.answer(-1)
    return verdict if c.last_stream == stream else f"{verdict} that names stream {c.last_stream}"


@row("5.4.2", "a malformed request beside a good one, which goes on", ANSWERED)
def other_streams_go_on(c):
    good = c.post()
    c.bad(("connection", "close"))
    c.send(data(good, b"ab", end=True))
    return c.body_arrives(good, "ab")


@row("5.4.2", "RST_STREAM is not answered with RST_STREAM", IGNORED)
def no_reset_for_a_reset(c):
    stream = c.request(what="held")
    c.send(reset(stream), reset(stream))
    resets = [sent for sent in c.until_pong() if sent.stream_id == stream]
    return c.next_answered() if not resets else f"answered with {resets}"


# --- 5.5 Extending HTTP/2


@row("5.5", "an unknown setting", IGNORED)
def unknown_setting(c):
    c.send(settings((0xfafa, 7)))
    return c.next_answered()


@row("5.5", "a frame of unknown type within a field block", goaway(PROTOCOL_ERROR))
def unknown_type_within_block(c):
    _interleaved(c, frame(0xbe, 0, 1, b"x"))


@row("5.5", "a frame of unknown type on the connection within a field block", goaway(PROTOCOL_ERROR))
def unknown_type_on_connection_within_block(c):
    _interleaved(c, frame(0xbe, 0, 0, b"x"))
