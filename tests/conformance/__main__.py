"""`python -m tests.conformance KIND FILE.jsonl`: see the package."""

import sys

from tests.conformance import main

sys.exit(main())
