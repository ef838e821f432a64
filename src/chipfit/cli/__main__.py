"""python -m chipfit.cli."""

import sys

from chipfit.cli import main

if __name__ == "__main__":
    sys.exit(main())
