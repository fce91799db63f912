"""Laws of the store, whatever the run: it comes back as it went, and its digest is of its numbers."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from suite import store

laws = settings(max_examples=40, deadline=None)
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
names = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True).filter(
    lambda name: name not in ("format", "stage", "id", "params", "status")
)
numbers = st.floats(allow_nan=False) | st.integers(-(2**53), 2**53)
values = st.recursive(st.none() | st.booleans() | numbers | text, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner))
shapes = arrays_of.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)
dtypes = st.sampled_from([np.dtype(kind) for kind in ("f4", "f8", "i8", "u1", "?")])
arrays = arrays_of.arrays(dtypes, shapes, elements={"allow_nan": False}) | st.lists(text, min_size=1, max_size=3)
runs = st.builds(
    store.Run,
    stage=st.sampled_from(["search", "train", "evaluation"]),
    id=text,
    params=st.dictionaries(text, values, max_size=4),
    status=text,
    metrics=st.dictionaries(names, numbers | text, max_size=4),
    arrays=st.dictionaries(names.map("curves/{}".format), arrays, max_size=3),
    timings=st.dictionaries(names, st.floats(0, 1e9), max_size=2),
    provenance=st.dictionaries(names, text, max_size=2),
)


def there_and_back(run):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.h5"
        store.write(path, run)
        return store.read(path), store.digest(path)


def listed(found):
    return {name: (value.dtype.kind if value.dtype != object else "text", value.shape, value.tolist()) for name, value in found.items()}


@laws
@given(run=runs)
def test_a_run_comes_back_as_it_went(run):
    back, _ = there_and_back(run)
    plain = ("stage", "id", "status", "params", "metrics", "timings", "provenance")
    assert {name: getattr(back, name) for name in plain} == {name: getattr(run, name) for name in plain}
    went = {name: np.asarray(value, object) if isinstance(value, list) else value for name, value in run.arrays.items()}
    assert listed(back.arrays) == listed(went)
    assert there_and_back(back)[1] == there_and_back(run)[1]


@laws
@given(run=runs, other=runs)
def test_the_order_of_names_means_nothing_and_neither_does_where_a_run_comes_from(run, other):
    backwards = {kind: dict(reversed(getattr(run, kind).items())) for kind in ("params", "metrics", "arrays")}
    moved = replace(run, **backwards, timings=other.timings, provenance=other.provenance)
    assert there_and_back(moved)[1] == there_and_back(run)[1]
    assert store.digest_of_run(moved) == store.digest_of_run(run)
    assert store.digest_of_run(there_and_back(moved)[0]) == store.digest_of_run(there_and_back(run)[0])


@laws
@given(run=runs, name=names, value=st.floats(-1e300, 1e300))
def test_the_last_bit_of_a_number_counts_and_so_does_its_name(run, name, value):
    def digest(**metrics):
        return there_and_back(replace(run, metrics=metrics))[1]

    same = digest(**{name: value})
    assert same == digest(**{name: value})
    assert same != digest(**{name: float(np.nextafter(value, np.inf))})
    assert same != digest(**{f"{name}_": value}) and same != digest()


@laws
@given(digests=st.dictionaries(text, text, max_size=4), place=text, digest=text)
def test_many_digests_are_one_whatever_their_order(digests, place, digest):
    joined = store.joined(digests)
    assert store.joined(dict(reversed(digests.items()))) == joined
    assert (store.joined({**digests, place: digest}) == joined) == (digests.get(place) == digest)
