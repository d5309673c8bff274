"""Checks that this device can open what is sealed in a delivery, before anything is fetched.

Only who is a recipient is looked at; opening the content key, and the blobs with it, is `maas_agent.bundle.sealed`'s.
"""

from pathlib import Path

from maas_agent.bundle.delivery import Delivery
from maas_agent.bundle.sealed import decode_key, recipient_id

_INSTALL = "pip install 'maas-edge[sealed]'"
_ENROLL = "maas-agent enroll"


def why_unreadable(delivery: Delivery, key: str | None) -> str | None:
    """What is in the way, to follow the name of the bundle in a sentence; ``None`` if nothing is.

    ``key`` is the file of this device's private key (X25519, PKCS #8, PEM).
    """
    if not delivery.is_sealed:
        return None
    if key is None or not Path(key).exists():
        return (
            f"is sealed, and this device has no key to open it: type '{_ENROLL}', and give its publisher what it says"
        )
    try:
        mine = recipient_id(decode_key(Path(key).read_bytes()).public_key().public_bytes_raw())
    except ImportError:
        return f"is sealed, and this device cannot open what is: type {_INSTALL}"
    except OSError as error:
        return f"is sealed, and the key of this device, {key}, cannot be read: {error.strerror}"
    except (ValueError, TypeError) as error:
        return f"is sealed, and {key} is no key to open it: {error}"
    if mine in delivery.recipients:
        return None
    return (
        f"is sealed for {len(delivery.recipients)} recipients, and this device, {mine[:12]}…, is none of them: "
        f"its publisher must add what '{_ENROLL}' says here"
    )
