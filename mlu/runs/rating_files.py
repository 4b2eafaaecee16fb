"""The ratings of a challenge on disk: kept where they are judged, never with what is handed in."""

import json
from dataclasses import dataclass
from pathlib import Path

from mlu.runs.challenge import RATING, RATINGS, Challenge
from mlu.runs.ratings import RANKED_WORDS, Placed, Rating
from mlu.runs.submission import Submission
from mlu.runs.typed import as_json, can_be, typed
from mlu.system.errors import UserError, first_line, printable
from mlu.system.owned import Owned

RANKING, RANKING_PAGE = "ranking.json", "ranking.html"

_ELSEWHERE = "name another folder with out=..., or move them away"


@dataclass(frozen=True)
class Ratings:
    """The ratings of submissions to one challenge.

    Attributes:
        challenge: What they are of.
        folder: Where they lie, with the page that ranks them.
        people: Seed of the people that are judged by; None for those of the challenge.
    """

    challenge: Challenge
    folder: Path
    people: int | None = None

    def refuse_foreign_files(self) -> None:
        """Raises UserError where a file of somebody else stands in the place of the ranking."""
        Owned(self.folder).refuse_foreign((RANKING, RANKING_PAGE), _ELSEWHERE)

    def folder_of(self, name: str) -> Path:
        """The folder of the rating of a submission."""
        return self.folder / RATINGS / name

    def rating_of(self, submission: Submission) -> Rating | None:
        """The rating of these very weights by these people; None where they have none.

        Raises:
            UserError: If there is one of other weights, or by others, by this name.
        """
        folder = self.folder_of(submission.name)
        file = folder / RATING
        Owned(folder).refuse_foreign([RATING], _ELSEWHERE)
        if not file.exists():
            return None

        found = read_rating(file)
        if found.files != submission.files or not self.is_of_these(found):
            raise UserError(
                f"{file} is of other weights, of another challenge or by other people: rename "
                f"{submission.folder}, or move {folder} away"
            )

        return found

    def is_of_these(self, rating: Rating) -> bool:
        """Whether a rating is of a submission to this challenge, by these people."""
        own = (self.challenge.sha256, self.people, False)
        return (rating.challenge, rating.people, rating.ours) == own

    def leave(self, rating: Rating) -> None:
        """Write a rating."""
        place = Owned(self.folder_of(rating.name))
        place.refuse_foreign([RATING], _ELSEWHERE)
        place.write(RATING, json.dumps(as_json(rating), indent=1, allow_nan=False))

    def found(self) -> tuple[list[Rating], list[str]]:
        """All ratings, and why others were left out; ours are by the challenge's own people."""
        ratings = list(self.challenge.facts.ours) if self.people is None else []
        notes = []
        place = self.folder / RATINGS
        for file in sorted(place.glob(f"*/{RATING}")):
            name = printable(file.parent.name)
            if Owned(file.parent).foreign([RATING]):
                notes.append(f"Left out: {name}, whose rating mlu has not written as it is now.")
                continue

            rating = read_rating(file)
            if not self.is_of_these(rating):
                notes.append(
                    f"Left out: {name}, whose rating is of another challenge or by other people."
                )
                continue
            ratings.append(rating)

        return ratings, [*notes, *twice_handed_in(ratings)]

    def leave_ranking(self, page: str, placed: list[Placed]) -> None:
        """Write the ranking, as JSON and as a page."""
        place = Owned(self.folder)
        content = {"challenge": self.challenge.sha256, "ranking": as_json(placed)}
        place.write(RANKING, json.dumps(content, indent=1, allow_nan=False))
        place.write(RANKING_PAGE, page)


def read_rating(file: Path) -> Rating:
    """A rating; raises UserError for what is none."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as fault:
        raise UserError(f"{file} cannot be read: {first_line(fault)}; move it away") from fault

    if not can_be(content, Rating) or content["word"] not in RANKED_WORDS:
        raise UserError(f"{file} is no rating of this version: move it away, to judge anew")

    rating: Rating = typed(content, Rating)
    return rating


def twice_handed_in(ratings: list[Rating]) -> list[str]:
    """Sentences on submissions that are the same files."""
    names: dict[frozenset[tuple[str, str]], list[str]] = {}
    for rating in ratings:
        if rating.files:
            names.setdefault(frozenset(rating.files.items()), []).append(rating.name)
    return [f"The same files: {', '.join(same)}." for same in names.values() if len(same) > 1]
