"""One audit as configured: what its attacks need."""

import pytest

from mlu.auditing.inquiry import ROLES
from tests.support.audited import inquiry_with, write_people, write_weights


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = write_people(tmp_path_factory.mktemp("people"))
    write_weights(folder / "after.pt", 0)
    return folder


@pytest.mark.parametrize(
    ("words", "tunes", "asks_of_training", "asks_the_network"),
    [
        ([], False, False, False),
        (["attack.aia.panel=full"], True, False, False),
        (["attack.aia.insider=true"], False, False, True),
        (["attack=[aia,mia]"], False, True, False),
        (["attack=[aia,durability]"], True, False, False),
    ],
)
def test_attacks_say_what_they_need(words, tunes, asks_of_training, asks_the_network, place):
    found = inquiry_with(place, f"after={place / 'after.pt'}", "forget_label.names=[Male]", *words)
    assert (found.tunes, found.asks_of_training, found.asks_the_network) == (
        tunes,
        asks_of_training,
        asks_the_network,
    )


def test_models_have_names_of_their_own_in_figures(place):
    assert len(set(ROLES.values())) == len(ROLES)
    found = inquiry_with(place, f"after={place / 'after.pt'}", "concept=Tall", "numbers=age")
    assert found.concepts_or_numbers == ("Tall", "age")
    assert list(found.models) == ["after"]
    assert found.forget == ()
    assert found.folder.parent == place / "outputs" / "audits"
