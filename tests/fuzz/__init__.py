"""Generated calls of every public function.

The default run takes a few fixed examples of each property. A long run draws new ones:

    python -m tests.fuzz --seconds 600 --seed 1              each property for its share of the time
    python -m tests.fuzz --seconds 60 convolutions lax       the properties of two rooms
    FUZZ=50 pytest tests/fuzz -n 0 --hypothesis-seed=1       50 times as many examples

`strategies.py` draws arrays, geometries, calls and wrong arguments, and `checks.py` compares. Each
`test_*.py` is a room: it states what must hold for one part of the library. What a long run finds
is added as an `@example` or as a test beside the code that was mended.
"""
