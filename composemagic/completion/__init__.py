"""What may stand at a place of a document that is being typed: for a notebook's Tab key.

The text need not be a document yet: it is read line by line, by its indentation, and whatever cannot be read is skipped.
"""

from __future__ import annotations

from composemagic.completion.suggestions import Suggestion, Suggestions, suggestions

__all__ = ["Suggestion", "Suggestions", "suggestions"]
