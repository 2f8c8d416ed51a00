"""Starts, measures and ends the processes of a run.

Everything started through a `Fleet` is in a process group of its own and is ended when the fleet's `with` block is
left, however it is left. Nothing else on the machine is ever signalled.
"""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
STOP_GRACE_S = 3.0


class Fleet:
    """The long-running processes of a run, each pinned to one core, each with its output in a file."""

    def __init__(self, folder, realtime=False):
        """With `realtime` they go before all that runs at usual priority, at whatever niceness (needs root)."""
        self.folder = Path(folder)
        self._realtime = realtime
        self._processes = []
        self._ports = set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop_all()

    def start(self, name, argv, core, env=None):
        """Starts `argv` pinned to `core`; its output goes to `NAME.out` in the fleet's folder."""
        with open(self.output_path(name), "ab") as output:
            process = subprocess.Popen(
                argv,
                cwd=self.folder,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: self._take_place(core),
            )
        self._processes.append(process)
        return process

    def _take_place(self, core):
        os.sched_setaffinity(0, {core})
        if self._realtime:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))

    def start_reporting(self, argv, core, output):
        """Starts `argv` like `start`, with its report in the open file `output` and its complaints in a pipe."""
        process = subprocess.Popen(
            argv,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=lambda: self._take_place(core),
        )
        self._processes.append(process)
        return process

    def kill(self, process):
        """Ends one of the processes at once, as a crash would."""
        self._processes.remove(process)
        _signal_group(process, signal.SIGKILL)
        process.wait()

    def output_path(self, name):
        """Where the output of the process called `name` is written."""
        return self.folder / f"{name}.out"

    def free_port(self):
        """A loopback TCP port that is free now and that this fleet has not handed out before."""
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            if port not in self._ports:
                self._ports.add(port)
                return port

    def stop_all(self):
        """Asks every process group to end, then makes it."""
        for process in reversed(self._processes):
            _signal_group(process, signal.SIGTERM)
        deadline = time.monotonic() + STOP_GRACE_S
        for process in self._processes:
            try:
                process.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
            # The group may outlive its leader (a worker that finishes slowly), so it is always swept.
            _signal_group(process, signal.SIGKILL)
            process.wait()
        self._processes.clear()


def _signal_group(process, number):
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def run_pinned(argv, core, timeout_s):
    """Runs a short command on `core` and returns its standard output; raises when it fails or takes too long."""
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    if done.returncode != 0:
        raise RuntimeError(f"{Path(argv[0]).name} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


def process_tree(pid):
    """`pid` and all that descend from it, as far as they are alive."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat_fields(entry)):
            children.setdefault(int(fields[1]), []).append(int(entry))
    pids = [pid]
    for member in pids:
        pids.extend(children.get(member, []))
    return pids


def cpu_seconds(pid):
    """User and system time of `pid`'s tree since it started, to 1/100 s."""
    ticks = 0
    for member in process_tree(pid):
        if fields := _stat_fields(member):
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_SECOND


def core_busy_seconds(core):
    """How long the core has worked since the machine started, for anybody, a hypervisor's other guests included."""
    for line in _read("/proc/stat").splitlines():
        if line.startswith(f"cpu{core} "):
            user, nice, system, _idle, _wait, irq, softirq, stolen = (int(ticks) for ticks in line.split()[1:9])
            return (user + nice + system + irq + softirq + stolen) / TICKS_PER_SECOND
    raise RuntimeError(f"/proc/stat knows no core {core}")


def rss_bytes(pid):
    """Resident memory of `pid`'s tree. Pages that a master shares with its worker count twice."""
    total = 0
    for member in process_tree(pid):
        for line in _read(f"/proc/{member}/status").splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) * 1024
    return total


def is_alive(pid):
    """Whether `pid` exists and is not a zombie."""
    fields = _stat_fields(pid)
    return bool(fields) and fields[0] != "Z"


def _stat_fields(pid):
    """The fields of `/proc/PID/stat` from the state on; the command name before it may hold anything."""
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _read(path):
    """A file's text; empty when the process has ended meanwhile."""
    try:
        return Path(path).read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
