"""Turns cells into Markdown and JSON."""

import os
import platform
from datetime import datetime, timezone
from pathlib import Path

_HEADER = ("system", "calls", "good", "lost GETs", "lost POSTs (applied + not)", "applied twice", "p50", "p99", "p99.9", "max",
           "asked: 1st, 2nd, 3rd")


def machine_line(load):
    """One line that says where and how."""
    model = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    return (f"{datetime.now(timezone.utc):%Y-%m-%d}, {model}, {os.cpu_count()} cores, Linux {platform.release()}; "
            f"{load.rate:g} calls/s, {load.post_share:.0%} of them POST, seed {load.seed}; load at start {os.getloadavg()[0]:.2f}")


def markdown(script, results):
    """A table per phase. `results` are (name with version, cells), in the order of the rows."""
    lines = [f"## {script.name}"]
    for phase in script.phases:
        rows = [(name, cell) for name, cells in results for cell in cells if cell.phase == phase.name]
        if rows:
            lines += ["", f"### {phase.name}, {phase.seconds:g} s: {phase.what}", "", "| " + " | ".join(_HEADER) + " |",
                      "|---" + "|---:" * (len(_HEADER) - 1) + "|"]
            lines += ["| " + " | ".join(_columns(name, cell)) + " |" for name, cell in rows]
            lines += _failures(rows)
    lines += ["", f"### {script.name}, all phases", "", "| system | lost | of them could be saved | applied twice | worst p99 |",
              "|---|---:|---:|---:|---:|"]
    lines += ["| " + " | ".join(_total(name, cells)) + " |" for name, cells in results]
    return "\n".join(lines)


def _columns(name, cell):
    return (name, str(cell.calls), _share(cell), str(cell.lost_gets), f"{cell.lost_posts_applied} + {cell.lost_posts_not_applied}",
            str(cell.applied_twice), *(_ms(us) for us in (cell.p50_us, cell.p99_us, cell.p999_us, cell.max_us)),
            ", ".join(map(str, cell.asked)))


def _share(cell):
    """Rounded down, so that 100 % means all."""
    if not cell.lost:
        return "100 %"
    return f"{int((cell.calls - cell.lost) / cell.calls * 100_000) / 1000:.3f} %"


def _ms(us):
    return f"{us / 1000:.1f} ms" if us < 100_000 else f"{us / 1000:.0f} ms"


def _failures(rows):
    """What callers got instead, for the rows that lost something."""
    said = [f"{name}: " + ", ".join(f"{count} x {what}" for what, count in cell.failures.items()) for name, cell in rows if cell.lost]
    return ["", *(f"- {line}" for line in said)] if said else []


def _total(name, cells):
    return (name, str(sum(cell.lost for cell in cells)), str(sum(cell.could_be_saved for cell in cells)),
            str(sum(cell.applied_twice for cell in cells)), _ms(max(cell.p99_us for cell in cells)))


def as_json(machine, tables):
    """Everything measured. `tables` are (script, results)."""
    return {"machine": machine, "scripts": {
        script.name: {name: [cell.as_dict() for cell in cells] for name, cells in results} for script, results in tables}}
