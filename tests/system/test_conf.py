import shutil
from importlib import util
from pathlib import Path

import mlu.system.conf
from mlu.system.conf import CONF


def test_it_is_the_checkout_s_with_all_its_groups():
    assert Path(__file__).parents[2] / "conf" == CONF
    assert {"method", "attack", "dataset", "backbone"} <= {part.name for part in CONF.iterdir()}


def test_in_a_wheel_it_lies_in_the_package_and_is_found_before_one_beside_it(tmp_path):
    module = tmp_path / "mlu" / "system" / "conf.py"
    module.parent.mkdir(parents=True)
    shutil.copy(mlu.system.conf.__file__, module)
    for folder in (tmp_path / "mlu" / "conf", tmp_path / "conf"):
        folder.mkdir()
        (folder / "config.yaml").touch()

    spec = util.spec_from_file_location("copy_of_conf", module)
    found = util.module_from_spec(spec)
    spec.loader.exec_module(found)
    assert tmp_path / "mlu" / "conf" == found.CONF
