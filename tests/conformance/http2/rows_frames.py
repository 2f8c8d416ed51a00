"""Sections 6 and 7 of RFC 9113: each kind of frame, and error codes."""

from .client import (ACK, DATA, ENABLE_PUSH, END_HEADERS, HEADER_TABLE_SIZE, HEADERS, INITIAL_WINDOW_SIZE,
                     MAX_CONCURRENT_STREAMS, MAX_FRAME_SIZE, PADDED, PING, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS,
                     WINDOW_MAX, WINDOW_UPDATE, WITH_PRIORITY, block, continuation, data, frame, goaway as goaway_frame,
                     headers, ping, priority, reset, settings, window_update)
from .table import (ANSWERED, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, IGNORED, PROTOCOL_ERROR, STREAM_CLOSED, goaway, row,
                    stream_error)
from .upstream import LARGE_BYTES

# --- 6.1 DATA


@row("6.1", "DATA on stream 0", goaway(PROTOCOL_ERROR))
def data_on_stream_0(c):
    c.send(data(0, b"x"))


@row("6.1", "DATA with padding; only the data is passed on", ANSWERED)
def data_with_padding(c):
    stream = c.post()
    c.send(data(stream, b"\x05" b"ab" + bytes(5), flags=PADDED), data(stream, b"\x00" b"c", flags=PADDED),
           data(stream, b"\xff" + bytes(255), flags=PADDED, end=True))
    return c.body_arrives(stream, "abc")


@row("6.1", "DATA with as much padding as the payload is long", goaway(PROTOCOL_ERROR))
def data_padding_as_long(c):
    c.send(data(c.late(), b"\x03ab", flags=PADDED, end=True))


@row("6.1", "DATA with more padding than the payload is long", goaway(PROTOCOL_ERROR))
def data_padding_longer(c):
    c.send(data(c.late(), b"\xffab", flags=PADDED, end=True))


@row("6.1", "empty DATA, one that ends the stream among them", ANSWERED)
def data_empty(c):
    stream = c.post()
    c.send(data(stream), data(stream, b"a"), data(stream, end=True))
    return c.body_arrives(stream, "a")


@row("6.1", "DATA after the end of the stream", *stream_error(STREAM_CLOSED))
def data_after_end(c):
    stream = c.post(what="held")
    c.send(data(stream, b"x", end=True), data(stream, b"y"))
    return stream


# --- 6.2 HEADERS


@row("6.2", "HEADERS on stream 0", goaway(PROTOCOL_ERROR))
def headers_on_stream_0(c):
    c.send(headers(0, block(*c.fields(what="bad"))))


@row("6.2", "HEADERS with padding", ANSWERED)
def headers_with_padding(c):
    stream = c.stream()
    c.send(headers(stream, b"\x09" + block(*c.fields()) + bytes(9), flags=END_HEADERS | PADDED))
    return stream


@row("6.2", "HEADERS with padding and priority", ANSWERED)
def headers_with_both(c):
    stream = c.stream()
    c.send(headers(stream, b"\x09\x80\0\0\x0b\x07" + block(*c.fields()) + bytes(9),
                   flags=END_HEADERS | PADDED | WITH_PRIORITY))
    return stream


@row("6.2", "HEADERS with as much padding as the payload is long", goaway(PROTOCOL_ERROR))
def headers_padding_as_long(c):
    fields = block(*c.fields(what="bad"))[:200]
    c.send(headers(c.stream(), bytes([len(fields) + 1]) + fields, flags=END_HEADERS | PADDED))


@row("6.2", "HEADERS with padding that leaves no room for the priority", goaway(PROTOCOL_ERROR),
     goaway(FRAME_SIZE_ERROR))
def headers_padding_over_priority(c):
    c.send(headers(c.stream(), b"\x04" + bytes(5), flags=END_HEADERS | PADDED | WITH_PRIORITY))


# --- 6.3 PRIORITY


@row("6.3", "PRIORITY on stream 0", goaway(PROTOCOL_ERROR))
def priority_on_stream_0(c):
    c.send(priority(0))


@row("6.3", "PRIORITY of four octets on an open stream", *stream_error(FRAME_SIZE_ERROR))
def priority_too_short(c):
    stream = c.request(what="held")
    c.send(frame(PRIORITY, 0, stream, bytes(4)))
    return c.fate(stream)


@row("6.3", "PRIORITY of six octets on an open stream", *stream_error(FRAME_SIZE_ERROR))
def priority_too_long(c):
    stream = c.request(what="held")
    c.send(frame(PRIORITY, 0, stream, bytes(6)))
    return c.fate(stream)


@row("5.3.2", "PRIORITY by which a stream depends on itself: an error for RFC 7540, nothing for RFC 9113", IGNORED,
     *stream_error(PROTOCOL_ERROR))
def priority_of_itself(c):
    stream = c.request(what="held")
    c.send(priority(stream, depends_on=stream))
    verdict = c.fate(stream)
    return c.next_answered() if verdict == "ignored" else verdict


@row("5.3.2", "HEADERS by which a stream depends on itself: an error for RFC 7540, nothing for RFC 9113", ANSWERED,
     *stream_error(PROTOCOL_ERROR))
def headers_of_itself(c):
    stream = c.stream()
    c.send(headers(stream, b"\0\0\0\x01\x0f" + block(*c.fields()), flags=END_HEADERS | WITH_PRIORITY))
    return stream


@row("5.3.2", "PRIORITY in every state, in a circle, and of streams that never come", IGNORED)
def priority_everywhere(c):
    stream = c.request(what="held")
    c.send(priority(3, 5), priority(5, 7), priority(7, 3), priority(stream, 9), priority(2**31 - 1, 1))
    return c.next_answered(stream)


# --- 6.4 RST_STREAM


@row("6.4", "RST_STREAM on stream 0", goaway(PROTOCOL_ERROR))
def reset_on_stream_0(c):
    c.send(reset(0))


@row("6.4", "RST_STREAM of three octets", goaway(FRAME_SIZE_ERROR))
def reset_too_short(c):
    c.send(frame(RST_STREAM, 0, c.request(what="held"), bytes(3)))


@row("6.4", "RST_STREAM of five octets", goaway(FRAME_SIZE_ERROR))
def reset_too_long(c):
    c.send(frame(RST_STREAM, 0, c.request(what="held"), bytes(5)))


@row("6.4", "RST_STREAM while an answer waits for the window: nothing of it comes any more", IGNORED)
def reset_ends_the_answer(c):
    c.send(settings((INITIAL_WINDOW_SIZE, 1)))
    stream = c.request()
    while c.read().stream_id != stream:
        pass
    c.until_pong()
    c.send(reset(stream))
    c.until_pong(b"reset-ok")
    c.send(settings((INITIAL_WINDOW_SIZE, 65_535)), window_update(0, 100))
    late = [sent for sent in c.until_pong() if sent.stream_id == stream]
    return c.next_answered() if not late else f"sent {late}"


# --- 6.5 SETTINGS


@row("6.5", "SETTINGS on a stream", goaway(PROTOCOL_ERROR))
def settings_on_a_stream(c):
    c.send(settings(stream=c.request(what="held")))


@row("6.5", "SETTINGS with the ACK flag and a setting", goaway(FRAME_SIZE_ERROR))
def settings_ack_with_payload(c):
    c.send(settings((HEADER_TABLE_SIZE, 4096), flags=ACK))


@row("6.5", "SETTINGS of three octets", goaway(FRAME_SIZE_ERROR))
def settings_too_short(c):
    c.send(frame(SETTINGS, 0, 0, bytes(3)))


@row("6.5", "SETTINGS of seven octets", goaway(FRAME_SIZE_ERROR))
def settings_too_long(c):
    c.send(frame(SETTINGS, 0, 0, b"\xff\xff" + bytes(5)))


@row("6.5.2", "SETTINGS_ENABLE_PUSH of 2", goaway(PROTOCOL_ERROR))
def enable_push_2(c):
    c.send(settings((ENABLE_PUSH, 2)))


@row("6.5.2", "SETTINGS_ENABLE_PUSH of 0 and of 1", IGNORED)
def enable_push(c):
    c.send(settings((ENABLE_PUSH, 1)), settings((ENABLE_PUSH, 0)))
    return c.next_answered()


@row("6.5.2", "SETTINGS_INITIAL_WINDOW_SIZE of 2^31", goaway(FLOW_CONTROL_ERROR))
def initial_window_too_large(c):
    c.send(settings((INITIAL_WINDOW_SIZE, 2**31)))


@row("6.5.2", "SETTINGS_MAX_FRAME_SIZE of 16,383", goaway(PROTOCOL_ERROR))
def max_frame_size_too_small(c):
    c.send(settings((MAX_FRAME_SIZE, 16_383)))


@row("6.5.2", "SETTINGS_MAX_FRAME_SIZE of 2^24", goaway(PROTOCOL_ERROR))
def max_frame_size_too_large(c):
    c.send(settings((MAX_FRAME_SIZE, 2**24)))


@row("6.5.2", "the largest and the smallest values that are allowed", IGNORED)
def settings_at_their_limits(c):
    c.send(settings((MAX_FRAME_SIZE, 16_384)), settings((MAX_FRAME_SIZE, 2**24 - 1), (INITIAL_WINDOW_SIZE, WINDOW_MAX)),
           settings((MAX_FRAME_SIZE, 16_384)))
    return c.next_answered()


@row("6.5.2", "SETTINGS_MAX_CONCURRENT_STREAMS of 0, which is about the server's streams", IGNORED)
def no_streams_of_the_server(c):
    c.send(settings((MAX_CONCURRENT_STREAMS, 0)))
    return c.next_answered()


@row("6.5.2", "SETTINGS_HEADER_TABLE_SIZE of 0: the next field block says so, and needs no table", ANSWERED)
def header_table_of_nothing(c):
    c.answer(c.request())
    c.send(settings((HEADER_TABLE_SIZE, 0)))
    c.until_pong()
    c.decoder.max_allowed_table_size = 0
    stream = c.request()
    verdict = c.answer(stream)
    begins = c.first_block.get(stream, b"")[:1]
    return verdict if begins == b"\x20" else f"a field block that begins with {begins}"


@row("6.5.3", "SETTINGS are acknowledged, each", IGNORED)
def settings_are_acknowledged(c):
    before = c.settings_acked
    c.send(settings((INITIAL_WINDOW_SIZE, 100_000)), settings(), settings((0xfafa, 1)))
    c.until_pong()
    acknowledged = c.settings_acked - before
    return c.next_answered() if acknowledged == 3 else f"{acknowledged} of 3 were acknowledged"


@row("6.5.3", "the same setting twice in one frame: the later value counts", ANSWERED)
def later_value_counts(c):
    c.send(settings((INITIAL_WINDOW_SIZE, 0), (INITIAL_WINDOW_SIZE, 65_535)))
    return c.request()


# --- 6.6 PUSH_PROMISE, 8.4


@row("6.6", "PUSH_PROMISE of a client on an open stream", goaway(PROTOCOL_ERROR))
def push_of_a_client(c):
    stream = c.request(what="held")
    c.send(frame(PUSH_PROMISE, END_HEADERS, stream, b"\0\0\0\2" + block(*c.fields(what="bad"))))


@row("6.6", "PUSH_PROMISE on stream 0", goaway(PROTOCOL_ERROR))
def push_on_stream_0(c):
    c.send(frame(PUSH_PROMISE, END_HEADERS, 0, b"\0\0\0\2" + block(*c.fields(what="bad"))))


# --- 6.7 PING


@row("6.7", "PING: the answer has the ACK flag and the same octets", IGNORED)
def ping_is_answered(c):
    c.send(ping(b"\x00\xff another"[:8]))
    pongs = [(sent.opaque_data, sorted(sent.flags)) for sent in c.until_pong() if sent.type == PING]
    return c.next_answered() if pongs == [(b"\x00\xff anoth", ["ACK"])] else f"answered {pongs}"


@row("6.7", "PING with the ACK flag is not answered", IGNORED)
def pong_is_not_answered(c):
    c.send(ping(b"unasked!", flags=ACK))
    pongs = [sent for sent in c.until_pong() if sent.type == PING]
    return c.next_answered() if not pongs else f"answered {pongs}"


@row("6.7", "PING on a stream", goaway(PROTOCOL_ERROR))
def ping_on_a_stream(c):
    c.send(ping(stream=c.request(what="held")))


@row("6.7", "PING of seven octets", goaway(FRAME_SIZE_ERROR))
def ping_too_short(c):
    c.send(ping(b"1234567"))


@row("6.7", "PING of nine octets", goaway(FRAME_SIZE_ERROR))
def ping_too_long(c):
    c.send(ping(b"123456789"))


# --- 6.8 GOAWAY


@row("6.8", "GOAWAY on a stream", goaway(PROTOCOL_ERROR))
def goaway_on_a_stream(c):
    c.send(goaway_frame(stream=c.request(what="held")))


@row("6.8", "GOAWAY of seven octets", goaway(FRAME_SIZE_ERROR))
def goaway_too_short(c):
    c.send(frame(7, 0, 0, bytes(7)))


@row("6.8", "GOAWAY while a request arrives: its answer still comes", ANSWERED)
def goaway_lets_finish(c):
    stream = c.post()
    c.send(goaway_frame(), data(stream, b"ab", end=True))
    return c.body_arrives(stream, "ab")


# --- 6.9 WINDOW_UPDATE


@row("6.9", "WINDOW_UPDATE of 0 on a stream", *stream_error(PROTOCOL_ERROR))
def window_update_of_0_on_a_stream(c):
    stream = c.request(what="held")
    c.send(window_update(stream, 0))
    return c.fate(stream)


@row("6.9", "WINDOW_UPDATE of 0 on the connection", goaway(PROTOCOL_ERROR))
def window_update_of_0(c):
    c.send(window_update(0, 0))


@row("6.9", "WINDOW_UPDATE of three octets", goaway(FRAME_SIZE_ERROR))
def window_update_too_short(c):
    c.send(frame(WINDOW_UPDATE, 0, 0, b"\0\0\1"))


@row("6.9", "WINDOW_UPDATE of five octets", goaway(FRAME_SIZE_ERROR))
def window_update_too_long(c):
    c.send(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1\0"))


@row("6.9", "the reserved bit of the increment is ignored", IGNORED)
def window_update_reserved_bit(c):
    c.send(window_update(0, 0x80000001))
    return c.next_answered()


@row("6.9.1", "the window of the connection above 2^31-1", goaway(FLOW_CONTROL_ERROR))
def connection_window_overflows(c):
    c.send(window_update(0, WINDOW_MAX))


@row("6.9.1", "the window of a stream above 2^31-1", *stream_error(FLOW_CONTROL_ERROR))
def stream_window_overflows(c):
    stream = c.request(what="held")
    c.send(window_update(stream, WINDOW_MAX))
    return c.fate(stream)


def _octets(frames, stream):
    return sum(len(sent.data) for sent in frames if sent.stream_id == stream and sent.type == DATA)


def _until_octets(c, stream, count):
    """Reads until so many octets of an answer have come, then all that comes before a PING is answered."""
    got = 0
    while got < count:
        received = c.read()
        if received is None:
            return got
        got += _octets([received], stream)
    return got + _octets(c.until_pong(), stream)


@row("6.9.1", "a window of one octet: one octet comes, and one more after WINDOW_UPDATE of one", IGNORED)
def stream_window_is_kept(c):
    c.send(settings((INITIAL_WINDOW_SIZE, 1)))
    stream = c.request()
    got = [_until_octets(c, stream, 1)]
    c.send(window_update(stream, 1))
    got.append(_until_octets(c, stream, 1))
    c.send(settings((INITIAL_WINDOW_SIZE, 65_535)))
    return c.next_answered() if got == [1, 1] else f"sent {got} octets"


@row("6.9.1", "a window of the connection smaller than that of its streams", IGNORED)
def connection_window_is_kept(c):
    c.send(settings((INITIAL_WINDOW_SIZE, 1_000_000)))
    stream = c.request(what="large")
    got = [_until_octets(c, stream, 65_535)]
    c.send(window_update(0, 65_535))
    got.append(_until_octets(c, stream, LARGE_BYTES - 65_535))
    c.send(window_update(0, 65_535))
    return c.next_answered() if got == [65_535, LARGE_BYTES - 65_535] else f"sent {got} octets"


@row("6.9.2", "a window of 0, then SETTINGS with more: the answer comes", ANSWERED)
def window_of_0_then_more(c):
    c.send(settings((INITIAL_WINDOW_SIZE, 0)))
    stream = c.request()
    while c.read().stream_id != stream:
        pass
    sent = _octets(c.until_pong(), stream)
    c.send(settings((INITIAL_WINDOW_SIZE, 65_535)))
    return c.answer(stream) if sent == 0 else f"sent {sent} octets into no window"


@row("6.9.2", "a window that SETTINGS make negative: it has to be filled up before more comes", IGNORED)
def window_below_0(c):
    c.send(settings((INITIAL_WINDOW_SIZE, 10)))
    stream = c.request(what="large")
    got = [_until_octets(c, stream, 10)]
    c.send(settings((INITIAL_WINDOW_SIZE, 0)), window_update(stream, 10))
    got.append(_octets(c.until_pong(), stream))
    c.send(window_update(stream, 7))
    got.append(_until_octets(c, stream, 7))
    c.send(reset(stream), settings((INITIAL_WINDOW_SIZE, 65_535)))
    return c.next_answered() if got == [10, 0, 7] else f"sent {got} octets"


@row("6.9.2", "SETTINGS that lift a window above 2^31-1", goaway(FLOW_CONTROL_ERROR))
def settings_overflow_a_window(c):
    stream = c.request(what="held")
    c.send(window_update(stream, WINDOW_MAX - 65_535), settings((INITIAL_WINDOW_SIZE, 65_536)))


@row("6.9.2", "SETTINGS do not change the window of the connection", IGNORED)
def settings_leave_the_connection_window(c):
    c.send(settings((INITIAL_WINDOW_SIZE, WINDOW_MAX)), window_update(0, WINDOW_MAX - 65_535))
    return c.next_answered()


@row("6.9", "DATA that nobody wants counts for the connection's window: it is given back", IGNORED)
def unwanted_data_is_given_back(c):
    # More than the whole window of the connection, in pieces, on streams that were answered before.
    given, sent = 65_535 + _increments(c.until_pong(), 0), 0
    for _ in range(40):
        stream = c.post(path="/nowhere")
        c.answer(stream)
        while given - sent < 16_384:
            received = c.read()
            if received is None:
                return "closed"
            given += _increments([received], 0)
        c.send(data(stream, b"x" * 16_384, end=True))
        sent += 16_384
        given += _increments(c.until_pong(), 0)
    return c.next_answered()


def _increments(frames, stream):
    return sum(sent.window_increment for sent in frames if sent.type == WINDOW_UPDATE and sent.stream_id == stream)


# --- 6.10 CONTINUATION


@row("6.10", "CONTINUATION on stream 0 within a field block", goaway(PROTOCOL_ERROR))
def continuation_on_stream_0(c):
    stream, fields = c.stream(), block(*c.fields(what="bad"))
    c.send(headers(stream, fields[:9], flags=0), continuation(0, fields[9:]), continuation(stream, fields[9:]))


@row("6.10", "CONTINUATION on another stream", goaway(PROTOCOL_ERROR))
def continuation_on_another_stream(c):
    stream, fields = c.stream(), block(*c.fields(what="bad"))
    c.send(headers(stream, fields[:9], flags=0), continuation(stream + 2, fields[9:]), continuation(stream, fields[9:]))


@row("6.10", "CONTINUATION after HEADERS with END_HEADERS", goaway(PROTOCOL_ERROR))
def continuation_after_headers(c):
    c.send(continuation(c.post(what="held"), block(("x", "y"))))


@row("6.10", "CONTINUATION after CONTINUATION with END_HEADERS", goaway(PROTOCOL_ERROR))
def continuation_after_continuation(c):
    stream, fields = c.stream(), block(*c.fields(what="held"))
    c.send(headers(stream, fields[:9], flags=0), continuation(stream, fields[9:]), continuation(stream, block(("x", "y"))))


@row("6.10", "CONTINUATION after HEADERS without END_HEADERS and DATA", goaway(PROTOCOL_ERROR))
def continuation_after_data(c):
    stream, fields = c.stream(), block(*c.fields(what="bad"))
    c.send(headers(stream, fields[:9], end=False, flags=0), data(stream, b"x"), continuation(stream, fields[9:]))


@row("6.10", "HEADERS without END_HEADERS, then HEADERS", goaway(PROTOCOL_ERROR))
def headers_after_unfinished_headers(c):
    stream, fields = c.stream(), block(*c.fields(what="bad"))
    c.send(headers(stream, fields[:9], flags=0), headers(stream, fields[9:]))


@row("6.10", "HEADERS with END_STREAM and CONTINUATION", ANSWERED)
def continuation_after_end_stream(c):
    stream, fields = c.stream(), block(*c.fields())
    c.send(headers(stream, fields[:30], end=True, flags=0), continuation(stream, fields[30:]))
    return stream


@row("6.10", "trailers in HEADERS and CONTINUATION", ANSWERED)
def trailers_in_continuation(c):
    stream, fields = c.post(), block(("x-checksum", "1"))
    c.send(data(stream, b"a"), headers(stream, fields[:3], flags=0), continuation(stream, fields[3:]))
    return c.body_arrives(stream, "a")


# --- 7 Error codes


@row("7", "RST_STREAM with an unknown code", IGNORED)
def unknown_code_of_reset(c):
    stream = c.request(what="held")
    c.send(reset(stream, 0xfafafafa))
    return c.next_answered(stream)


@row("7", "GOAWAY with an unknown code: the request before it is answered, or the connection ends", ANSWERED,
     goaway(PROTOCOL_ERROR), "goaway INTERNAL_ERROR", "closed")
def unknown_code_of_goaway(c):
    stream = c.post()
    c.send(goaway_frame(code=0xfafafafa), data(stream, end=True))
    return stream
