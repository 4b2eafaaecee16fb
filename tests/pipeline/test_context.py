"""What makes models of a run: its data, its request, and what the data do not allow."""

import pytest

from mlu.pipeline.context import context_of
from mlu.system.errors import UserError


@pytest.mark.parametrize(
    ("requests", "columns"),
    [("[[Young,Bald]]", ["Bald", "Young"]), ("[[Young],[Male,Bald]]", ["Bald", "Male", "Young"])],
)
def test_a_request_divides_the_labels_into_forgotten_and_retained_columns(
    requests, columns, experiment
):
    context = context_of(experiment(f"requests={requests}"))
    labels, request = context.data.labels, context.request
    assert [labels[column] for column in request.forgotten] == sorted(columns, key=labels.index)
    assert sorted(request.forgotten + request.retained) == list(range(len(labels)))
    assert {column for own in context.requests for column in own} == set(request.forgotten)


def test_requests_keep_their_order_and_their_columns_ascend(experiment):
    context = context_of(experiment("requests=[[Young],[Male,Bald]]"))
    young, male, bald = (context.data.labels.index(one) for one in ("Young", "Male", "Bald"))
    assert context.requests == ((young,), tuple(sorted((male, bald))))


@pytest.mark.parametrize(
    ("overrides", "dataset", "says"),
    [
        (["method=boundary"], "faces", "method=boundary serves singlelabel data, faces is multi"),
        (["forget_label.names=[Mael]"], "faces", "did you mean 'Male'?"),
        (["dataset.task=singlelabel"], "faces", "but faces is multilabel: set dataset.task=multi"),
        (["dataset.task=multilabel"], "digits", "but digits is singlelabel: set dataset.task=sing"),
        (["canaries.withheld=0.5"], "digits", "digits has classes: set canaries.withheld=0"),
    ],
)
def test_what_the_data_do_not_allow_is_one_line(overrides, dataset, says, experiment):
    with pytest.raises(UserError) as caught:
        context_of(experiment(*overrides, dataset=dataset))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_canaries_all_that_was_split_off_is_trained_on(experiment):
    context = context_of(experiment())
    assert context.canaries is None
    assert context.train is context.data.splits["train"]


def test_what_canaries_withhold_is_not_trained_on_and_all_else_is(experiment):
    context = context_of(experiment("canaries.withheld=0.4"))
    (column,), whole = context.request.forgotten, context.data.splits["train"]
    assert whole.known.all()
    assert 0 < context.train.known[:, column].float().mean() < 1
    others = [other for other in range(len(context.data.labels)) if other != column]
    assert context.train.known[:, others].all()
