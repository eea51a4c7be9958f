"""What may go wrong in the controller.

::

    ControllerError
    +-- EventRefusedError       the state machine has no such move
    +-- NotFoundError           no stream, proxy or drift of that name
    +-- InvalidError            a request that cannot be understood
    +-- ConflictError           a request that cannot be granted as things stand
    +-- StaleWriteError         the row changed since it was read: read again
    +-- LeaseLostError          another controller leads, or nobody does: what the leader alone may do is refused
    +-- DatabaseError           the database refused: a rule of the schema, a full disk, a fault of ours
    |   +-- DatabaseUnavailableError  not reached, busy for too long, or cut off: the result may be unknown
    +-- ProxyUnreachableError   no answer, or none that can be read: the result is unknown
    +-- BrokerLostError         the MQTT broker: not reached, not letting us in, or gone
    +-- StartupError            the process cannot start (a taken port, a bad setting): exit code 2

Classes carry data; texts are made from it. Only ``StaleWriteError``, ``DatabaseUnavailableError``,
``ProxyUnreachableError`` and ``BrokerLostError`` are worth a retry.
"""


class ControllerError(Exception):
    """Root of all errors that this house raises on purpose."""


class EventRefusedError(ControllerError):
    def __init__(self, state: str, event: str) -> None:
        super().__init__(f"a stream that is {state} refuses {event}")
        self.state = state
        self.event = event


class NotFoundError(ControllerError):
    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"no {kind} {name!r}")
        self.kind = kind
        self.name = name


class InvalidError(ControllerError):
    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class ConflictError(ControllerError):
    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class StaleWriteError(ControllerError):
    def __init__(self, stream_id: str, version: int) -> None:
        super().__init__(f"stream {stream_id} has changed since version {version}")
        self.stream_id = stream_id
        self.version = version


class LeaseLostError(ControllerError):
    def __init__(self, holder: str, leader: str) -> None:
        super().__init__(f"{holder} does not lead" + (f": {leader} does" if leader else ""))
        self.holder = holder
        self.leader = leader
        """Who leads instead; empty when nobody does, or when it is not known."""


class DatabaseError(ControllerError):
    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class DatabaseUnavailableError(DatabaseError):
    pass


class ProxyUnreachableError(ControllerError):
    def __init__(self, url: str, detail: str) -> None:
        super().__init__(f"{url}: {detail}")
        self.url = url
        self.detail = detail


class BrokerLostError(ControllerError):
    def __init__(self, address: str, detail: str) -> None:
        super().__init__(f"{address}: {detail}")
        self.address = address
        self.detail = detail


class StartupError(ControllerError):
    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail
