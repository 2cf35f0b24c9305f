"""`python -m composemagic`: the command line where the script is not on the path."""

import sys

from composemagic.cli import main

sys.exit(main())
