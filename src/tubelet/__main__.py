"""``python -m tubelet`` is the ``tubelet`` command."""

from __future__ import annotations

import sys

from tubelet.cli import main

if __name__ == "__main__":
    sys.exit(main())
