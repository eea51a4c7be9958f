"""The controller: decides, remembers.

Two routes run through it. *Down*: an MQTT message or a REST request changes desired state in the database
(``ingest`` or ``api`` -> ``store``) and rings a bell. *Round*: ``reconcile`` compares desired state with what the
proxies really run (``proxy_client``), asks ``domain`` for a plan, writes the intent, does the effect, writes the
outcome.

Rooms, from the bottom: ``domain`` (pure: model, machine, planner); ``store`` (the database) and ``proxy_client`` (the
one door to the proxies); ``ingest`` (MQTT), ``reconcile`` (the loop), ``api`` (REST), ``web`` (the page), which do not
see one another; ``app`` (builds everything); ``cli`` (the ``penstock`` command). A room sees only the rooms below it;
siblings that must talk are handed a callable by ``app``.
"""
