"""The engine under test: the real binary, in a folder of its own, with one listener in plain text and one with TLS."""

import json
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
from pathlib import Path

GUARD_S = 20.0
"""Nothing waits this long unless it is broken."""


class Engine:
    """Started in `with`, stopped at its end; an engine that does not end in order, or that reports a defect of its
    own, is an error."""

    def __init__(self, binary, upstreams, operations, server="", versions=""):
        """All but the first are the configuration's own lines; `versions` are those beside `v1`, which has `up`."""
        self._binary, self._upstreams, self._operations = binary, upstreams, operations
        self._server, self._versions = server, versions

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="mainstay-conformance-")
        folder = Path(self._folder.name)
        make_certificate(folder)
        (folder / "mainstay.yaml").write_text(self._configuration())
        self.certificate = folder / "server.pem"
        self._process = subprocess.Popen([self._binary, "run", "--config", "mainstay.yaml"], cwd=folder, text=True,
                                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._said = []
        try:
            started = self._until_started()
        except BaseException:
            self._process.kill()
            raise
        self.plain, self.secure = (_address(text) for text in started["listen"].split())
        self._reader = threading.Thread(target=lambda: self._said.extend(self._process.stderr), daemon=True)
        self._reader.start()
        return self

    def _until_started(self):
        for line in self._process.stderr:
            self._said.append(line)
            if '"event":"started"' in line:
                return json.loads(line)
        raise AssertionError("the engine did not start:\n" + "".join(self._said))

    def _configuration(self):
        return (
            'server:\n  listen: ["127.0.0.1:0", { address: "127.0.0.2:0", tls: test }]\n  workers: 2\n'
            "  tls: { test: { certificates: [{ cert: server.pem, key: server.key }] } }\n"
            f"  shutdown: {{ drain: 1s }}\n{self._server}"
            "control: { listen: 127.0.0.1:0 }\n"
            f"upstreams:\n{self._upstreams}"
            "apis:\n  suite:\n    defaults: { auth: none }\n    versions:\n      v1:\n        upstream: up\n"
            f"        operations:\n{self._operations}{self._versions}"
            "telemetry: { log: { output: none } }\n"
        )

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(GUARD_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        self._reader.join(GUARD_S)
        self._folder.cleanup()
        defects = [line for line in self._said if "panic" in line]
        assert not defects, "the engine reported:\n" + "".join(defects)

    def connect(self, secure=False, alpn="h2"):
        """A connected socket; over TLS `alpn` is what was agreed on."""
        raw = socket.create_connection(self.secure if secure else self.plain, timeout=GUARD_S)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return TlsStream(raw, self.certificate, alpn) if secure else raw


class TlsStream:
    """A TLS session over a socket whose directions are independent: one can end, and one can break, while the other goes
    on. `ssl.SSLSocket` loses what comes after that."""

    def __init__(self, raw, certificate, alpn):
        self.socket = raw
        self.came, self.goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=certificate)
        context.set_alpn_protocols([alpn])
        self.session = context.wrap_bio(self.came, self.goes, server_hostname="localhost")
        self._until(self.session.do_handshake)
        assert self.session.selected_alpn_protocol() == alpn, self.session.selected_alpn_protocol()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def settimeout(self, seconds):
        self.socket.settimeout(seconds)

    def _flush(self):
        if self.goes.pending:
            self.socket.sendall(self.goes.read())

    def _until(self, step):
        """Feeds the session until a step of it has succeeded."""
        while True:
            try:
                done = step()
                self._flush()
                return done
            except ssl.SSLWantReadError:
                self._flush()
                more = self.socket.recv(65536)
                self.came.write(more) if more else self.came.write_eof()

    def sendall(self, octets):
        self.session.write(octets)
        self._flush()

    def recv(self, count):
        """Nothing when the session has ended in order; one that is cut off is an error."""
        try:
            return self._until(lambda: self.session.read(count))
        except ssl.SSLZeroReturnError:
            return b""

    def shutdown(self, _):
        """Ends this direction with an alert; that of the other side is not waited for."""
        try:
            self.session.unwrap()
        except ssl.SSLWantReadError:
            pass
        self._flush()


def make_certificate(folder):
    """A self-signed certificate for this run: none is committed that could expire."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-keyout", "server.key", "-out", "server.pem", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        cwd=folder, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)
