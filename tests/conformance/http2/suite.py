"""Runs the table against the engine, in plain text and over TLS, and compares with the deviations that are listed."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h2.config
import h2.connection
import h2.events

from engine import Engine
from . import rows_connection, rows_frames, rows_hpack, rows_messages  # noqa: F401
from .client import Client
from .table import ROWS
from .upstream import Upstream

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "conformance.md"
_LISTED = re.compile(r"^\| `([^`]+)` \| `([^`]+)` \|", re.MULTILINE)
OPERATIONS = '          "* /{row}/{what}": {}\n'


def deviations():
    """Row name to the verdict that is listed for it, from docs/conformance.md."""
    text = DOCUMENT.read_text()
    listed = _LISTED.findall(text[text.index("## Deviations"):])
    assert len(dict(listed)) == len(listed), "a row is listed twice"
    unknown = {name for name, _ in listed} - {row.name for row in ROWS}
    assert not unknown, f"docs/conformance.md lists deviations of rows that do not exist: {unknown}"
    return dict(listed)


def run(binary, only=None, verbose=False):
    """The sentences that say what is wrong; none when all is as it should be."""
    upstream = Upstream()
    # Every row has connections of its own, and what is held there ends with them.
    endpoints = f'  up: {{ endpoints: ["http://127.0.0.1:{upstream.port}"], pool: {{ connections_max: 1024 }} }}\n'
    listed, failures = deviations(), []
    chosen = [row for row in ROWS if not only or only in row.name]
    with Engine(binary, endpoints, OPERATIONS) as engine:
        jobs = [(row, secure) for row in chosen for secure in (False, True)]
        with ThreadPoolExecutor(max_workers=8) as pool:
            for (row, secure), verdict in zip(jobs, pool.map(lambda job: _verdict(engine, *job), jobs)):
                where = f"{row.name} ({'TLS' if secure else 'plain text'})"
                if verbose:
                    print(f"{where}: {verdict}")
                failures += _judge(row, where, verdict, listed.get(row.name))
    return failures + _upstream_failures(upstream, listed), f"{len(chosen)} rows, twice"


def _judge(row, where, verdict, listed):
    sent = f"{where}: sent was {row.sent}; the section allows: {', '.join(row.owed)}; the engine's verdict: {verdict}"
    if listed is None:
        return [] if verdict in row.owed else [sent]
    if verdict in row.owed:
        return [f"{where} does not deviate any more: take it out of docs/conformance.md"]
    return [] if verdict == listed else [f"{sent}; docs/conformance.md says: {listed}"]


def _verdict(engine, row, secure):
    """The verdict on a row; then a fresh connection must be served."""
    name = f"{row.name}-{'tls' if secure else 'plain'}"
    try:
        with Client(engine, secure, name) as client:
            if row.opened:
                client.open()
            said = row.run(client)
            if said is None:
                # Without an open connection a PING would be one more thing that is wrong.
                said = client.fate() if row.opened else client.answer(-1)
            verdict = client.answer(said) if isinstance(said, int) else said
    except Exception as problem:
        verdict = f"{type(problem).__name__}: {problem}"
    after = _survives(engine, secure, name)
    return verdict if after == "200" else f"{verdict}; a fresh connection afterwards: {after}"


def _survives(engine, secure, name):
    """A request by a client library that knows nothing of these tests, on a connection of its own."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    connection.send_headers(1, [(":method", "GET"), (":scheme", "https" if secure else "http"),
                                (":authority", "localhost"), (":path", f"/v1/{name}/after")], end_stream=True)
    status = "nothing"
    try:
        with engine.connect(secure) as socket:
            socket.sendall(connection.data_to_send())
            while received := socket.recv(65536):
                for event in connection.receive_data(received):
                    if isinstance(event, h2.events.ResponseReceived):
                        status = dict(event.headers)[b":status"].decode()
                    if isinstance(event, h2.events.StreamEnded):
                        return status
                socket.sendall(connection.data_to_send())
    except Exception as problem:
        return f"{type(problem).__name__}: {problem}"
    return f"{status}, without an end"


def _upstream_failures(upstream, listed):
    """Nothing malformed has reached it: no request that is bad, no end of one that turned bad. Of the rows that are
    listed as deviations the document says what reaches it."""
    def unlisted(targets):
        return sorted(target for target in set(targets)
                      if target.split("/")[2].rsplit("-", 1)[0] not in listed)
    begun = unlisted(target for target in upstream.begun if "/bad" in target)
    whole = unlisted(target for target in upstream.whole if target.endswith("/late"))
    return ([f"the upstream was sent {target}, which is malformed" for target in begun]
            + [f"the upstream was sent all of {target}, which is malformed" for target in whole]
            + [f"the upstream was sent what is no HTTP/1.1: {problem}" for problem in upstream.malformed])
