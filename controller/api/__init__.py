"""The REST API: what people, the page and the command line see and change. One URL per thing.

A route parses, calls one or two functions of the store, wakes whom it concerns, and renders. ``application`` builds the
whole; ``services`` is what the rest of the process hands in; ``schemas`` are the documents, ``render`` makes them;
``problems`` is the only place where errors become answers; ``security`` stands before everything. ``sync_check`` and
``story`` are pure. Nothing here decides about streams: that is the domain's, reached through ``store.record``.
"""
