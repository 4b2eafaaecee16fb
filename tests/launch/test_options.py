"""What configuration folders offer."""

from types import SimpleNamespace

from mlu.launch.options import CONF, config_folders, files_of, groups_in, is_file, options_of


def test_a_user_s_file_stands_above_ours_of_the_same_name_and_ours_stay(tmp_path):
    (tmp_path / "method").mkdir()
    for name in ("wf", "mine"):
        (tmp_path / "method" / f"{name}.yaml").write_text("")
    files = {file.stem: file for file in files_of("method", (tmp_path, CONF))}
    assert files["wf"].parent == tmp_path / "method"
    assert files["wp"].parent == CONF / "method"
    assert options_of("method", (tmp_path, CONF)) == sorted([*options_of("method"), "mine"])


def test_a_folder_without_files_is_no_group_and_a_new_one_comes_last(tmp_path):
    for name in ("empty", "own", "method"):
        (tmp_path / name).mkdir()
    (tmp_path / "own" / "one.yaml").write_text("")
    assert groups_in([tmp_path]) == [*groups_in([]), "own"]
    assert {"method", "dataset", "attack"} <= set(groups_in([]))
    assert "hydra" not in groups_in([])


def test_folders_come_in_hydra_s_order_once_and_ours_in_any_case(tmp_path):
    sources = [
        SimpleNamespace(schema="file", path=str(tmp_path)),
        SimpleNamespace(schema="pkg", path="hydra.conf"),
        SimpleNamespace(schema="file", path=str(tmp_path)),
    ]
    assert config_folders(sources) == (tmp_path, CONF)
    ours = SimpleNamespace(schema="file", path=str(CONF))
    assert config_folders([ours, *sources]) == (CONF, tmp_path)


def test_what_no_file_can_be_called_is_none(tmp_path):
    (tmp_path / "a").touch()
    assert is_file(tmp_path / "a")
    assert not any(map(is_file, (tmp_path, tmp_path / "b", "a\0b", "x" * 5000)))
