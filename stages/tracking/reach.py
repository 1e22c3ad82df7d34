"""Whether a tracker's server answers at all, before a library that tries again and again is asked to send to it."""

from __future__ import annotations

import socket
import urllib.request
from urllib.parse import urlsplit

from stages.tracking.settings import FILE, RawTracking

PATIENCE = 5.0  # seconds for a connection
PORTS = {"http": 80, "https": 443}


def no_answer(settings: RawTracking, name: str) -> str | None:
    """What to do where nothing listens at MLflow's address; None where something does, or nothing can be said: a
    folder, a proxy between, another tracker's own service.
    """
    if name != "mlflow" or settings.mlflow is None:
        return None
    try:
        address = urlsplit(settings.mlflow.uri)
        host, port = address.hostname, address.port or PORTS.get(address.scheme)
    except ValueError:  # a port that is no number: the library says what it makes of it
        return None
    proxied = address.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host or "")
    if host is None or port is None or address.scheme not in PORTS or proxied:
        return None
    try:
        socket.create_connection((host, port), timeout=PATIENCE).close()
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that no host can have
        reason = (
            f"no answer within {PATIENCE:g} s"
            if isinstance(error, TimeoutError)
            else getattr(error, "strerror", None) or error
        )
        return f"{settings.mlflow.uri}: {reason}. Start that server, or correct `uri` in {FILE}."
    return None
