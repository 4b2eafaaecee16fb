"""The order of outputs: a permutation is noticed, a weak output is none."""

import numpy as np
import pytest
import torch

from mlu.auditing.order import refuse_other_order
from mlu.system.errors import UserError
from tests.support.victims import outputs

NAMES = ("a", "b", "c")


def said(order=(0, 1, 2), strengths=(3, 3, 3), seed=0):
    random = np.random.default_rng(seed)
    truth = random.random((200, 3)) < 0.5
    logits = random.normal(size=(200, 3)) + truth * np.array(strengths)
    return outputs(torch.tensor(truth).float(), torch.tensor(logits[:, order]).float())


def test_outputs_in_the_order_of_the_labels_are_taken():
    for strengths in ((3, 3, 3), (0, 3, 3), (0, 0, 3), (0, 0, 0)):
        for seed in range(5):
            refuse_other_order("before", said(strengths=strengths, seed=seed), NAMES, range(3))


@pytest.mark.parametrize("order", [(1, 0, 2), (1, 2, 0), (2, 1, 0)])
def test_another_order_is_noticed(order):
    with pytest.raises(UserError, match=r"before: the output in the place of .* tells .* better"):
        refuse_other_order("before", said(order), NAMES, range(3))


def test_what_a_model_need_not_know_is_not_looked_at():
    refuse_other_order("after", said((1, 0, 2)), NAMES, [2])
    constant = said((1, 0, 2))
    constant.logits[:, :2] = 0
    refuse_other_order("after", constant, NAMES, range(3))
