"""The service behind the engine: an echo, by the library `websockets`, driven frame by frame.

The library says what is right; this file only decides when it is asked. It is given one frame at a time, so that what it
answers does not depend on how many frames one read brought: two runs of a case give the same bytes.
"""

import codecs
import socket
import threading

from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

MESSAGE_BYTES_MAX = 2 * 1024 * 1024


class Backend:
    """Listens from the moment it is made. `seen` holds, by target, what the backend was sent and how it ended."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.address = self._listener.getsockname()
        self.seen = {}
        self._changed = threading.Condition()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            peer, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        with peer:
            session = Session(peer)
            try:
                session.run()
            except OSError:
                session.seen.append("the connection broke")
            with self._changed:
                self.seen[session.target] = session.seen
                self._changed.notify_all()

    def ended(self, target, wait_s):
        """What the backend saw on a connection, once that has ended."""
        with self._changed:
            assert self._changed.wait_for(lambda: target in self.seen, wait_s), f"{target} has not ended at the backend"
            return self.seen[target]


class Session:
    """One connection."""

    def __init__(self, peer):
        self.peer, self.seen, self.target = peer, [], None
        self.protocol = ServerProtocol(subprotocols=["echo.two", "echo.one"], max_size=MESSAGE_BYTES_MAX,
                                       select_subprotocol=_preferred,
                                       extensions=[ServerPerMessageDeflateFactory(compress_settings={"level": 6})])
        self.parts, self.opcode = [], None
        self.waiting, self.shut = b"", False

    def run(self):
        while True:
            more = self.peer.recv(65536)
            if not more:
                self.seen.append("end")
                self.protocol.receive_eof()
                self.flush()
                return
            self.waiting += more
            for piece in self.pieces():
                self.protocol.receive_data(piece)
                for event in self.protocol.events_received():
                    self.handle(event)
                self.flush()

    def pieces(self):
        """What is there of whole frames, one by one; before the handshake the head."""
        if self.target is None:
            end = self.waiting.find(b"\r\n\r\n")
            if end < 0:
                return
            head, self.waiting = self.waiting[:end + 4], self.waiting[end + 4:]
            yield head
        while (size := _frame_bytes(self.waiting)) and len(self.waiting) >= size:
            piece, self.waiting = self.waiting[:size], self.waiting[size:]
            yield piece

    def handle(self, event):
        if isinstance(event, Request):
            self.handshake(event)
            return
        self.seen.append(f"{event.opcode.name} {event.fin} {len(event.data)}")
        if event.opcode in (Opcode.TEXT, Opcode.BINARY):
            self.opcode, self.parts = event.opcode, []
        if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self.data(event)

    def data(self, event):
        self.parts.append(bytes(event.data))
        message = b"".join(self.parts)
        if self.opcode is Opcode.TEXT:
            try:
                codecs.getincrementaldecoder("utf-8")().decode(message, final=event.fin)
            except UnicodeDecodeError:
                self.protocol.fail(1007, "invalid UTF-8")
                return
        if event.fin and self.protocol.state.name == "OPEN":
            (self.protocol.send_text if self.opcode is Opcode.TEXT else self.protocol.send_binary)(message)

    def handshake(self, request):
        self.target = request.path
        if request.path.endswith("/deny"):
            response = self.protocol.reject(403, "not for you\n")
        else:
            response = self.protocol.accept(request)
        # It would be another one in each run.
        del response.headers["Date"]
        self.protocol.send_response(response)
        if request.path.endswith("/greet"):
            self.protocol.send_text(b"welcome")

    def flush(self):
        for data in self.protocol.data_to_send():
            if data:
                self.peer.sendall(data)
            elif not self.shut:
                # Only this direction: what the client still sends is read, or closing would be a reset.
                self.shut = True
                self.peer.shutdown(socket.SHUT_WR)


def _preferred(protocol, offered):
    return next((name for name in protocol.available_subprotocols if name in offered), None)


def _frame_bytes(waiting):
    """The length of the first frame; nothing when its head is not there yet."""
    if len(waiting) < 2:
        return None
    length, size = waiting[1] & 0x7F, 2
    if length >= 126:
        width = 2 if length == 126 else 8
        if len(waiting) < size + width:
            return None
        length, size = int.from_bytes(waiting[size:size + width], "big"), size + width
    return size + length + (4 if waiting[1] & 0x80 else 0)
