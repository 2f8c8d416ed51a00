"""What a row of the table is: a section with a MUST, what is sent, and the verdicts that the section allows.

The rows were written from the text of RFC 9113 and RFC 7541, not from what some implementation does. A row is never
widened to make an implementation fit: what does not fit is a deviation, listed in docs/conformance.md.

A verdict is a sentence of two words:

- `goaway CODE`: a connection error (5.4.1): GOAWAY with this code, and the connection is closed;
- `reset CODE`: a stream error (5.4.2). An endpoint may treat any of these as a connection error, so `stream_error` allows both;
- `answer STATUS`: an answer, with its end;
- `ignored`: a further request on the same connection is answered 200, and nothing was reset for an error;
- `closed`: closed without GOAWAY. `silence`: nothing at all; no row allows it.

A row's function gets a connection behind its preface (`client.Client`). It returns the stream whose fate is the
verdict, or the verdict itself, or nothing: then it is the connection's.
"""

from dataclasses import dataclass
from typing import Callable


@dataclass(frozen=True)
class Row:
    name: str
    section: str
    sent: str
    owed: tuple
    run: Callable
    opened: bool


ROWS = []


def row(section, sent, *owed, opened=True):
    """Adds the function to the table. `opened`: it is given a connection behind its preface."""
    def add(run):
        name = f"{section}-{run.__name__.replace('_', '-')}"
        assert name not in {other.name for other in ROWS}, name
        ROWS.append(Row(name, section, sent, tuple(owed), run, opened))
        return run
    return add


def goaway(code):
    return f"goaway {code}"


def stream_error(code):
    """As it stands in a row: `*stream_error(X)`."""
    return f"reset {code}", f"goaway {code}"


PROTOCOL_ERROR, FRAME_SIZE_ERROR, COMPRESSION_ERROR = "PROTOCOL_ERROR", "FRAME_SIZE_ERROR", "COMPRESSION_ERROR"
FLOW_CONTROL_ERROR, STREAM_CLOSED, REFUSED_STREAM = "FLOW_CONTROL_ERROR", "STREAM_CLOSED", "REFUSED_STREAM"
IGNORED, ANSWERED = "ignored", "answer 200"
# 8.1.1: a stream error of type PROTOCOL_ERROR; a server may send an answer before it.
MALFORMED = (*stream_error(PROTOCOL_ERROR), "answer 400")
