"""What devices prove themselves with at the broker, and the files Mosquitto reads."""

from hub.broker.broker import Broker
from hub.broker.credentials import AT_ONCE, Credentials, Issued, Secret
from hub.broker.drift import drift
from hub.broker.mosquitto import hub_password
from hub.broker.rows import RESERVED, Credential, Kind

__all__ = [
    "AT_ONCE",
    "RESERVED",
    "Broker",
    "Credential",
    "Credentials",
    "Issued",
    "Kind",
    "Secret",
    "drift",
    "hub_password",
]
