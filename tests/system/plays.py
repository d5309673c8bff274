"""Many things tested on one costly scene, in one test: tests side by side would each build a scene of their own."""

from collections.abc import Callable, Mapping


def play_all(parts: Mapping[str, Callable[[], object]]) -> None:
    """Play every part in order, also after one has failed; then raise what all have raised, each with its name."""
    failures: list[Exception] = []
    for name, part in parts.items():
        try:
            part()
        except Exception as failure:
            failure.add_note(f"while playing: {name}")
            failures.append(failure)
    if failures:
        raise ExceptionGroup(f"{len(failures)} of {len(parts)} parts failed", failures)
