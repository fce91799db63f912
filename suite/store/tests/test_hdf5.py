"""What is read fast is what h5py gives, value for value and type for type."""

import h5py
import numpy as np
import pytest

from suite.store import hdf5, layout

ATTRIBUTES = {
    "real": 0.1,
    "nan": float("nan"),
    "whole": -(2**40),
    "unsigned": np.uint64(2**63 + 1),
    "small": np.float32(0.1),
    "big_endian": np.array(7, ">f8"),
    "flag": True,
    "text": "α <script> \" '",
    "empty": "",
    "long": "x" * 70_000,
    "fixed": np.bytes_(b"abc"),
    "two": np.array([1, 2]),
    "texts": np.array(["a", "b"], object),
}


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_attributes_and_datasets_are_those_that_h5py_gives(tmp_path, libver):
    with h5py.File(tmp_path / "a.h5", "w", libver=libver) as file:
        group = file.create_group("group")
        for name, value in ATTRIBUTES.items():
            group.attrs[name] = value
        data = {
            "whole": np.arange(3),
            "flags": np.array([True, False]),
            "none": np.zeros((0, 2)),
            "scalar": np.float64(2),
            "f4": np.zeros(2, "f4"),
        }
        for name, value in data.items():
            group[f"deep/{name}"] = value
        group["empty"] = h5py.Empty("f8")
        group.create_dataset("texts", data=np.array(["a", "ä"], object), dtype=h5py.string_dtype())
        group.create_dataset("text", data="one", dtype=h5py.string_dtype())
        group["but/left"], group["butter"] = 1, 2
    with h5py.File(tmp_path / "a.h5") as file:
        group = file["group"]
        found, expected = hdf5.attributes(group), dict(group.attrs)
        assert list(found) == sorted(expected) and found.keys() == expected.keys()
        for name, value in expected.items():
            assert type(found[name]) is type(value) and np.asarray(found[name]).dtype == np.asarray(value).dtype, name
            np.testing.assert_array_equal(found[name], value)
        contents = hdf5.datasets(group, but="but")
        paths = ["butter", "deep/f4", "deep/flags", "deep/none", "deep/scalar", "deep/whole", "empty", "text", "texts"]
        assert list(contents) == paths
        for path, found in contents.items():
            node = group[path]
            value = node.asstr()[()] if h5py.check_string_dtype(node.dtype) else node[()]
            assert type(found) is type(value), path
            if not isinstance(value, h5py.Empty):
                np.testing.assert_array_equal(found, value)


def test_an_attribute_in_a_list_of_one_is_a_scalar(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["one"] = np.array([1.5])
        assert hdf5.attributes(file) == {"one": 1.5}


def test_groups_are_found_at_any_depth_but_not_within_each_other(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for path in ("b/deep/run", "a", "b/deep/run/part"):
            file.require_group(path).attrs["stage"] = "train"
        file["plan"] = "{}"
        assert [group.name for group in layout.groups(file)] == ["/a", "/b/deep/run"]
