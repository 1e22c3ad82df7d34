"""Whether a tracker's server answers at all, before a library that tries again and again is asked to send to it."""

from __future__ import annotations

import ssl
import urllib.request
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from stages.tracking.settings import FILE, RawTracking

PATIENCE = 10.0  # seconds, for a connection and for the first line of an answer
PROTOCOLS: dict[str, type[HTTPConnection]] = {"http": HTTPConnection, "https": HTTPSConnection}
PORTS = {"http": 80, "https": 443}


def no_answer(settings: RawTracking, name: str) -> str | None:
    """What to do where no server answers at MLflow's address; None where one does, whatever it says, or nothing can be
    said: a folder, a proxy between, another tracker's own service, a certificate that the library may know.
    """
    if name != "mlflow" or settings.mlflow is None:
        return None
    try:
        address = urlsplit(settings.mlflow.uri)
        host, port, protocol = address.hostname, address.port, PROTOCOLS.get(address.scheme)
    except ValueError:  # a port that is no number: the library says what it makes of it
        return None
    proxied = address.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host or "")
    if host is None or protocol is None or proxied:
        return None
    try:
        with closing(protocol(host, port or PORTS[address.scheme], timeout=PATIENCE)) as connection:
            connection.request("HEAD", "/")
            connection.getresponse()
    except (ssl.SSLError, HTTPException, ConnectionResetError, BrokenPipeError):
        return None
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that no host can have
        reason = (
            f"no answer within {PATIENCE:g} s"
            if isinstance(error, TimeoutError)
            else getattr(error, "strerror", None) or error
        )
        return f"{settings.mlflow.uri}: {reason}. Start that server, or correct `uri` in {FILE}."
    return None
