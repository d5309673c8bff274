"""Stands before the real scikit-learn on the path of programs that tests start: see `tests.converter.conftest`."""

raise ImportError("scikit-learn is hidden from this test")
