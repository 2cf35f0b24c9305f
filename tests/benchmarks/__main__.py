"""`python -m tests.benchmarks [fetch|load|memory|serve|show ...]`: the named benchmarks in turn, all of them without a name."""

from __future__ import annotations

import sys
from importlib import import_module

NAMES = ("fetch", "load", "memory", "serve", "show")


def main() -> int:
    """Run them; options after the names go to each."""
    arguments = sys.argv[1:]
    names = [name for name in arguments if not name.startswith("-") and not name.isdigit()]
    if unknown := [name for name in names if name not in NAMES]:
        print(f"no benchmark `{unknown[0]}`; there is {', '.join(NAMES)}", file=sys.stderr)
        return 2
    options = arguments[len(names) :]
    for name in names or NAMES:
        print(f"== {name}", flush=True)
        sys.argv = [name, *options]
        import_module(f"tests.benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
