"""Only what differs travels to the browser."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlx_notebook.panels.base.merge_patch import merge_patch

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers()),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)


def applied(old, patch):
    """Apply a patch as RFC 7396 says."""
    if not isinstance(patch, dict):
        return patch
    result = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = applied(result.get(name), value)
    return result


def without_nothing(value):
    if not isinstance(value, dict):
        return value
    return {name: without_nothing(inner) for name, inner in value.items() if inner is not None}


# How fast a busy machine is says nothing about the patch.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(OBJECTS, OBJECTS)
def test_a_patch_makes_the_new_of_the_old(old, new):
    old = without_nothing(old)
    patch = merge_patch(old, new)
    assert applied(old, patch) == without_nothing(new)
    assert (patch == {}) == (old == without_nothing(new))


def test_a_new_second_of_history_costs_one_point():
    history = {str(second): [1.0, 2.0, 0, 4] for second in range(120)}
    later = {**history, "120": [5.0, 2.0, 1, 4]}
    del later["0"]
    patch = merge_patch({"history": history}, {"history": later})
    assert patch == {"history": {"0": None, "120": [5.0, 2.0, 1, 4]}}
    assert len(json.dumps(patch)) < 80
