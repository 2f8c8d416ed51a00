"""Turns results into Markdown and JSON, and holds the engine to its budgets."""

import os
import platform
from datetime import datetime, timezone
from pathlib import Path

BUSY_SHARE = 0.90
FOREIGN_SHARE_MAX = 0.05
ENGINE = "mainstay"
MIB = 1024 * 1024
_HEADER = ("system", "CPU µs/request", "x relay", "requests/s", "core busy", "p50", "p99", "RSS at start", "RSS after", "failures")


def machine_line(settings):
    """One line that says where and how: date, processor, kernel, cores, rounds."""
    model = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    return (f"{datetime.now(timezone.utc):%Y-%m-%d}, {model}, {os.cpu_count()} cores, Linux {platform.release()}; "
            f"{settings.rounds} rounds of {settings.seconds} s, medians; load at start {os.getloadavg()[0]:.1f}")


def markdown(scenario, results, left_out, notes):
    """The scenario's table, with what a reader has to know below it."""
    load = f"{scenario.connections} connections" + (f" x {scenario.streams} streams" if scenario.client_h2 else "")
    lines = [f"### {scenario.name}: {scenario.what} ({load})", "", "| " + " | ".join(_HEADER) + " |",
             "|---" + "|---:" * (len(_HEADER) - 1) + "|"]
    lines += ["| " + " | ".join(_cells(result)) + " |" for result in results]
    below = list(notes)
    idle = [f"{result.system} ({result.core_share:.0%})" for result in results if result.core_share < BUSY_SHARE]
    if idle and not scenario.fixed_rate_share:
        below.append("The load or the upstream was the limit, so requests/s says nothing about: " + ", ".join(idle) + ".")
    disturbed = [f"{result.system} ({result.foreign_share:.0%})" for result in results
                 if result.foreign_share > FOREIGN_SHARE_MAX]
    if disturbed:
        below.append("DISTURBED: other processes worked on the two cores during a turn of: " + ", ".join(disturbed) + ".")
    below += [f"Left out: {name}: {reason}" for name, reason in left_out.items()]
    below += [line for line, _ in verdicts(scenario, results)]
    return "\n".join(lines + [""] + [f"- {line}" for line in below])


def _cells(result):
    return (f"{result.system} {result.version}".strip(), f"{result.cpu_us_per_request:.2f}", f"{result.relay_ratio:.2f}",
            f"{result.rate:.0f}", f"{result.core_share:.0%}", _duration(result.p50_us), _duration(result.p99_us),
            f"{result.rss_start_bytes / MIB:.1f} MiB", f"{result.rss_bytes / MIB:.1f} MiB", str(result.failures))


def _duration(microseconds):
    if microseconds < 1000:
        return f"{microseconds:.0f} µs"
    return f"{microseconds / 1000:.2f} ms"


def verdicts(scenario, results):
    """Per budget that can be judged: a sentence, and whether it was kept."""
    cost = {result.system: result.cpu_us_per_request for result in results}
    judged = []
    for budget in scenario.budgets:
        if ENGINE in cost and cost.get(budget.reference):
            ratio = cost[ENGINE] / cost[budget.reference]
            kept = ratio <= budget.times
            judged.append((f"Budget {'kept' if kept else 'MISSED'}: {ENGINE} costs {ratio:.2f} x {budget.reference}, "
                           f"at most {budget.times:.2f} x is allowed.", kept))
    return judged


def budgets_kept(scenario, results):
    """Whether every budget of the scenario could be judged and was kept."""
    judged = verdicts(scenario, results)
    return len(judged) == len(scenario.budgets) and all(kept for _, kept in judged)


def as_json(settings, tables):
    """Everything measured, every turn included, for the `--json` file."""
    return {
        "machine": machine_line(settings),
        "scenarios": {
            scenario.name: {"results": [result.as_dict() for result in results], "left_out": left_out, "notes": notes}
            for scenario, results, left_out, notes in tables
        },
    }
