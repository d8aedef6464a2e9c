"""`rtprelay`, `python -m rtprelay`: the relay, or one of its tools."""

from __future__ import annotations

import sys


def main() -> int:
    """Each imports what it needs: a tool does not wait for the relay's parts."""
    words = sys.argv[1:]
    match words[:1]:
        case ["ng"]:
            from rtprelay.cli import ng

            return ng.main(words[1:])
        case ["top"]:
            from rtprelay.cli import top

            return top.main(words[1:])
    from rtprelay import app

    return app.main(words)


if __name__ == "__main__":
    sys.exit(main())
