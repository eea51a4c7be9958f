"""The MQTT room: messages in, events recorded, acknowledgements, commands and states out.

``connection`` is the only file that knows the MQTT library; ``topics`` turns a message into an event or a refusal;
``recording`` brings events into the database whatever it takes; ``outgoing`` holds what is to be published; and
``subscriber`` is the loop around them. This room decides nothing about streams, and knows neither the API nor the
reconciler: what they must learn goes through callables that ``app`` hands in.
"""
