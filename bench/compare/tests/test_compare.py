"""Tests of the harness itself: `python3 -m unittest discover -s bench/compare/tests`.

What is read (reports, templates, metrics) is tested on text; the two native programs on real loopback sockets.
"""

import socket
import sys
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import load
import reload
import report
import rounds
import systems
import tools
from processes import Fleet, is_alive
from scenarios import SCENARIOS, Budget, Scenario
from templates import TemplateError, render

NOTHING = {"yes": True, "no": False, "names": ["a", "b"], "name": "n"}


class Templates(unittest.TestCase):
    """The little language of `peers/`."""

    def test_refuses(self):
        for text in ("{{unknown}}", "{{#if unknown}}\n{{/end}}", "{{#if yes}}\nx", "{{/end}}", "{{#while yes}}\n{{/end}}",
                     "{{#each names}}\n{{/end}}", "{{#if no}}\n{{#if yes}}\n{{/end}}"):
            with self.subTest(text), self.assertRaises(TemplateError):
                render(text, NOTHING)

    def test_renders(self):
        for text, expected in (
            ("a {{name}} {name} $name", "a n {name} $name\n"),
            ("{{#if yes}}\nx\n{{/end}}\ny", "x\ny\n"),
            ("{{#if no}}\nx\n{{#if yes}}\nz\n{{/end}}\n{{/end}}\ny", "y\n"),
            ("{{#if not no}}\nx\n{{/end}}", "x\n"),
            ("{{#each names as it}}\n- {{it}}{{name}}\n{{/end}}", "- an\n- bn\n"),
            ("{{#each names as it}}\n{{#if yes}}\n{{it}}\n{{/end}}\n{{/end}}\nend", "a\nb\nend\n"),
        ):
            with self.subTest(text):
                self.assertEqual(render(text, NOTHING), expected)

    def test_every_template_renders_in_every_scenario(self):
        values = {"port": 1, "control_port": 2, "root": True, "log_file": "x.log", "upstream_http1_port": 3, "map_file": "m",
                  "upstream_h2_port": 4, "http1_port": 3, "h2_port": 4, "tls_port": 5, "folder": "f", "body": "b"}
        for scenario in SCENARIOS.values():
            for template in systems.TEMPLATES.glob("*.template"):
                with self.subTest(scenario=scenario.name, template=template.name):
                    text = render(template.read_text(), values | {
                        "log": scenario.log, "client_h2": scenario.client_h2, "upstream_h2": scenario.upstream_h2,
                        "resources": scenario.resources(), "tls": scenario.tls, "large": scenario.body_bytes > 4096})
                    self.assertNotIn("{{", text)


class Scenarios(unittest.TestCase):
    """What the load asks for is what the systems are configured for."""

    def test_paths_visit_every_route_once(self):
        paths = SCENARIOS["routes1000"].paths()
        self.assertEqual(len(paths), 1000)
        self.assertEqual({path.split("/")[2] for path in paths}, set(SCENARIOS["routes1000"].resources()))

    def test_bodies_have_their_size(self):
        for name, size in (("plain", 483), ("body64k", 65536)):
            self.assertEqual(len(SCENARIOS[name].body()), size)


WRK_REPORT = """Running 1s test @ http://127.0.0.1:1/
  Latency Distribution
     50%  369.00us
     75%  450.00us
     99%    1.50ms
  62814 requests in 2.00s, 40.00MB read
{errors}Requests/sec:  31407.00
"""


class Reports(unittest.TestCase):
    """What the load generators print."""

    def test_wrk(self):
        for errors, failures in (("", 0), ("  Non-2xx or 3xx responses: 5\n", 5),
                                 ("  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 5\n", 15)):
            with self.subTest(errors):
                self.assertEqual(load.parse_wrk(WRK_REPORT.format(errors=errors)),
                                 load.Load(62814, failures, 2.0, 369.0, 1500.0))

    def test_h2load(self):
        done = "requests: 5 total, 5 started, 5 done, 4 succeeded, 1 failed, 0 errored, 0 timeout"
        log = "1\t200\t30\n1\t200\t10\n1\t503\t1\n1\t200\t20\n1\t200\t40\n"
        self.assertEqual(load.parse_h2load(done, log, 1), load.Load(4, 1, 1, 20.0, 40.0))

    def test_refuses_the_unreadable(self):
        for read in (load.parse_wrk, lambda text: load.parse_h2load(text, "", 1)):
            with self.assertRaises(load.ReportError):
                read("unable to connect")

    def test_quantile(self):
        for ordered, share, expected in (([], 0.5, 0), ([7], 0.99, 7), ([1, 2, 3, 4], 0.5, 2), (list(range(1, 101)), 0.99, 99)):
            self.assertEqual(load.quantile(ordered, share), expected)

    def test_reload_metrics(self):
        text = ('# TYPE mainstay_reloads_total counter\nmainstay_reloads_total{result="ok"} 12\n'
                'mainstay_reloads_total{result="refused"} 1\nother{result="ok"} 9\n')
        self.assertEqual(reload.parse_reload_results(text), {"ok": 12, "refused": 1})

    def test_memory_slope(self):
        for memory, expected in (([5, 5, 5], 0), ([0, 200, 400], 10), ([400, 200, 0], -10)):
            segments = [reload.Segment(20, {}, bytes_) for bytes_ in memory]
            self.assertAlmostEqual(reload.slope_per_reload(segments), expected)


def result(name, cpu_us):
    """A result of which only the cost matters."""
    return rounds.Result(name, "", cpu_us, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0, 0, 0, ())


class Budgets(unittest.TestCase):
    """The engine is judged, and not being measured is not a pass."""

    def test_judgement(self):
        scenario = Scenario("s", "", budgets=(Budget("relay", 1.40),))
        for costs, kept in (({"relay": 10, "mainstay": 14.1}, False), ({"relay": 10}, False), ({"mainstay": 10}, False),
                            ({"relay": 10, "mainstay": 14}, True)):
            with self.subTest(costs):
                self.assertEqual(report.budgets_kept(scenario, [result(*cost) for cost in costs.items()]), kept)


class Native(unittest.TestCase):
    """The relay and the pacer."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.built = tools.build(cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_relay_keeps_bytes_under_back_pressure_and_half_close(self):
        sent = bytes(range(256)) * 40_000
        with socket.create_server(("127.0.0.1", 0)) as upstream, Fleet(self.folder.name) as fleet:
            threading.Thread(target=_echo_after_the_end, args=(upstream,), daemon=True).start()
            port = fleet.free_port()
            fleet.start("relay", [str(self.built["relay"]), str(port), str(upstream.getsockname()[1])], 0)
            with _connect(port) as client:
                client.sendall(sent)
                client.shutdown(socket.SHUT_WR)
                self.assertEqual(_read_all(client), sent)

    def test_pacer_counts(self):
        for path, field in (("/ok", "ok"), ("/missing", "non_2xx"), ("/cut", "failed")):
            with self.subTest(path), ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
                threading.Thread(target=server.serve_forever, daemon=True).start()
                _, counts = load.run_pacer(self.built["pacer"], server.server_address[1], path, 100, 0.5, 0, 4)
                server.shutdown()
                self.assertGreater(counts["due"], 10)
                self.assertEqual(counts[field], counts["due"])

    def test_fleet_ends_what_it_started(self):
        with Fleet(self.folder.name) as fleet:
            started = fleet.start("shell", ["sh", "-c", "trap '' TERM; sleep 60 & wait; sleep 60"], 0)
        self.assertFalse(is_alive(started.pid))


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):  # the name is the base class's
        if self.path == "/cut":
            self.close_connection = True
            return
        self.send_response(200 if self.path == "/ok" else 404)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        """Says nothing."""


def _echo_after_the_end(listener):
    """Reads all of one connection, only then sends it back: both directions fill up on the way."""
    connection, _ = listener.accept()
    with connection:
        connection.sendall(_read_all(connection))


def _read_all(connection):
    received = bytearray()
    while chunk := connection.recv(1 << 16):
        received += chunk
    return bytes(received)


def _connect(port):
    """A connection to a program that is just starting."""
    for _ in range(200):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=10)
        except ConnectionRefusedError:
            threading.Event().wait(0.02)
    raise AssertionError("the relay does not listen")


if __name__ == "__main__":
    unittest.main()
