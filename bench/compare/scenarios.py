"""What is measured: one `Scenario` per kind of work, and the budgets that the engine is held to."""

from dataclasses import dataclass, field

# 483 bytes: a payment as the API under test would return it.
PAYMENT_JSON = (
    '{"id":"pay_01HZX3KQ5T7W8Y9Z0A1B2C3D4E","object":"payment","amount":125000,"currency":"ZAR",'
    '"status":"succeeded","created":1764000000,"customer":"cus_01HZX3KQ5T7W8Y9Z0A1B2C3D4F",'
    '"method":{"type":"card","brand":"visa","last4":"4242","exp_month":12,"exp_year":2029},'
    '"metadata":{"order_id":"ord_000000001","channel":"mobile","region":"ZA-GT"},'
    '"fees":[{"type":"processing","amount":3125},{"type":"scheme","amount":210}],'
    '"description":"Payment for order 000000001, thank you for shopping"}'
)
LARGE_BODY_BYTES = 64 * 1024
ROUTE_COUNT = 1000


@dataclass(frozen=True)
class Budget:
    """CPU per request of the engine is to be at most `times` that of the system `reference`."""

    reference: str
    times: float


@dataclass(frozen=True)
class Scenario:
    """One kind of work. Every system gets the same requests; `log` says whether those that can log do."""

    name: str
    what: str
    log: bool = True
    connections: int = 32
    client_h2: bool = False
    upstream_h2: bool = False
    tls: bool = False
    streams: int = 1
    routes: int = 0
    body_bytes: int = len(PAYMENT_JSON)
    new_connections: bool = False
    fixed_rate_share: float = 0.0
    budgets: tuple[Budget, ...] = field(default=())

    def paths(self):
        """The request paths, in the order in which the load takes them in turn."""
        if not self.routes:
            return ["/v1/payments/pay_1"]
        # 7,919 is prime to 1,000: all routes are visited, neighbours never in a row.
        return [f"/v1/{resource_name(index * 7919 % self.routes)}/pay_1" for index in range(self.routes)]

    def resources(self):
        """The names of the resources that have a route."""
        return [resource_name(index) for index in range(self.routes)] or ["payments"]

    def body(self):
        """What the upstream answers: the payment, padded with spaces (still JSON) to the wanted size."""
        return PAYMENT_JSON.ljust(self.body_bytes)


def resource_name(index):
    """The resource of route `index`."""
    return f"resource{index:04}"


_ALL = (
    Scenario("plain", "483-byte answers, request ids, access log of every system on", budgets=(Budget("relay", 1.40),)),
    Scenario("nolog", "as plain, but nobody logs", log=False, budgets=(Budget("nginx", 1.05),)),
    Scenario("h2", "h2 from clients and to the upstream (nginx: HTTP/1.1 to the upstream)", connections=4, client_h2=True,
             upstream_h2=True, streams=8),
    Scenario("h2h1", "h2 from clients, HTTP/1.1 to the upstream (relay: h2 throughout)", connections=4, client_h2=True,
             streams=8),
    Scenario("body64k", "64 KiB answers", body_bytes=LARGE_BODY_BYTES),
    Scenario("connections256", "256 busy connections", connections=256),
    Scenario("routes1000", "1,000 routes, requests spread over all of them", routes=ROUTE_COUNT),
    Scenario("newconn", "a new client connection for every request", new_connections=True),
    Scenario("connections1024", "1,024 busy connections", connections=1024),
    Scenario("tls", "TLS from kept client connections (relay: the upstream's TLS, byte by byte)", tls=True),
    Scenario("tlsnew", "a new TLS connection for every request, no resumption (relay: the upstream shakes hands)", tls=True,
             new_connections=True),
    Scenario("latency70", "Poisson arrivals at 70 % of the slowest system's capacity, the same rate for all",
             fixed_rate_share=0.7),
)
SCENARIOS = {scenario.name: scenario for scenario in _ALL}
