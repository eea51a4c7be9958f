"""The routes, by resource. A function here parses, calls, wakes and renders; it decides nothing."""
