"""The database of a search: where it is, that it can be used, and that it keeps its password."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from mlu.system.commands import shell_word
from mlu.system.errors import UserError, first_line
from mlu.system.home import at_home

STORAGE = "hydra.sweeper.storage"
"""The key that names a database."""
JOURNALS = (".log", ".journal")
"""Endings of the name of a journal, a file in which Optuna keeps what else a database does."""

_WAIT = 60
"""Seconds to wait for another command that writes to a file of SQLite's."""
_IN_QUERY = re.compile(r"[?&](\w*(?:pass|pwd|token|secret)\w*)=([^&'\"]*)", re.IGNORECASE)
"""Secrets among what stands behind the question mark of a URL."""
_AUTHORITY = re.compile(r"(://[^:/?#]*):(.+)@")
"""Name and password of a URL: up to the last @, since a password may have one of its own."""

_FAULTS = (SQLAlchemyError, StorageInternalError, OSError)
_AT_FIRST = (HydraException, ImportError, RuntimeError, ValueError)
_REMEDIES = {
    "unable to open": "name a file in a folder that can be written to",
    "readonly": "give the right to write to it, or name another file",
    "locked": "another program holds it: end that, or take a journal (a path ending in .log)",
    "not a database": "name another file",
}
"""Remedies by a part of what SQLite says."""
_REMEDY = "see that the server is there, and that user, password and database are right"


def opened(storage: Any) -> BaseStorage:
    """The database that `hydra.sweeper.storage` names; memory where it names none.

    Args:
        storage: A URL, the path of a journal, a class of Optuna's with its arguments
            (`_target_: ...`), or None.

    Raises:
        UserError: If it cannot be used.
    """
    if storage is None:
        return InMemoryStorage()

    with plain_trouble(storage, opening=True):
        if isinstance(storage, DictConfig):
            made: BaseStorage = instantiate(storage)
            return made
        if "://" in str(storage):
            return database(make_url(str(storage)))
        return journal(Path(at_home(str(storage), f"{STORAGE}=")))


def database(url: URL) -> BaseStorage:
    """A database by its URL; a file of SQLite's may lie in a folder that is not there yet."""
    if url.get_backend_name() != "sqlite":
        # A server closes connections that nobody has used for long, as while a trial runs.
        return RDBStorage(text_of_url(url), engine_kwargs={"pool_pre_ping": True})

    if url.database in (None, "", ":memory:"):
        return InMemoryStorage()

    if not url.database.startswith("file:"):
        # Absolute, since a job may have a folder of its own (hydra.job.chdir).
        file = Path(at_home(url.database, f"{STORAGE}=sqlite:///")).absolute()
        file.parent.mkdir(parents=True, exist_ok=True)
        url = url.set(database=str(file))

    return RDBStorage(text_of_url(url), engine_kwargs={"connect_args": {"timeout": _WAIT}})


def text_of_url(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def journal(file: Path) -> BaseStorage:
    """A journal by its path."""
    if file.suffix not in JOURNALS:
        word = shell_word(STORAGE, f"sqlite:///{file}")
        raise UserError(
            f"{STORAGE}={file} is no database: write {word}, another URL of a database, "
            f"or the path of a journal, which ends in {' or '.join(JOURNALS)}"
        )

    file = file.absolute()
    file.parent.mkdir(parents=True, exist_ok=True)

    return JournalStorage(JournalFileBackend(str(file)))


@contextmanager
def plain_trouble(storage: Any, opening: bool = False) -> Iterator[None]:
    """Make one line of what a database cannot do.

    Args:
        storage: As `hydra.sweeper.storage` has it.
        opening: Whether this is the first that it is asked for, where more can be wrong.
    """
    faults = (*_FAULTS, *_AT_FIRST) if opening else _FAULTS
    try:
        yield
    except faults as fault:
        if isinstance(fault, UserError):
            raise
        text = str(storage)
        raise UserError(f"{STORAGE}={masked(text)}: {masked(reason_of(fault), text)}") from fault


def reason_of(fault: Exception) -> str:
    """The reason why a database cannot be used, and what to do."""
    cause = fault.__cause__ if isinstance(fault, StorageInternalError | ImportError) else None
    found: Any = cause or fault
    if isinstance(fault, ImportError):
        return f"{first_line(found)}: install the driver, or name another (as mysql+pymysql://)"

    if isinstance(fault, NoSuchModuleError):
        return f"{first_line(fault)}: URLs begin with sqlite, mysql+DRIVER or postgresql+DRIVER"

    said = first_line(getattr(found, "orig", None) or found)
    if not isinstance(found, SQLAlchemyError):
        return said

    remedies = [remedy for part, remedy in _REMEDIES.items() if part in said]

    return f"{said}: {(*remedies, _REMEDY)[0]}"


def masked(text: str, holder: str | None = None) -> str:
    """Text without the passwords in it, or in the URL that `holder` is.

    >>> masked("mysql://me:secret@host/searches")
    'mysql://me:***@host/searches'
    """
    for secret in secrets_in(text if holder is None else holder):
        text = text.replace(secret, "***")
    return text


def secrets_in(storage: str) -> list[str]:
    """The passwords in a URL, as they are written and as they are meant; the longest first."""
    found = [match[2] for match in _AUTHORITY.finditer(storage)]
    found += [match[2] for match in _IN_QUERY.finditer(storage)]
    return sorted({*found, *map(unquote, found)} - {""}, key=len, reverse=True)
