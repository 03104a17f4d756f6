"""`python -m samft`, the same as `samft`."""

from __future__ import annotations

import sys

from samft.cli.entry import main

sys.exit(main())
