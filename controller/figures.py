"""The numbers of the rooms, named for Prometheus. Nothing is counted here.

What exists in controller-runtime has the name it has there (controller-runtime, ``metrics``; client-go, ``workqueue``).
"""

from collections.abc import Iterable, Iterator

from controller.api.services import Figure, figure, histogram
from controller.domain.plan import DriftKind, GateKind
from controller.domain.verdicts import Verdict
from controller.ingest.subscriber import Subscriber
from controller.reconcile.dispatcher import Dispatcher
from controller.reconcile.loop import Reconciler
from controller.reconcile.queue import KeyQueue

RESULTS = ("success", "requeue", "requeue_after", "error")


def of_loop(reconciler: Reconciler, dispatcher: Dispatcher) -> Iterator[Figure]:
    """Yield what the control loop did."""
    tally = reconciler.tally
    yield _counts("reconcile", "Cycles of the control loop, by how they ended.", "result", RESULTS, tally.results)
    yield figure("reconcile_errors", "Cycles that failed.", tally.errors, "counter")
    yield figure(
        "terminal_reconcile_errors", "Of those: what another try will hardly cure.", tally.terminal_errors, "counter"
    )
    yield histogram("reconcile_time_seconds", "How long a cycle takes.", tally.seconds.buckets, tally.seconds.sum)
    yield _counts("drift_detected", "Drifts that were first seen.", "kind", DriftKind, tally.detected)
    by_kind = tuple(
        ((("kind", kind.value), ("class", kind.drift_class.value)), float(tally.repaired[kind])) for kind in DriftKind
    )
    yield Figure("drift_repaired", "Drifts that were seen repaired.", by_kind, "counter")
    yield _counts("drift_held", "Actions held back in a cycle, by gate.", "gate", GateKind, tally.held)
    took = tally.convergence
    yield histogram("convergence_seconds", "From a drift first seen to seen repaired.", took.buckets, took.sum)
    yield figure(
        "orphan_seconds", "How long sessions ran that should not have, all together.", tally.orphan_seconds, "counter"
    )
    yield figure("breaker_open", "Whether stops without evidence are held back altogether.", reconciler.breaker.is_open)
    yield figure("commands_answered", "Commands that proxies have answered.", dispatcher.sent, "counter")


def of_queue(queue: KeyQueue) -> Iterator[Figure]:
    """Yield what waits for the control loop, and for how long. There is one worker."""
    waited, worked = queue.waited, queue.worked
    yield figure("workqueue_depth", "Keys that wait for a look.", queue.depth)
    yield figure("workqueue_adds", "Bells of keys.", queue.adds, "counter")
    yield figure("workqueue_retries", "Looks that were asked for again after a failure.", queue.retries, "counter")
    text = "From when a look was due to when it was taken."
    yield histogram("workqueue_queue_duration_seconds", text, waited.buckets, waited.sum)
    yield histogram("workqueue_work_duration_seconds", "How long a look takes.", worked.buckets, worked.sum)
    lasts = queue.working_seconds
    yield figure("workqueue_unfinished_work_seconds", "For how long the look under way has lasted.", lasts)
    yield figure("workqueue_longest_running_processor_seconds", "The same, since there is one worker.", lasts)


def of_ingest(subscriber: Subscriber) -> Iterator[Figure]:
    """Yield what was heard over MQTT."""
    counts = subscriber.counts
    yield figure("mqtt_connections", "Connections made to the broker.", counts.connections, "counter")
    yield figure("mqtt_received", "Messages received.", counts.received, "counter")
    yield figure("mqtt_quarantined", "Messages that could not be read, and were kept.", counts.refused, "counter")
    yield figure("mqtt_discarded", "Messages of QoS 0 that came too fast.", counts.discarded, "counter")
    yield figure("mqtt_batches", "Transactions that recorded events.", counts.batches, "counter")
    yield figure("mqtt_record_failures", "Transactions that failed.", subscriber.recorder.failures, "counter")
    delayed = round(subscriber.recorder.delayed_seconds, 1)
    yield figure("mqtt_record_delayed_seconds", "For how long events have waited for the database.", delayed)
    verdicts = tuple(((("verdict", verdict.value),), float(counts.verdicts[verdict])) for verdict in Verdict)
    yield Figure("mqtt_events", "Events by what became of them.", verdicts, "counter")


def _counts(name: str, text: str, label: str, words: Iterable[str], counted: object) -> Figure:
    """Make a counter with one sample for every word, so that none is missing before it happens."""
    assert isinstance(counted, dict)
    return Figure(name, text, tuple((((label, str(word)),), float(counted.get(word, 0))) for word in words), "counter")
