"""Mutants that behave as the original does: no test can notice them. Each is here by the line it makes, with a reason.

A survivor that is not here is a gap in the tests. A line here that no survivor has any more is told by `make mutation`.
"""

_FLAG = "None is as false as False"
_SAME_LENGTH = "the lengths were compared before"
_NEVER_SHOWN = "it is caught as malformed, and never shown"
_BIG = "big is the default of to_bytes"

EQUIVALENT: dict[str, dict[str, str]] = {
    "hub/takeover/answer_statistics": {"distance = chance = 1.0": "what is returned is their difference"},
    "hub/serving/dispatcher": {
        "self.busy_since = None": "it is set before it is read, when the worker gets its first input",
        "self.busy_since = 1.0": "it is set before it is read, when the worker gets its first input",
        "self.with_suspect = None": _FLAG,
        "self._resting = None": _FLAG,
        "self._resting = True": "there is nobody to feed yet, and who is fed first ends the rest",
        "desk.with_suspect = None": _FLAG,
    },
    "hub/takeover/comparison": {
        "return len(one) == len(other) and all(same(a, b, tolerance) for a, b in zip(one, other, strict=None))": (
            _SAME_LENGTH
        ),
        "return len(one) == len(other) and all(same(a, b, tolerance) for a, b in zip(one, other, ))": _SAME_LENGTH,
        "return len(one) == len(other) and all(same(a, b, tolerance) for a, b in zip(one, other, strict=False))": (
            _SAME_LENGTH
        ),
        "return all(isfinite(b) and abs(a - b) <= tolerance * largest for a, b in zip(one, other, strict=None))": (
            _SAME_LENGTH
        ),
        "return all(isfinite(b) and abs(a - b) <= tolerance * largest for a, b in zip(one, other, ))": _SAME_LENGTH,
        "return all(isfinite(b) and abs(a - b) <= tolerance * largest for a, b in zip(one, other, strict=False))": (
            _SAME_LENGTH
        ),
        "raise msgspec.DecodeError(None)": _NEVER_SHOWN,
        'raise msgspec.DecodeError("XXa result that is nested too deepXX")': _NEVER_SHOWN,
        'raise msgspec.DecodeError("A RESULT THAT IS NESTED TOO DEEP")': _NEVER_SHOWN,
        "largest = max((abs(value) for value in one), default=None)": "without values there is nothing to compare",
        "largest = max((abs(value) for value in one), default=1.0)": "without values there is nothing to compare",
    },
    "hub/serving/metrics": {
        "self._buckets = [0] * (_COUNT + 2)": "one more bucket that nothing is counted in",
        "buckets, self._buckets = self._buckets, [0] * (_COUNT + 2)": "one more bucket that nothing is counted in",
        "if milliseconds < _LOWEST_MS:": "the lowest bucket is also what the formula gives there",
        "return 1.0": "not reached: the last bucket that holds anything has all ranks",
    },
    "hub/mqtt/backoff": {"self._shared = None": _FLAG},
    "hub/mqtt/flow/in_flight": {
        "self._is_proven = None": _FLAG,
        "content = digest(packet.topic, packet.payload, packet.cut_bytes.to_bytes(8, ))": _BIG,
        'content = digest(packet.topic, packet.payload, packet.cut_bytes.to_bytes(9, "big"))': (
            "it is compared only with digests of the same process"
        ),
    },
    "hub/mqtt/flow/answered": {
        "content.update(len(part).to_bytes(8, ))": _BIG,
        "self._new.pop(None, None)": "what enters was forgotten before, there too",
        "self._numbers.pop(known.key, )": "what is known has its key there",
    },
    "hub/system/log_limiter": {"self._is_full = None": _FLAG},
    "hub/mqtt/keepalive": {
        "self._backlog = None": "it is set with every question, and read only while one is open",
        "self._backlog = 1": "it is set with every question, and read only while one is open",
    },
    "hub/api/topics": {
        'name, separator, command_id = topic.removeprefix(self._commands).rpartition("/")': (
            "neither a name nor an id has a separator in it"
        ),
    },
    "hub/mqtt/flow/broker_limits": {
        'maximum_qos=min(1, int(getattr(properties, "MaximumQoS", 2))),': "QoS 2 is not used here: 1 is the most",
        'retain=bool(getattr(properties, "RetainAvailable", 2)),': "2 is as true as 1",
        'wildcard_subscriptions=bool(getattr(properties, "WildcardSubscriptionAvailable", 2)),': "2 is as true as 1",
        'shared_subscriptions=bool(getattr(properties, "SharedSubscriptionAvailable", 2)),': "2 is as true as 1",
    },
    "bundle/desired_state": {
        'write_durably(path_of(store), msgspec.json.format(msgspec.json.encode(dict(desired)), ) + b"\\n")': (
            "2 is the default of the indent"
        ),
        'write_durably(path_of(store), msgspec.json.format(msgspec.json.encode(dict(desired)), indent=3) + b"\\n")': (
            "it is read as the same"
        ),
    },
    "update/choose": {
        'return self.revoked.get(model or "XXXX", {})': "a model has a name, and it is none of these",
        "if not is_newer(version, None) or version in wanted.withdrawn:": (
            "it is asked only where the active version is the newest: then the channel leads no lower, and to that"
        ),
    },
    "quantize/guard/rules": {
        'what = f"all {len(y)} calibration samples are of class {int(y[1])}{of}"': "all are of one class",
        "distances = [_distance(a, b) for a, b in zip(calibration.values, evaluation.values, strict=None)]": (
            _SAME_LENGTH
        ),
        "distances = [_distance(a, b) for a, b in zip(calibration.values, evaluation.values, )]": _SAME_LENGTH,
        "distances = [_distance(a, b) for a, b in zip(calibration.values, evaluation.values, strict=False)]": (
            _SAME_LENGTH
        ),
        "shares = [np.searchsorted(values, places, ) / len(values) for values in (a, b)]": (
            "the largest difference just before a value is that at the value before"
        ),
        'smaller = "calibration" if ratio <= 1 else "evaluation"': "no known factor is near 1",
        'smaller = "calibration" if ratio < 2 else "evaluation"': "no known factor is near 1",
    },
    "hub/api/desired_state": {
        "self._soon = None": _FLAG,
        'self._due, self._taken_at = False, float("-INF")': "it is read as the same",
        'cause = "XXXX".join(character for character in text if not character.isdigit())  # sizes and offsets are none': (  # noqa: E501
            "it tells the same texts apart"
        ),
    },
    "hub/takeover/pipeline_state": {
        "between = [version for version in revoked if parse_version(back) <= parse_version(version) < parse_version(bad)]": (  # noqa: E501
            "that the one before is revoked itself was seen before"
        ),
    },
}
