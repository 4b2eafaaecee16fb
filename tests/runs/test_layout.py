import json

import pytest

from mlu.runs.layout import is_configuration, write_json


@pytest.mark.parametrize(
    ("content", "holds"),
    [
        ({}, True),
        ({"seed": 1, "method": {"name": "wf"}}, True),
        ({"method": None}, True),
        ({"method": "wf"}, False),
        ({"a": {1.5: 0}}, False),
        (["a"], False),
        ({"a": [0] * 100_001}, False),
    ],
)
def test_a_configuration_is_groups_and_no_larger_than_one_writes_it(content, holds):
    assert is_configuration(content) == holds


def test_what_is_not_json_leaves_the_file_as_it_was(tmp_path):
    file = tmp_path / "results.json"
    write_json({"a": 1}, file)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json({"a": float("nan")}, file)
    assert json.loads(file.read_text()) == {"a": 1}
