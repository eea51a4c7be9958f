"""Real processes with faults: everything that Penstock consists of, killed, frozen, filled up and cut off at random.

``world`` runs the parts and starts again what dies, as a supervisor would; ``load`` announces and ends streams and keeps
a ledger of it; ``faults`` is what happens to the parts; ``verdict`` compares ledger, database and proxies afterwards;
``campaign`` puts them in a row. ``python -m tests.chaos`` (``make chaos``) is the long form.
"""
