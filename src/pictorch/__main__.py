"""`python -m pictorch` is `pictorch`."""

import sys

from pictorch.cli import main

sys.exit(main())
