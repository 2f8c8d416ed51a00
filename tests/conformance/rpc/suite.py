"""Calls of grpcio through the engine, over HTTP/2 in plain text and over TLS."""

import socket
import traceback

import grpc

from engine import Engine
from .cases import CASES
from .service import UNLIMITED, Dying, Service

OPERATIONS = (
    '          "POST /suite.Echo/Limited": { body: 64KiB }\n'
    '          "POST /suite.Echo/Hurry": { timeouts: { total: 300ms } }\n'
    '          "POST /suite.Echo/Wait": { timeouts: { attempt: 60s, total: 60s, settle: 1s } }\n'
    '          "POST /suite.Echo/WaitLate": { timeouts: { attempt: 60s, total: 60s, settle: 1s } }\n'
    '          "POST /suite.Echo/WaitChat": { timeouts: { attempt: 60s, total: 60s, settle: 60s } }\n'
    '          "POST /suite.Echo/{method}": { body: 16MiB, timeouts: { attempt: 30s, total: 30s } }\n'
)


def run(binary, only=None, verbose=False):
    """The sentences that say what is wrong, and what was run."""
    with Service() as service, socket.create_server(("127.0.0.1", 0)) as gone:
        upstreams = "".join(f'  {name}: {{ endpoints: ["http://127.0.0.1:{port}"], protocol: h2 }}\n' for name, port in (
            ("up", service.port), ("gone", gone.getsockname()[1]), ("dying", Dying().port)))
        gone.close()
        versions = "".join(f"      {version}:\n        upstream: {name}\n        operations:\n"
                           '          "POST /suite.Echo/{method}": {}\n' for version, name in (("v2", "gone"), ("v3", "dying")))
        with Engine(binary, upstreams, OPERATIONS, versions=versions) as engine:
            return _all(engine, service, only, verbose)


def _all(engine, service, only, verbose):
    chosen = {name: case for name, case in CASES.items() if not only or only in name}
    failures = []
    for place in ("plain text", "TLS"):
        with _channel(engine, place == "TLS") as channel:
            for name, case in chosen.items():
                try:
                    case(channel, service)
                    said = "as owed"
                except Exception as problem:
                    said = f"{type(problem).__name__}: {problem}"
                    line = traceback.extract_tb(problem.__traceback__)
                    where = [frame for frame in line if frame.filename.endswith("cases.py")][-1:]
                    failures.append(f"{name} ({place}): {said}" + "".join(f" (line {f.lineno})" for f in where))
                if verbose:
                    print(f"{name} ({place}): {said}", flush=True)
    return failures, f"{len(chosen)} cases, twice"


def _channel(engine, secure):
    options = [*UNLIMITED, ("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    if not secure:
        return grpc.insecure_channel(f"127.0.0.1:{engine.plain[1]}", options)
    credentials = grpc.ssl_channel_credentials(engine.certificate.read_bytes())
    options.append(("grpc.ssl_target_name_override", "localhost"))
    return grpc.secure_channel(f"{engine.secure[0]}:{engine.secure[1]}", credentials, options)
