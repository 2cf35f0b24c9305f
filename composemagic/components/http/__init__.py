"""The parts of `type: http-client`: its settings, the request, the body, the answer, turns to wait for, and completion."""
