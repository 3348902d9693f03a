"""What is a folder of this machine, and what is the address of a bucket."""

from pathlib import Path

import pytest

from metis_jax.files.places import check_is_local


@pytest.mark.parametrize("place", ["runs/a", "/runs/a", "a:b", "C:/runs", "hub:owner/name", "BUNDLE:name", "", "a=b/c"])
def test_folders_and_names_pass(place):
    check_is_local(place)


@pytest.mark.parametrize("place", ["gs://bucket/a", "s3://bucket", "abfss://a@b.c/d", "name=s3://b", Path("gs://b/a")])
def test_addresses_are_refused_by_name(place):
    with pytest.raises(ValueError) as caught:
        check_is_local(place)
    remedy = "only folders of this machine are read and written; mount the bucket and name that"
    assert str(caught.value) == f"{place}: {remedy}"
