"""The embedded model: a small language model that answers OpenAI-style requests on this machine, without a key.

`weights` finds or fetches the file, `serve` runs it behind a loopback URL. Importing either starts and loads nothing.
"""
