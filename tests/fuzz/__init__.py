"""What parses bytes from outside, under inputs that are wrong in every way: `registry` has the targets.

``make test`` tries some of them, the same every time (`test_fuzz`); ``make fuzz`` tries a million, guided by coverage.
"""
