"""The systems that stand before the endpoints: found and started as `compare` does it, configured by `peers/` of this folder."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import systems
from templates import render

TEMPLATES = Path(__file__).parent / "peers"


@dataclass(frozen=True)
class Gateway:
    """A row of the tables: a system with one of its configurations."""

    name: str
    peer: systems.Peer
    options: tuple[str, ...] = ()

    def is_there(self):
        """Whether its binary was found."""
        return self.peer.find() is not None

    def version(self):
        """Of the binary."""
        return systems.version_of(self.peer)


# What templates may ask for with `{{#if ..}}`.
OPTIONS = ("hedge", "one_policy")


def known(mainstay_binary):
    """All gateways, in the order of the tables."""
    peers = {peer.name: replace(peer, extra_templates={}) for peer in systems.PEERS}
    engine = systems.mainstay_peer(mainstay_binary)
    return (
        Gateway("mainstay", engine),
        Gateway("mainstay-hedge", engine, ("hedge",)),
        Gateway("envoy", peers["envoy"]),
        Gateway("envoy-one-policy", peers["envoy"], ("one_policy",)),
        Gateway("haproxy", peers["haproxy"]),
        Gateway("nginx", peers["nginx"]),
    )


def values(gateway, port, control_port, endpoint_ports, log_file):
    """What its template is filled with."""
    return {"port": port, "control_port": control_port, "endpoints": endpoint_ports, "log_file": log_file,
            "root": os.geteuid() == 0, **{option: option in gateway.options for option in OPTIONS}}


def start(fleet, gateway, endpoint_ports, core):
    """Starts it before the endpoints; returns its process and port."""
    peer, folder = gateway.peer, Path(fleet.folder)
    (folder / f"{peer.name}-temp").mkdir()
    port = fleet.free_port()
    config = folder / peer.template.removesuffix(".template")
    filled = values(gateway, port, fleet.free_port(), endpoint_ports, folder / "access.log")
    config.write_text(render((TEMPLATES / peer.template).read_text(), filled))
    argv = [{"BINARY": peer.find(), "CONFIG": str(config)}.get(word, word) for word in peer.argv]
    return fleet.start(gateway.name, argv, core, peer.env), port
