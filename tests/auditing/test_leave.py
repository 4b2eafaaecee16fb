"""What an audit leaves and says: nothing of the user's is written over, and notes say what one must
know."""

from dataclasses import replace

import pytest

from mlu.auditing.exhibits import exhibits_of
from mlu.auditing.leave import begin_audit, counts_of, notes_on
from mlu.auditing.population import population_of
from mlu.system.errors import UserError
from tests.support.audited import IMAGES, inquiry_with, write_archive, write_people

MALE = "forget_label.names=[Male]"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = write_people(tmp_path_factory.mktemp("people"))
    write_archive(folder / "good.npz")
    write_archive(folder / "mute.npz", after_outputs=None)
    return folder


def notes(place, *words, file="good.npz"):
    inquiry = inquiry_with(place, f"features={place / file}", MALE, *words)
    people = population_of(inquiry)
    return list(notes_on(inquiry, people, exhibits_of(inquiry, people)))


def test_of_a_table_with_people_and_parts_there_is_nothing_to_note(place):
    assert notes(place) == []


def test_what_is_not_known_is_noted(place):
    (parts,) = notes(place, "dataset.split_column=null")
    assert "Nothing says which images the models have learnt from" in parts
    (unseen,) = notes(place, "dataset.split_column=null", "unseen=all")
    assert "new to the models" in unseen
    (people,) = notes(place, "dataset.identity_column=null")
    assert "a person of its own" in people
    (outputs,) = notes(place, file="mute.npz")
    assert "The outputs were not given of unlearned" in outputs


def test_one_file_as_two_models_is_noted(place):
    from tests.support.audited import write_weights

    after = write_weights(place / "after.pt", 0)
    inquiry = inquiry_with(place, f"after={after}", f"retrain={after}", "backbone=tiny", MALE)
    people = population_of(inquiry)
    found = list(notes_on(inquiry, people, exhibits_of(inquiry, people)))
    assert found == ["after and retrain are one and the same file."]


def test_a_file_of_somebody_else_is_not_written_over(tmp_path):
    begin_audit(tmp_path / "new")
    (tmp_path / "audit.json").write_text("mine")
    with pytest.raises(UserError, match=r"name another folder with out="):
        begin_audit(tmp_path)
    assert (tmp_path / "audit.json").read_text() == "mine"


def test_people_are_counted_once(place):
    people = population_of(inquiry_with(place, f"features={place / 'good.npz'}", MALE))
    split = people.splits["test"]
    assert counts_of(split) == {"images": IMAGES // 4, "people": IMAGES // 4}
    assert counts_of(replace(split, identities=split.identities // 1000)) == {
        "images": IMAGES // 4,
        "people": 1,
    }
