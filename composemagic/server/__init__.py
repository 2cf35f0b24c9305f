"""A Run over HTTP: the API, the web page, and what guards them. Importing it raises UsageError where the extra is missing."""

from __future__ import annotations

from importlib.util import find_spec

from composemagic.errors import UsageError
from composemagic.words import say

if find_spec("starlette") is None or find_spec("uvicorn") is None:
    raise UsageError(say('serving needs two more packages: pip install "composemagic[serve]"'))
