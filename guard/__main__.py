"""`python -m guard` is `guard`."""

import sys

from guard.cli import main

sys.exit(main())
