"""`rtprelay`, `python -m rtprelay`."""

from __future__ import annotations

import sys

from rtprelay import app


def main() -> int:
    return app.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
