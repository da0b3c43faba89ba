"""Vectors in memory: what is nearest among so many that signs are compared first."""

import numpy as np

from stepwell.search.vectors import LARGE, Vectors

DIMENSIONS = 72  # more than one word of signs, and not two


def test_what_is_nearest_is_found_by_its_signs_first() -> None:
    numbers = np.random.default_rng(5)
    rows = numbers.standard_normal((LARGE + 100, DIMENSIONS)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    vectors = Vectors(DIMENSIONS)
    vectors.put(range(1, 20_001), rows[:20_000])
    vectors.put(range(20_001, len(rows) + 1), rows[20_000:])
    vectors.drop([7, len(rows)])
    assert len(vectors) == len(rows) - 2 >= LARGE
    for place in (0, 6, 12_345, 25_000):
        asked = rows[place] + 0.3 * rows[place + 1]
        asked /= np.linalg.norm(asked)
        cosines = rows @ asked
        cosines[[6, len(rows) - 1]] = -1
        best = int(np.argmax(cosines))
        found, cosine = vectors.nearest(asked, 1)[0]
        assert found == best + 1
        assert abs(cosine - float(cosines[best])) < 1e-5
        # What the words of a request have found is compared, however far its meaning is.
        far = int(np.argmin(cosines)) + 1
        assert far in [
            item.id for item in vectors.best(asked, vectors.compare(asked), {far: 1.0, 10**6: 0.1}, len(rows))
        ]
