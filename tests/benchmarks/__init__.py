"""Ratios of design/performance.md, measured in pairs in one run. Not tests: nothing here asserts a time."""
