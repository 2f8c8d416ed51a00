"""What happens to the third endpoint, and when: the same for every system."""

from dataclasses import dataclass

NORMAL_MS = 5
SLOW_MS = 500
# No divisor of the 2 s between two active checks: else a system's checks would meet it always alive or always dead, by luck.
FLAP_S = 0.7
WARM_UP = "warm-up"


@dataclass(frozen=True)
class Phase:
    """A stretch of a script. `faults` are (seconds after its start, name of a method of `service.Endpoint`)."""

    name: str
    what: str
    seconds: float
    faults: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True)
class Script:
    """Phases one after the other, on fresh systems and endpoints."""

    name: str
    phases: tuple[Phase, ...]

    @property
    def seconds(self):
        """How long it takes."""
        return sum(phase.seconds for phase in self.phases)

    def faults(self):
        """All faults as (seconds after the script's start, name), in order."""
        at, found = 0.0, []
        for phase in self.phases:
            found += [(at + offset, fault) for offset, fault in phase.faults]
            at += phase.seconds
        return found

    def phase_at(self, second):
        """The phase in which a call is due."""
        for phase in self.phases:
            if second < phase.seconds:
                return phase
            second -= phase.seconds
        return self.phases[-1]

    def scaled(self, factor):
        """The same with all phases longer or shorter; how fast it flaps stays as it is."""
        return Script(self.name, tuple(_lengthen(phase, phase.seconds * factor) for phase in self.phases))


def _flapping(seconds):
    """Dead, alive, dead and so on, as long as each other; it begins dead."""
    times = int(seconds / FLAP_S)
    return tuple((number * FLAP_S, "start" if number % 2 else "die") for number in range(times))


def _lengthen(phase, seconds):
    faults = _flapping(seconds) if phase.name == "flaps" else phase.faults
    return Phase(phase.name, phase.what, seconds, faults)


SCRIPTS = {
    script.name: script
    for script in (
        Script("dies", (
            Phase(WARM_UP, "connections are opened; not in the tables", 2),
            Phase("healthy", f"all three answer after {NORMAL_MS} ms", 6),
            Phase("slow", f"the third answers after {SLOW_MS} ms", 15, ((0, "slow_down"),)),
            Phase("dead", "the third is killed: its connections end, new ones are refused", 15, ((0, "die"),)),
            Phase("flaps", f"the third is started and killed again, {FLAP_S} s each", 30, _flapping(30)),
            Phase("recovers", "the third runs again", 10, ((0, "start"),)),
        )),
        Script("hangs", (
            Phase(WARM_UP, "connections are opened; not in the tables", 2),
            Phase("healthy", f"all three answer after {NORMAL_MS} ms", 4),
            Phase("hung", "the third is stopped: its kernel takes connections and requests, nothing answers", 15, ((0, "hang"),)),
            Phase("wakes", "the third goes on, with all that it was sent meanwhile", 10, ((0, "wake"),)),
        )),
    )
}
