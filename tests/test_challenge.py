"""A challenge from end to end: made, entered as the page says, judged, ranked; and refusals."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file

from mlu.audit import audit, main
from mlu.challenge import code_of_rating, replicates_of
from mlu.launch.build import build
from mlu.launch.challenge import leave_challenge
from mlu.launch.check import check_config
from mlu.launch.compose import values_of
from mlu.pipeline import leave
from mlu.pipeline.run import run
from mlu.report.groups import settings_in
from mlu.runs.challenge import MOST_BYTES
from mlu.runs.layout import WEIGHTS
from mlu.runs.ratings import Rating
from mlu.runs.read import collect, read_run
from mlu.runs.verdicts import verdict_of_runs
from mlu.system.errors import UserError
from tests.support.audited import few_readers
from tests.support.blank import blank_distributions, saved_blank
from tests.support.challenged import hand_in, write_small_challenge
from tests.support.composing import composed_in_parts
from tests.support.forked import Commands
from tests.test_docs import ROOT, commands, prose_and_code

PAGE = ROOT / "docs" / "challenge.md"
SMALL = (
    *("dataset.images=240", "dataset.image_size=16", "training.epochs=1", "logger=none"),
    "trainer.accelerator=cpu",
)
(EXAMPLE,) = [
    block.removeprefix("python\n")
    for block in prose_and_code(PAGE)[1]
    if block.startswith("python\n")
]
AUDIT = "python -m mlu.audit "
ONE, ALL, OTHERS = (
    command.removeprefix(AUDIT).partition("#")[0].split()
    for command in commands(PAGE)
    if command.startswith(f"{AUDIT}challenge=")
)


def carried_out(place, folder, *words):
    """The run of a job of the experiment, with blank pictures."""
    given = ["experiment=challenge", *SMALL, f"outputs={place / 'outputs'}", *words]
    values = values_of(composed_in_parts(given))
    check_config(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", saved_blank)
        patch.setattr(leave, "distribution_picture", blank_distributions)
        run(build(values, folder))
    return read_run(folder)


def judged(words, monkeypatch, capsys):
    """Exit code of `python -m mlu.audit`, and what it says."""
    monkeypatch.setattr(sys, "argv", ["audit", *words])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code, capsys.readouterr()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a challenge, and what was handed in: by the page's example, and by others."""
    place = tmp_path_factory.mktemp("entered")
    seeds = (1, 2)
    with few_readers():
        jobs = [
            carried_out(place, place / f"{method}-{seed}", f"method={method}", f"seed={seed}")
            for method in ("original", "retrain", "head")
            for seed in seeds
        ]
    assert "2 replicates" in leave_challenge(jobs, place / "challenge")[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        exec(EXAMPLE, {})

    submissions = place / "challenge" / "submissions"
    shutil.copytree(place / "challenge" / "original", submissions / "noop")
    shutil.copytree(place / "challenge" / "retrain", submissions / "thief")
    (submissions / "anew").mkdir()
    for number, seed in enumerate(seeds, 1):
        words = (f"seed={seed}", "train_seed=77", "method=retrain", "attack=none")
        again = carried_out(place, place / f"again-{seed}", *words)
        weights = submissions / "anew" / f"replicate-{number}.safetensors"
        shutil.copyfile(again.folder / WEIGHTS, weights)

    return place


@pytest.fixture(scope="module")
def ranking(place):
    """The ranking of all of them, by name."""
    with pytest.MonkeyPatch.context() as patch, few_readers():
        patch.chdir(place)
        patch.setattr(sys, "argv", ["audit", *ALL])
        with pytest.raises(SystemExit) as end:
            main()
    assert end.value.code == 0
    placed = json.loads((place / "challenge" / "ranking.json").read_text())["ranking"]
    return {(one["rating"]["name"], one["rating"]["ours"]): one for one in placed}


def test_muting_the_output_by_hand_is_rated_as_our_method_that_does_so(ranking):
    ours, theirs = (ranking[name]["rating"] for name in (("head", True), ("mine", False)))
    for part in ("word", "mean", "low", "high", "retained", "reference", "lost"):
        assert ours[part] == (pytest.approx(theirs[part]) if theirs[part] else theirs[part]), part


def test_what_was_left_as_it_was_is_exceeded_and_last(ranking):
    noop = ranking["noop", False]
    assert noop["rating"]["word"] == "exceeded"
    assert noop["rating"]["unchanged"] == [1, 2]
    places = {name: one["place"] for (name, _), one in ranking.items() if one["place"]}
    assert {places["noop"], places["original"]} == {len(places) - 1, len(places)}


def test_retrain_of_another_seed_is_ranked_and_the_given_one_is_not(ranking):
    anew, thief = ranking["anew", False], ranking["thief", False]
    assert anew["rating"]["word"] != "exceeded"
    assert (anew["rating"]["copied"], anew["rating"]["unchanged"]) == ([], [])
    assert anew["place"] is not None
    assert (thief["place"], thief["rating"]["copied"]) == (None, [1, 2])
    assert ranking["retrain", True]["place"] is None


def test_what_was_judged_is_kept_with_its_figures_and_not_judged_again(
    ranking, place, monkeypatch, capsys
):
    monkeypatch.chdir(place)
    monkeypatch.setattr("mlu.challenge.judged_now", lambda *_: pytest.fail("judged again"))
    before = (place / "challenge" / "ratings" / "mine" / "rating.json").read_bytes()
    code, said = judged(ONE, monkeypatch, capsys)
    lost = bool(ranking["mine", False]["rating"]["lost"])
    assert code == (1 if lost else 3)
    assert ranking["mine", False]["rating"]["word"] == "not shown"
    assert "Forget Male: a challenge" in said.out
    folder = place / "challenge" / "ratings" / "mine"
    assert (folder / "rating.json").read_bytes() == before
    runs = collect([folder]).runs
    (setting,) = settings_in(collect([folder]))
    assert [run.seeds.images for run in runs] == [2001, 2002]
    assert verdict_of_runs(setting.runs).high == ranking["mine", False]["rating"]["high"]
    assert str(place) not in (folder / "replicate-1" / "config.yaml").read_text().replace(
        str(place / "outputs"), ""
    )


def test_other_people_judge_in_a_folder_of_their_own(ranking, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    words = [*OTHERS, "submission=challenge/submissions/mine"]
    with few_readers():
        code, said = judged(words, monkeypatch, capsys)
    assert code in (1, 3)
    assert "a seed of the judge's own" in said.out
    (one,) = json.loads((place / "judged" / "ranking.json").read_text())["ranking"]
    assert (one["rating"]["people"], one["rating"]["name"]) == (90210, "mine")
    # Other people: other figures.
    assert one["rating"]["retained"] != ranking["mine", False]["rating"]["retained"]


def test_the_folder_is_small(place):
    size = sum(file.stat().st_size for file in (place / "challenge").glob("*/*.safetensors"))
    assert 5 / 2 * size < MOST_BYTES / 4


def test_who_enters_gets_the_models_and_the_data_of_the_sweep(place):
    (first, second) = replicates_of(place / "challenge", root=place / "outputs/cache/datasets")
    assert (first.forgotten, len(first.labels)) == (("Male",), 10)
    assert sum(map(len, first.splits.values())) == 240
    assert not torch.equal(first.splits["test"].targets, second.splits["test"].targets)
    state = load_file(place / "original-1" / WEIGHTS)
    assert all(torch.equal(state[name], one) for name, one in first.original().state_dict().items())
    assert first.retrain()(first.splits["test"][[0, 1]].images).shape == (2, 10)


def test_a_file_of_somebody_s_is_not_overwritten_by_who_enters(tmp_path):
    challenge = write_small_challenge(tmp_path)
    (one, _) = replicates_of(challenge.folder)
    saved = one.save(one.original(), tmp_path / "mine")
    one.save(one.retrain(), tmp_path / "mine")
    saved.write_text("not mlu's any more")
    with pytest.raises(UserError, match="name another folder"):
        one.save(one.original(), tmp_path / "mine")
    assert saved.read_text() == "not mlu's any more"


def test_several_that_lie_there_are_judged_but_for_those_that_cannot_be(
    tmp_path, monkeypatch, capsys
):
    challenge = write_small_challenge(tmp_path)
    hand_in(challenge, "half", seeds=(91,))
    hand_in(challenge, "whole")
    rating = Rating(name="whole", word="not shown", said="So.", challenge=challenge.sha256)
    monkeypatch.setattr("mlu.challenge.judged_now", lambda *_: rating)
    code, said = judged([f"challenge={challenge.folder}"], monkeypatch, capsys)
    assert code == 2
    assert said.err.strip().splitlines() == [
        f"submission={challenge.folder / 'submissions' / 'half'} lacks replicate-2.safetensors: "
        "unlearn each replicate, a part of them is not judged"
    ]


def test_codes_are_those_of_an_audit():
    def rating(word, **more):
        return Rating(name="x", word=word, said="", **more)

    words = ("shown", "exceeded", "not shown")
    assert [code_of_rating(rating(word)) for word in words] == [0, 1, 3]
    assert code_of_rating(rating("shown", lost=("Young 30.0",))) == 1
    assert code_of_rating(rating("shown", copied=(1,))) == 3


def test_python_s_audit_does_not_judge_submissions(tmp_path):
    challenge = write_small_challenge(tmp_path)
    with pytest.raises(UserError, match="judge submissions by python -m"):
        audit(f"challenge={challenge.folder}")


def test_what_cannot_be_used_is_one_line_before_torch_is_imported(tmp_path):
    challenge = write_small_challenge(tmp_path)
    folder = hand_in(challenge, "half", seeds=(91,))
    wrong = hand_in(challenge, "nan", **{"head.bias": torch.full((3,), torch.nan)})
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "ranking.html").write_text("mine")
    named = f"challenge={challenge.folder}"
    process = Commands("mlu.launch.dataset_command")
    try:
        for words, says in (
            ([f"challenge={tmp_path}"], "give the folder that experiment=challenge left"),
            ([named, f"submission={folder}"], "lacks replicate-2.safetensors"),
            ([named, f"submission={wrong}"], "not finite"),
            ([named, "submission=gone"], "submission=gone is no folder"),
            ([named, "dataset.images=3"], "the challenge itself says what is judged"),
            ([named, "people=2001", f"out={taken / 'x'}"], "name a seed that nobody knows"),
            ([named, f"out={taken}"], "files that mlu has not written"),
            (["submission=mine"], "name the challenge"),
        ):
            done = process.run("mlu.audit", words, tmp_path / "said")
            assert (done.code, done.heavy) == (2, []), (words, done.stderr)
            assert says in done.stderr, done.stderr
            assert len([line for line in done.stderr.splitlines() if line]) == 1
    finally:
        process.end()
    assert Path(taken / "ranking.html").read_text() == "mine"
