"""What the settings mean to the rooms: how the broker is reached, and by what the loop decides."""

from datetime import timedelta

from controller.domain.budgets import Limits
from controller.domain.mass_end import MassEnd
from controller.domain.plan import Policy
from controller.ingest.connection import Link, Tls
from controller.proxy_client import fingerprint
from controller.settings import Settings


def link(settings: Settings) -> Link:
    tls = None
    if settings.mqtt_is_tls:
        tls = Tls(ca_file=settings.mqtt_ca_file, cert_file=settings.mqtt_cert_file, key_file=settings.mqtt_key_file)
    return Link(
        host=settings.mqtt_address.host,
        port=settings.mqtt_address.port,
        client_id=settings.mqtt_client_id,
        protocol=settings.mqtt_protocol,
        username=settings.mqtt_username,
        password=settings.mqtt_password.get_secret_value() if settings.mqtt_password else None,
        tls=tls,
        keepalive_seconds=settings.mqtt_keepalive_seconds,
        receive_max=2 * settings.mqtt_batch_max,
    )


def policy(settings: Settings) -> Policy:
    return Policy(
        start_grace=timedelta(seconds=settings.start_grace_seconds),
        stop_grace=timedelta(seconds=settings.stop_grace_seconds),
        orphan_grace=timedelta(seconds=settings.orphan_grace_seconds),
        flow_grace=timedelta(seconds=settings.flow_grace_seconds),
        drain_moves_max=settings.drain_moves_max,
        mass_end=MassEnd() if settings.hold_mass_ends else None,
        stall_timeout=_optional_seconds(settings.stall_timeout_seconds),
        loop_timeout=_optional_seconds(settings.loop_timeout_seconds),
        live_last_max=_optional_seconds(settings.live_last_max_seconds),
        block_retention=timedelta(hours=settings.block_hours),
        fingerprint=fingerprint,
        installation=settings.installation,
        limits=Limits(
            evidenced_per_second=settings.stops_evidenced_per_second,
            unevidenced_per_second=settings.stops_unevidenced_per_second,
            unevidenced_share=settings.stops_unevidenced_share,
            unevidenced_min=settings.stops_unevidenced_min,
        ),
    )


def _optional_seconds(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
