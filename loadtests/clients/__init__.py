"""Real clients through the real sidecar: browsers and players that must never be refused, rippers that must be stopped.

Read `__main__` (what is run), `platform` (what they come for), `gates` (how each has an address of its own and is
watched), `listeners` and `rippers` (who comes), `findings` (what is told of each).
"""
