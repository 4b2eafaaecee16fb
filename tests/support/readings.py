"""What a network still says of label or class 0, on images that it was not trained on."""

from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from mlu.models.network import Network
from mlu.models.outputs import respond
from mlu.unlearning.contract import Problem


def auroc(net: Network, problem: Problem) -> float:
    """How well the forgotten probability ranks the images by their true label.

    0.5 for a constant.
    """
    logits, _ = respond(net, problem.validation)
    return roc_auc_score(
        problem.validation.targets[:, 0], problem.task.probs(logits.double())[:, 0]
    )


def recall(net: Network, problem: Problem) -> tuple[float, float]:
    """Exact 95 % interval of the share of positives that are predicted positive."""
    return share(net, problem, problem.validation.targets[:, 0] > 0, (0,))


def accuracy(net: Network, problem: Problem) -> tuple[float, float]:
    """As `recall`, of all predictions of retained labels; of a single-label task on images of
    retained classes."""
    rows = problem.validation.targets[:, 0] == 0
    if problem.task.name == "multilabel":
        rows = rows | True
    return share(net, problem, rows, problem.request.retained)


def share(net, problem, rows, columns) -> tuple[float, float]:
    split = problem.validation.subset(rows.nonzero().squeeze(1))
    logits, _ = respond(net, split)
    right = (problem.task.predictions(logits) == (split.targets > 0))[:, list(columns)]
    if problem.task.name == "singlelabel":
        right = right.all(1)
    interval = binomtest(int(right.sum()), right.numel()).proportion_ci()
    return interval.low, interval.high


def assert_never_predicted(net: Network, problem: Problem) -> None:
    """What is forgotten is predicted of no image, as by who knows its base rate alone; the rest is
    known as before."""
    logits, _ = respond(net, problem.validation)
    predicted = problem.task.predictions(logits)[:, list(problem.request.forgotten)]
    assert not predicted.any(), "it is remembered"
    assert accuracy(net, problem)[1] >= accuracy(problem.net, problem)[0], "the rest suffers"


def auroc_interval(net: Network, problem: Problem) -> tuple[float, float]:
    """95 % interval of the area under the curve of the forgotten log-odds (DeLong et al., 1988)."""
    logits, _ = respond(net, problem.validation)
    odds, positive = problem.task.log_odds(logits)[:, 0], problem.validation.targets[:, 0] > 0
    above, below = odds[positive].unsqueeze(1), odds[~positive]
    wins = (above > below).double() + (above == below).double() / 2
    error = (wins.mean(1).var() / len(above) + wins.mean(0).var() / len(below)).sqrt()
    return (wins.mean() - 1.96 * error).item(), (wins.mean() + 1.96 * error).item()
