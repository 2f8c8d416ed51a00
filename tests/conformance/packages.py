"""The pinned packages: where they are, and whether they are the ones that `requirements.txt` names.

`python3 tests/conformance/packages.py` succeeds when they are; `cargo xtask test` asks so before it installs anything.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / "target" / "tools" / "conformance"


def use():
    """Puts the private folder in front of whatever the machine has; an error says what to install."""
    sys.path.insert(0, str(FOLDER))
    for name, wanted in re.findall(r"^([a-z0-9-]+)==(\S+)", (HERE / "requirements.txt").read_text(), re.MULTILINE):
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "nothing"
        if found != wanted:
            sys.exit(f"{name} {wanted} is needed and {found} is there: run `cargo xtask test --only setup`, or\n"
                     "  python3 -m pip install --no-deps --only-binary=:all: --require-hashes --upgrade "
                     "--target target/tools/conformance -r tests/conformance/requirements.txt")


if __name__ == "__main__":
    use()
    # A wheel for another version of Python has the right number and does not load.
    import grpc, h2, websockets  # noqa: E401, F401
