"""What tells a clock that was never set."""

UNSET_BEFORE = 1_767_225_600.0
"""2026-01-01, in seconds since 1970: before this project existed, so no clock that is set says so."""
