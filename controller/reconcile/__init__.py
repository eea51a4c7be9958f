"""The control loop: observe, plan, save, do, save.

``queue`` says which keys need a look and when; ``observe`` lists every proxy and says how far each may be believed;
``loop`` is the cycle; ``dispatcher`` carries the outbox to the proxies. What to do is decided in ``domain.plan``.
"""
