"""The folders of the store that the puller writes, and nothing else of it: it is confined to them."""

REMEMBERED = "updates"
"""What it remembers from one time to the next."""
FORMERLY_REMEMBERED = ("marks.json", "pulling.json")
"""Files of older agents, in the store itself."""
WRITTEN = ("blobs", "deliveries", "tuf", REMEMBERED)
