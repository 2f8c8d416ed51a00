"""The cases: each is given a channel to the engine and the service behind it, and asserts what the caller sees."""

import itertools
import threading

import grpc

from .service import GUARD_S

CASES = {}
OK = grpc.StatusCode.OK
MIB = 1024 * 1024


def case(run):
    CASES[run.__name__.replace("_", "-")] = run
    return run


def unary(channel, method="Unary", version="v1"):
    return channel.unary_unary(f"/{version}/suite.Echo/{method}")


def refused(call):
    """The error that a call ends in."""
    try:
        answer = call()
        answer = list(answer) if hasattr(answer, "__iter__") and not isinstance(answer, bytes) else answer
    except grpc.RpcError as error:
        return error
    raise AssertionError(f"answered {answer!r}")


def check(error, code, says=""):
    assert error.code() is code and says in (error.details() or ""), f"{error.code()}: {error.details()}"


# --- the four kinds


@case
def one_to_one(channel, _):
    for message in (b"", b"a", bytes(range(256)) * 300):
        assert unary(channel)(message, timeout=GUARD_S) == message


@case
def many_to_one(channel, _):
    call = channel.stream_unary("/v1/suite.Echo/Join")
    for messages in ([], [b""], [b"a", b"", b"bc"], [b"x" * 1000] * 200):
        assert call(iter(messages), timeout=GUARD_S) == b"".join(messages)


@case
def one_to_many(channel, _):
    call = channel.unary_stream("/v1/suite.Echo/Count")
    for count in (0, 1, 500):
        assert list(call(str(count).encode(), timeout=GUARD_S)) == [str(n).encode() for n in range(count)]


@case
def many_to_many_in_turns(channel, _):
    # Each answer is waited for before the next message: nothing may be held back on the way.
    answers, turn = [], threading.Semaphore(1)

    def messages():
        for number in range(50):
            assert turn.acquire(timeout=GUARD_S)
            yield f"turn {number}".encode()
    for answer in channel.stream_stream("/v1/suite.Echo/Chat")(messages(), timeout=GUARD_S):
        answers.append(answer)
        turn.release()
    assert answers == [f"turn {number}".encode() for number in range(50)]


@case
def many_to_many_of_nothing(channel, _):
    assert list(channel.stream_stream("/v1/suite.Echo/Chat")(iter([]), timeout=GUARD_S)) == []


@case
def calls_side_by_side(channel, _):
    # More than the streams of one connection.
    calls = [unary(channel).future(f"{n}".encode(), timeout=GUARD_S) for n in range(300)]
    assert [call.result() for call in calls] == [f"{n}".encode() for n in range(300)]


@case
def compressed(channel, _):
    message = b"again and again " * 10_000
    assert unary(channel)(message, timeout=GUARD_S, compression=grpc.Compression.Gzip) == message


# --- metadata


@case
def metadata_both_ways(channel, _):
    sent = [("x-own-text", "plain, with a comma"), ("x-own-many", "1"), ("x-own-many", "2"),
            ("x-own-data-bin", bytes(range(256))), ("x-own-empty-bin", b"")]
    answer, call = unary(channel).with_call(b"", metadata=sent, timeout=GUARD_S)
    first = [(name, value) for name, value in call.initial_metadata() if name.startswith("x-own-")]
    last = [(name, value) for name, value in call.trailing_metadata() if name.startswith("x-end-")]
    assert sorted(first) == sorted(sent), first
    assert sorted(last) == sorted((name.replace("own", "end"), value) for name, value in sent), last
    assert call.code() is OK


# --- errors


@case
def errors_without_a_message(channel, _):
    for code in grpc.StatusCode:
        if code is OK:
            continue
        for details in ("plain", "50 % of\nit: é 漢", ""):
            error = refused(lambda: unary(channel, "Fail")(f"{code.value[0]} {details}".encode(), timeout=GUARD_S))
            assert (error.code(), error.details()) == (code, details), f"{error.code()} {error.details()!r}"
            trailing = dict(error.trailing_metadata())
            assert trailing["x-why"] == "because", trailing
            assert trailing["grpc-status-details-bin"] == b"\x00\xff\x80", trailing


@case
def error_after_messages(channel, _):
    call, got = channel.unary_stream("/v1/suite.Echo/FailLate")(b"", timeout=GUARD_S), []
    error = refused(lambda: [got.append(message) for message in call])
    check(error, grpc.StatusCode.ABORTED, "after two")
    assert got == [b"one", b"two"], got


# --- deadlines, and calls that their caller gives up

_NUMBERS = itertools.count()
FAR_S = 3 * GUARD_S
"""A deadline that ends nothing here."""


class Call:
    """The name of a call that waits at the server, and what the server knows of it."""

    def __init__(self, service):
        self.name = f"call-{next(_NUMBERS)}"
        self.metadata = [("x-call", self.name)]
        self._service = service

    def begun(self):
        assert self._service.event(self._service.begun, self.name).wait(GUARD_S), "the call has not arrived"

    def over(self):
        over = self._service.event(self._service.cancelled, self.name)
        assert over.wait(GUARD_S), "the server does not know that the call is over"


@case
def deadline_of_the_caller(channel, service):
    waits = Call(service)
    error = refused(lambda: unary(channel, "Wait")(b"", timeout=0.3, metadata=waits.metadata))
    check(error, grpc.StatusCode.DEADLINE_EXCEEDED)
    waits.over()


@case
def deadline_is_told_to_the_server(channel, _):
    left = float(unary(channel, "TimeLeft")(b"", timeout=GUARD_S))
    # The library rounds up to a whole unit when it writes a deadline down.
    assert 0 < left <= GUARD_S + 1, left
    # A caller that would wait longer than the engine does: the server is told the engine's 30 s.
    left = float(unary(channel, "TimeLeft")(b"", timeout=FAR_S))
    assert 0 < left <= 31, left


@case
def deadline_of_the_engine(channel, service):
    # `timeouts.total` of this operation, and a caller that would wait. The server knows of it, too, so that either of
    # both may be the one that says so: the engine by its code, the library in its own words.
    error = refused(lambda: unary(channel, "Hurry")(b"", timeout=FAR_S, metadata=Call(service).metadata))
    check(error, grpc.StatusCode.DEADLINE_EXCEEDED)
    assert error.details() == "Deadline Exceeded" or "deadline_exceeded" in error.details(), error.details()


@case
def cancelled_before_the_answer(channel, service):
    # A request that has arrived whole runs on for `timeouts.settle`; then the server is told.
    waits = Call(service)
    call = unary(channel, "Wait").future(b"", timeout=FAR_S, metadata=waits.metadata)
    waits.begun()
    call.cancel()
    waits.over()
    assert call.code() is grpc.StatusCode.CANCELLED


@case
def cancelled_within_the_answer(channel, service):
    waits = Call(service)
    call = channel.unary_stream("/v1/suite.Echo/WaitLate")(b"first", timeout=FAR_S, metadata=waits.metadata)
    assert next(call) == b"first"
    waits.begun()
    call.cancel()
    waits.over()


@case
def cancelled_within_the_request(channel, service):
    # What has not arrived whole is given up at once, whatever `timeouts.settle` says.
    waits, done = Call(service), threading.Event()

    def messages():
        yield b"first"
        done.wait(FAR_S)
    call = channel.stream_stream("/v1/suite.Echo/WaitChat")(messages(), timeout=FAR_S, metadata=waits.metadata)
    assert next(call) == b"first"
    waits.begun()
    call.cancel()
    waits.over()
    done.set()


# --- sizes


@case
def large_messages(channel, _):
    for size in (4 * MIB, 4 * MIB + 1, 9 * MIB):
        message = bytes(range(256)) * (size // 256) + bytes(size % 256)
        assert unary(channel)(message, timeout=GUARD_S) == message


@case
def body_above_the_limit(channel, service):
    call = channel.stream_unary("/v1/suite.Echo/Limited")
    assert call(iter([b"x" * 60_000]), timeout=GUARD_S) == b"x" * 60_000
    for messages in ([b"x" * 70_000], [b"x" * 10_000] * 20):
        error = refused(lambda: call(iter(messages), timeout=GUARD_S))
        check(error, grpc.StatusCode.RESOURCE_EXHAUSTED, "body_too_large")


# --- what is not there


@case
def method_that_the_engine_does_not_know(channel, _):
    error = refused(lambda: channel.unary_unary("/v1/other.Service/Unary")(b"", timeout=GUARD_S))
    check(error, grpc.StatusCode.UNIMPLEMENTED, "not_found")


@case
def method_that_the_server_does_not_know(channel, _):
    check(refused(lambda: unary(channel, "Nothing")(b"", timeout=GUARD_S)), grpc.StatusCode.UNIMPLEMENTED)


@case
def server_that_is_gone(channel, _):
    for _ in range(3):
        error = refused(lambda: unary(channel, version="v2")(b"", timeout=GUARD_S))
        check(error, grpc.StatusCode.UNAVAILABLE, "upstream_")


@case
def server_that_dies_in_the_call(channel, _):
    for _ in range(3):
        error = refused(lambda: unary(channel, version="v3")(b"", timeout=GUARD_S))
        check(error, grpc.StatusCode.UNAVAILABLE, "upstream_")
