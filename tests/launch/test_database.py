"""The database of a search: found, refused in one line, its password told to nobody."""

import os
import sqlite3

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.storages import InMemoryStorage, JournalStorage

from mlu.launch.database import masked, opened, plain_trouble, secrets_in
from mlu.system.errors import UserError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sqlite:///o.db", "sqlite:///o.db"),
        ("sqlite:////a/b:c@d.db", "sqlite:////a/b:c@d.db"),
        ("mysql://me@host/o", "mysql://me@host/o"),
        ("mysql+pymysql://me:pw1@host:3306/o", "mysql+pymysql://me:***@host:3306/o"),
        ("postgresql://me:p@w:1/@host/o", "postgresql://me:***@host/o"),
        ("mysql://:pw1@host/o", "mysql://:***@host/o"),
        ("postgresql://host/o?user=me&password=pw1", "postgresql://host/o?user=me&password=***"),
        ("postgresql://host/o?sslpassword=pw1&a=b", "postgresql://host/o?sslpassword=***&a=b"),
    ],
)
def test_a_password_is_not_shown(text, shown):
    assert masked(text) == shown
    assert masked(f"cannot reach {text}", text) == f"cannot reach {shown}"


def test_a_password_is_known_as_it_is_meant_too():
    assert set(secrets_in("mysql://me:p%40w@host/o")) == {"p%40w", "p@w"}


@pytest.mark.parametrize(
    ("storage", "line"),
    [
        ("o.db", "=o.db is no database: write hydra.sweeper.storage=sqlite:///o.db"),
        ("mysql://me:pw1@host/o", "=mysql://me:***@host/o: No module named 'MySQLdb': install"),
        ("postgres://me:pw1@host/o", "Can't load plugin: sqlalchemy.dialects:postgres: URLs begin"),
        ("nonsense://x", "=nonsense://x: Can't load plugin"),
        ("redis://me:pw1@host", "=redis://me:***@host: Can't load plugin"),
        ("sqlite:///folder", "unable to open database file: name a file in a folder"),
        ("sqlite:///text.txt", "file is not a database: name another file"),
        ("sqlite:///text.txt/o.db", "text.txt"),
        ("sqlite:///file:closed.db?mode=ro&uri=true", "attempt to write a readonly database: give"),
        ("mysql://me:pw1@host:port/o", "=mysql://me:***@host:port/o: "),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line(storage, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.txt").write_text("no database\n" * 200)
    sqlite3.connect("closed.db").close()
    with pytest.raises(UserError) as fault, plain_trouble(storage, opening=True):
        optuna.create_study(storage=opened(storage))
    said = str(fault.value)
    assert line in said
    assert said.startswith("hydra.sweeper.storage=")
    assert "pw1" not in said
    assert (tmp_path / "text.txt").read_text() == "no database\n" * 200


def test_a_database_that_another_program_holds_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("mlu.launch.database._WAIT", 0)
    url = f"sqlite:///{tmp_path}/o.db"
    storage = opened(url)
    holder = sqlite3.connect(tmp_path / "o.db", isolation_level=None)
    holder.execute("begin exclusive")
    with pytest.raises(UserError, match="database is locked: another program"), plain_trouble(url):
        optuna.create_study(storage=storage)
    holder.close()


@pytest.mark.parametrize(
    ("storage", "file"),
    [
        ("sqlite:///o.db", "here/o.db"),
        ("sqlite:///new/folder/o.db", "here/new/folder/o.db"),
        ("sqlite:///~/o.db", "home/o.db"),
        ("o.log", "here/o.log"),
        ("~/deep/o.journal", "home/deep/o.journal"),
    ],
)
def test_a_file_is_found_again_wherever_a_job_is(storage, file, tmp_path, monkeypatch):
    for folder in ("here", "home", "job"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    found = opened(storage)
    os.chdir(tmp_path / "job")
    optuna.create_study(study_name="s", storage=found)
    assert (tmp_path / file).is_file()
    assert list((tmp_path / "job").iterdir()) == []


@pytest.mark.parametrize("storage", [None, "sqlite://", "sqlite:///:memory:"])
def test_memory_is_no_file(storage):
    assert isinstance(opened(storage), InMemoryStorage)


def test_a_class_of_optunas_is_made(tmp_path):
    backend = "optuna.storages.journal.JournalFileBackend"
    inner = {"_target_": backend, "file_path": str(tmp_path / "j")}
    given = {"_target_": "optuna.storages.JournalStorage", "log_storage": inner}
    assert isinstance(opened(OmegaConf.create(given)), JournalStorage)
    with pytest.raises(UserError, match=r"hydra\.sweeper\.storage="):
        opened(OmegaConf.create({"_target_": "optuna.storages.Nothing"}))
