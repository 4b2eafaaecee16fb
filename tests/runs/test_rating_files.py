"""Ratings on disk: nobody's file is replaced, and none counts that mlu has not written."""

import json
import shutil
from dataclasses import replace

import pytest

from mlu.runs.challenge import RATING, RATINGS
from mlu.runs.rating_files import RANKING, RANKING_PAGE, Ratings, read_rating
from mlu.runs.ratings import Rating, in_order
from mlu.runs.submission import read_submission
from mlu.system.errors import UserError
from tests.support.challenged import METHODS, hand_in, write_small_challenge


@pytest.fixture(scope="module")
def submitted(tmp_path_factory):
    """A challenge with a submission that is read."""
    challenge = write_small_challenge(tmp_path_factory.mktemp("rated"))
    return challenge, read_submission(hand_in(challenge, "mine"), challenge)


@pytest.fixture
def place(submitted, tmp_path):
    return Ratings(submitted[0], tmp_path / "out")


@pytest.fixture
def rating(submitted):
    challenge, mine = submitted
    return Rating(
        name="mine", word="shown", said="It is.", files=mine.files, challenge=challenge.sha256
    )


def test_a_rating_of_these_very_weights_is_found_again(place, rating, submitted):
    mine = submitted[1]
    assert place.rating_of(mine) is None
    place.leave(rating)
    assert place.rating_of(mine) == rating
    ratings, notes = place.found()
    assert ({one.name for one in ratings}, notes) == ({"mine", *METHODS}, [])


def test_other_weights_by_its_name_do_not_replace_it(place, rating, submitted):
    place.leave(rating)
    before = (place.folder / RATINGS / "mine" / RATING).read_bytes()
    other = replace(submitted[1], files={"replicate-1.safetensors": "0" * 64})
    with pytest.raises(UserError, match="is of other weights"):
        place.rating_of(other)
    assert (place.folder / RATINGS / "mine" / RATING).read_bytes() == before


def test_a_forged_rating_is_left_out_and_kept_as_it_is(place, rating, submitted):
    file = place.folder / RATINGS / "mine" / RATING
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"name": "mine", "word": "shown", "said": "I won."}))
    ratings, notes = place.found()
    assert {one.name for one in ratings} == set(METHODS)
    assert notes == ["Left out: mine, whose rating mlu has not written as it is now."]
    with pytest.raises(UserError, match="files that mlu has not written"):
        place.rating_of(submitted[1])
    with pytest.raises(UserError, match="files that mlu has not written"):
        place.leave(rating)
    assert "I won." in file.read_text()


def test_a_rating_that_was_changed_does_not_count(place, rating):
    place.leave(replace(rating, word="exceeded"))
    file = place.folder / RATINGS / "mine" / RATING
    file.write_text(file.read_text().replace("exceeded", "shown"))
    assert place.found()[1] == ["Left out: mine, whose rating mlu has not written as it is now."]


def test_ratings_of_another_challenge_are_left_out_and_the_same_files_are_told(place, rating):
    place.leave(replace(rating, name="other", challenge="0" * 64))
    place.leave(rating)
    place.leave(replace(rating, name="twin"))
    ratings, notes = place.found()
    assert {one.name for one in ratings} == {"mine", "twin", *METHODS}
    assert notes == [
        "Left out: other, whose rating is of another challenge or by other people.",
        "The same files: mine, twin.",
    ]


def test_other_people_make_a_ranking_of_their_own_without_ours(place, rating, submitted):
    other = replace(place, people=77)
    other.leave(replace(rating, people=77))
    assert [one.name for one in other.found()[0]] == ["mine"]
    with pytest.raises(UserError, match="by other people"):
        place.rating_of(submitted[1])


def test_somebody_s_page_is_not_overwritten(place, rating):
    place.leave_ranking("first", in_order([rating]))
    place.leave_ranking("second", in_order([rating]))
    assert (place.folder / RANKING_PAGE).read_text() == "second"
    assert json.loads((place.folder / RANKING).read_text())["ranking"][0]["place"] == 1
    place.refuse_foreign_files()

    (place.folder / RANKING_PAGE).write_text("mine")
    with pytest.raises(UserError, match=r"name another folder with out=\.\.\."):
        place.refuse_foreign_files()
    shutil.rmtree(place.folder)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"name": "x"}', '{"name":"x","word":"won","said":""}']
)
def test_what_is_no_rating_is_one_line(content, tmp_path):
    file = tmp_path / RATING
    file.write_text(content)
    with pytest.raises(UserError, match="move it away"):
        read_rating(file)
