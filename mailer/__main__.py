"""`python -m mailer` is the command `chancery`."""

import sys

from mailer.cli import main

sys.exit(main())
