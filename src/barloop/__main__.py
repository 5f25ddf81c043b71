"""``python -m barloop`` is the command line."""

import sys

from barloop.cli import main

sys.exit(main())
