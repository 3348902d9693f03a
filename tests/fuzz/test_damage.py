"""Damaged files are read or refused in words, whatever the damage; `damage.py` does many more than this."""

import damage
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = {"wav": 200, "mp3": 80, "ogg": 100, "flac": 100, "bundle": 120, "shard": 150, "list": 200}


@pytest.mark.parametrize("kind", damage.KINDS)
def test_damage_is_met_with_words(tmp_path, kind):
    example = damage.Example(kind, tmp_path)
    edit = st.builds(
        damage.Edit,
        st.sampled_from(damage.EDITS),
        st.integers(0, damage.PLACES - 1),
        st.binary(min_size=1, max_size=8),
    )

    # The same damage in every run: what a gate finds must be found again.
    @settings(
        max_examples=EXAMPLES[kind],
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 1), st.lists(edit, min_size=1, max_size=4))
    def meets(which, edits):
        assert example.outcome(which, edits) in ("read", "refused")

    meets()
