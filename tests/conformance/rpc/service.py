"""The services behind the engine: one of grpcio, without generated code, and one that dies in every call."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc

GUARD_S = 20.0
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


class Service(grpc.GenericRpcHandler):
    """Takes `/v1/suite.Echo/METHOD`; messages are bytes as they are."""

    def __init__(self):
        self.cancelled = {}
        """By the call's name (metadata `x-call`): set when the server learnt that the call was over before its end."""
        self.begun = {}
        self._lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(max_workers=64), options=[*UNLIMITED, ("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(self._unary),
            "Limited": grpc.stream_unary_rpc_method_handler(self._join),
            "Join": grpc.stream_unary_rpc_method_handler(self._join),
            "Count": grpc.unary_stream_rpc_method_handler(self._count),
            "Chat": grpc.stream_stream_rpc_method_handler(self._chat),
            "Fail": grpc.unary_unary_rpc_method_handler(self._fail),
            "FailLate": grpc.unary_stream_rpc_method_handler(self._fail_late),
            "Wait": grpc.unary_unary_rpc_method_handler(self._wait),
            "Hurry": grpc.unary_unary_rpc_method_handler(self._wait),
            "WaitLate": grpc.unary_stream_rpc_method_handler(self._wait_late),
            "WaitChat": grpc.stream_stream_rpc_method_handler(self._wait_chat),
            "TimeLeft": grpc.unary_unary_rpc_method_handler(self._time_left),
        }

    def __enter__(self):
        self._server.start()
        return self

    def __exit__(self, *_):
        self._server.stop(0).wait(GUARD_S)

    def service(self, details):
        return self._handlers.get(details.method.removeprefix("/v1/suite.Echo/"))

    def event(self, events, name):
        with self._lock:
            return events.setdefault(name, threading.Event())

    def _unary(self, request, context):
        mine = [(name, value) for name, value in context.invocation_metadata() if name.startswith("x-own-")]
        context.send_initial_metadata(mine)
        context.set_trailing_metadata([("x-end-" + name.removeprefix("x-own-"), value) for name, value in mine])
        return request

    def _join(self, requests, _):
        return b"".join(requests)

    def _count(self, request, _):
        for number in range(int(request)):
            yield str(number).encode()

    def _chat(self, requests, _):
        for request in requests:
            yield request

    def _fail(self, request, context):
        number, details = request.decode().split(" ", 1)
        context.set_trailing_metadata([("x-why", "because"), ("grpc-status-details-bin", b"\x00\xff\x80")])
        context.abort(next(code for code in grpc.StatusCode if code.value[0] == int(number)), details)

    def _fail_late(self, _, context):
        yield b"one"
        yield b"two"
        context.abort(grpc.StatusCode.ABORTED, "after two")

    def _over(self, context):
        """Waits until the call is over; says so under the call's name."""
        name = dict(context.invocation_metadata()).get("x-call")
        over = self.event(self.cancelled, name)
        if not context.add_callback(over.set):
            over.set()
        self.event(self.begun, name).set()
        over.wait(GUARD_S)

    def _wait(self, request, context):
        self._over(context)
        return request

    def _wait_late(self, request, context):
        yield request
        self._over(context)

    def _wait_chat(self, requests, context):
        yield next(requests)
        self._over(context)

    def _time_left(self, _, context):
        return str(context.time_remaining()).encode()


class Dying:
    """Begins HTTP/2 in order and closes the connection as soon as a call has arrived."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            peer, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    @staticmethod
    def _serve(peer):
        with peer, peer.makefile("rb") as stream:
            stream.read(24)
            peer.sendall(b"\0\0\0\x04\0\0\0\0\0")
            while head := stream.read(9):
                stream.read(int.from_bytes(head[:3], "big"))
                if head[3] == 1:
                    return
