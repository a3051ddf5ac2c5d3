"""Whatever a manifest holds, injection answers; and what it makes is left alone the second time."""

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from builders_injection import a_pod, annotated, patched, settings
from checkpointheal_operator.core.injected import Injection
from checkpointheal_operator.core.injection import inject

WHOLE = annotated(
    a_pod(
        {
            "env": [{"name": "A", "value": "1"}],
            "volumeMounts": [{"name": "x", "mountPath": "/x"}],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1"}, "claims": []},
            "securityContext": {"runAsUser": 1000},
            "ports": [{"containerPort": 1}],
        },
        initContainers=[{"name": "first", "restartPolicy": "Always"}],
        volumes=[{"name": "x"}],
        securityContext={"runAsUser": 0},
        hostNetwork=False,
        os={"name": "linux"},
    ),
    ranks="2",
    arena_size="1Gi",
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "limits", "cpu"]), inner),
    max_leaves=6,
)


def paths(part: Any, here: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a manifest."""
    children: Any = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    return [here, *(path for key, child in children for path in paths(child, (*here, key)))]


def put(manifest: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """The manifest with another value in one place."""
    if not path:
        return value
    changed = copy.deepcopy(manifest)
    parent = changed
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return changed


@given(path=st.sampled_from(paths(WHOLE)), value=ANYTHING)
def test_whatever_stands_in_one_place_there_is_an_answer_and_it_settles(path: Any, value: Any) -> None:
    pod = put(WHOLE, path, value)
    answer = inject(pod, settings())
    if isinstance(answer, Injection):
        again = inject(patched(pod, answer), settings())
        assert isinstance(again, Injection)
        assert (again.patch, again.report.reason) == ((), "AlreadyInjected")
    else:
        assert answer.message


def test_the_manifest_that_is_varied_is_injected_as_it_is() -> None:
    assert isinstance(inject(WHOLE, settings()), Injection)
