"""Tests of the harness itself: `python3 -m unittest discover -s bench/resilience/tests`.

Scripts, tables and templates are tested on values; endpoint and callers on real loopback sockets, without any system between.
"""

import socket
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent / "compare")]

import gateways
import measure
import phases
import service
import table
import tools
from measure import Call
from processes import Fleet, is_alive
from templates import render

GUARD_S = 10


class Scripts(unittest.TestCase):
    """What happens when."""

    def test_faults_come_with_their_phase(self):
        script = phases.Script("s", (phases.Phase("a", "", 2), phases.Phase("b", "", 3, ((0, "die"), (1, "start")))))
        self.assertEqual(script.faults(), [(2, "die"), (3, "start")])

    def test_phase_of_a_call(self):
        script = phases.Script("s", (phases.Phase("a", "", 2), phases.Phase("b", "", 3)))
        for second, name in ((0, "a"), (1.999, "a"), (2, "b"), (4.9, "b"), (60, "b")):
            self.assertEqual(script.phase_at(second).name, name)

    def test_every_fault_is_one_of_an_endpoint(self):
        for script in phases.SCRIPTS.values():
            for _, fault in script.faults():
                self.assertTrue(callable(getattr(service.Endpoint, fault)), fault)

    def test_scaling_keeps_the_flapping(self):
        flaps = next(phase for phase in phases.SCRIPTS["dies"].scaled(0.2).phases if phase.name == "flaps")
        self.assertEqual(flaps.seconds, 6)
        self.assertEqual(len(flaps.faults), 8)
        self.assertEqual({fault for _, fault in flaps.faults[::2]}, {"die"})
        self.assertAlmostEqual(flaps.faults[1][0], phases.FLAP_S)

    def test_what_begins_dead_ends_alive(self):
        for script in phases.SCRIPTS.values():
            alive = True
            for _, fault in script.faults():
                alive = {"die": False, "hang": False, "start": True, "wake": True}.get(fault, alive)
            self.assertTrue(alive, script.name)


class Templates(unittest.TestCase):
    """Configurations of the systems."""

    def test_every_gateway_has_one_with_every_endpoint(self):
        for gateway in gateways.known("mainstay"):
            with self.subTest(gateway.name):
                text = render((gateways.TEMPLATES / gateway.peer.template).read_text(),
                              gateways.values(gateway, 1, 2, [40001, 40002, 40003], "x.log"))
                self.assertNotIn("{{", text)
                for port in (40001, 40002, 40003):
                    self.assertIn(f"127.0.0.1:{port}" if "envoy" not in gateway.name else f"port_value: {port}", text)

    def test_options_make_a_difference(self):
        texts = {gateway.name: render((gateways.TEMPLATES / gateway.peer.template).read_text(), gateways.values(gateway, 1, 2, [3], "x"))
                 for gateway in gateways.known("mainstay")}
        self.assertIn("hedge:", texts["mainstay-hedge"])
        self.assertNotIn("hedge:", texts["mainstay"])
        self.assertIn("exact: POST", texts["envoy"])
        self.assertNotIn("exact: POST", texts["envoy-one-policy"])


SCRIPT = phases.Script("s", (phases.Phase(phases.WARM_UP, "", 1), phases.Phase("healthy", "", 1), phases.Phase("dead", "", 1)))


class Cells(unittest.TestCase):
    """What is made of calls and journals."""

    def test_a_lost_payment_is_looked_up_at_the_endpoints(self):
        journals = service.Journals()
        journals.read(1, '1500000 POST {"payment":1}\n1500001 GET /v1/payments/2\n2500000 POST {"payment":3}\n1 GET /v1/payments/ready\n')
        journals.read(3, '2500001 POST {"payment":3}\n2500002 HEALTH\n2500003 POST {"payment":4}\n')
        calls = [Call(1_500_000, "POST", 1, "200", 5_000), Call(1_500_001, "GET", 2, "200", 6_000),
                 Call(2_500_000, "POST", 3, "200", 7_000), Call(2_500_000, "POST", 4, "504", 1_000_000),
                 Call(2_500_000, "POST", 5, "closed", 9), Call(2_500_000, "GET", 6, "late", 9), Call(10, "GET", 7, "503", 1)]
        healthy, dead = measure.cells(SCRIPT, calls, journals, 0)
        self.assertEqual((healthy.calls, healthy.lost, healthy.p50_us, healthy.max_us, healthy.asked), (2, 0, 5_000, 6_000, (2, 0, 0)))
        self.assertEqual((dead.calls, dead.lost_gets, dead.lost_posts_applied, dead.lost_posts_not_applied), (4, 1, 1, 1))
        self.assertEqual((dead.applied_twice, dead.could_be_saved, dead.asked), (1, 2, (1, 0, 2)))
        self.assertEqual(dead.failures, {"GET late": 1, "POST 504": 1, "POST closed": 1})

    def test_nothing_lost_is_all_and_something_lost_is_never_all(self):
        for calls, lost, expected in ((7, 0, "100 %"), (10_000_000, 1, "99.999 %"), (4, 1, "75.000 %")):
            cell = measure.Cell("p", calls, lost, 0, 0, 0, 0, 0, 0, 0, (), {})
            self.assertEqual(table._share(cell), expected)

    def test_the_table_names_what_was_lost(self):
        cell = measure.Cell("dead", 4, 1, 0, 1, 0, 5_000, 6_000, 7_000, 123_456, (1, 2, 3), {"GET 503": 2})
        text = table.markdown(SCRIPT, [("x 1.0", [cell])])
        for part in ("### dead, 1 s", "| x 1.0 | 4 | 50.000 % | 1 | 0 + 1 | 0 | 5.0 ms | 6.0 ms | 7.0 ms | 123 ms | 1, 2, 3 |",
                     "- x 1.0: 2 x GET 503", "| x 1.0 | 2 | 2 | 0 | 6.0 ms |"):
            self.assertIn(part, text)
        self.assertNotIn("### healthy", text)


class Native(unittest.TestCase):
    """The endpoint with its faults, and the callers."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.built = tools.build(cls.folder.name, HERE / "native")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def setUp(self):
        self.place = tempfile.TemporaryDirectory()
        self.fleet = Fleet(self.place.name)
        self.addCleanup(self.place.cleanup)
        self.addCleanup(self.fleet.stop_all)
        self.endpoint = service.start_endpoints(self.fleet, self.built["endpoint"], 0)[-1]
        self.addCleanup(self.endpoint.wake)

    def call(self, ports, rate=200, seconds=0.5, seed=1, patience_ms=8_000, post_share=0.5):
        """Makes calls and returns them."""
        out = Path(self.place.name) / "calls.txt"
        argv = [self.built["callers"], ports, time.monotonic_ns(), rate, seconds, post_share, seed, patience_ms]
        with open(out, "wb") as file, self.fleet.start_reporting([str(word) for word in argv], 0, file) as callers:
            self.assertEqual(callers.wait(GUARD_S), 0, callers.stderr.read())
        return measure.parse_calls(out.read_text())

    def test_calls_are_the_same_for_a_seed(self):
        self.wait_until_it_listens()
        made = [sorted((call.due_us, call.method, call.number) for call in self.call(self.endpoint.port, seed=seed)) for seed in (1, 1, 2)]
        self.assertEqual(made[0], made[1])
        self.assertNotEqual(made[0], made[2])
        self.assertTrue(50 < len(made[0]) < 160, len(made[0]))

    def test_every_call_is_answered_and_in_the_journal_once(self):
        self.wait_until_it_listens()
        calls = self.call(self.endpoint.port)
        journals = service.read_journals([self.endpoint])
        self.assertTrue(all(call.is_good for call in calls))
        self.assertTrue(all(call.latency_us >= phases.NORMAL_MS * 1000 for call in calls))
        self.assertEqual(journals.applied, {call.number: 1 for call in calls if call.method == "POST"})
        self.assertEqual(len(journals.asked), len(calls))

    def test_slow_and_dead_and_back(self):
        self.wait_until_it_listens()
        self.endpoint.slow_down()
        self.assertTrue(all(call.latency_us >= phases.SLOW_MS * 1000 for call in self.call(self.endpoint.port, seconds=0.1)))
        self.endpoint.die()
        self.assertEqual({call.status for call in self.call(self.endpoint.port, seconds=0.1)}, {"refused"})
        self.endpoint.start()
        self.wait_until_it_listens()
        self.assertEqual({call.status for call in self.call(self.endpoint.port, seconds=0.1)}, {"200"})

    def test_what_hangs_works_it_off_when_it_wakes(self):
        self.wait_until_it_listens()
        self.endpoint.hang()
        calls = self.call(self.endpoint.port, seconds=0.1, patience_ms=100)
        self.assertEqual({call.status for call in calls}, {"late"})
        self.assertEqual(service.read_journals([self.endpoint]).applied, {})
        self.endpoint.wake()
        payments = {call.number: 1 for call in calls if call.method == "POST"}
        self.assertTrue(payments)
        self.wait_until(lambda: service.read_journals([self.endpoint]).applied == payments)

    def test_a_connection_that_is_cut_is_a_lost_call(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(target=_cut_all, args=(listener,), daemon=True).start()
            calls = self.call(listener.getsockname()[1], seconds=0.1)
        self.assertEqual({call.status for call in calls}, {"closed"})

    def test_the_fleet_kills_one(self):
        killed = self.endpoint.process
        self.endpoint.die()
        self.endpoint.die()
        self.assertFalse(is_alive(killed.pid))

    def wait_until_it_listens(self):
        """The endpoint is a process that is just starting."""
        self.wait_until(lambda: socket.create_connection(("127.0.0.1", self.endpoint.port), timeout=GUARD_S).close() or True)

    def wait_until(self, condition):
        """Until it holds; a refused connection is no yet."""
        deadline = time.monotonic() + GUARD_S
        while time.monotonic() < deadline:
            try:
                if condition():
                    return
            except (ConnectionRefusedError, FileNotFoundError):
                pass
            time.sleep(0.01)
        self.fail("it did not come about")


def _cut_all(listener):
    while True:
        try:
            listener.accept()[0].close()
        except OSError:
            return


if __name__ == "__main__":
    unittest.main()
