"""Whether this device can open what is sealed in a delivery: asked before anything is fetched."""

from maas_agent.bundle.delivery import Delivery
from maas_agent.update.choose import Offer


def why_unreadable(delivery: Delivery, offer: Offer, key: str | None) -> str | None:
    """What is in the way, to follow the name of the bundle in a sentence; ``None`` if nothing is."""
    if not delivery.is_sealed:
        return None
    if key is None:
        return "is sealed, and this device has no key: 'maas-agent enroll' makes one"
    return None
