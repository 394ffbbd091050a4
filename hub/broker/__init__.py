"""What devices prove themselves with at the broker, and the files Mosquitto reads."""

from hub.broker.broker import BROKER_FOLDER, Broker
from hub.broker.credentials import AT_ONCE, Credentials, Issued, Secret
from hub.broker.drift import drift, ending_soon
from hub.broker.mosquitto import hub_password, runs_files
from hub.broker.rows import RESERVED, Credential, Kind, Left, Why

__all__ = [
    "AT_ONCE",
    "BROKER_FOLDER",
    "RESERVED",
    "Broker",
    "Credential",
    "Credentials",
    "Issued",
    "Kind",
    "Left",
    "Secret",
    "Why",
    "drift",
    "ending_soon",
    "hub_password",
    "runs_files",
]
