import pytest

from mlu.data.labels import PAPER
from mlu.data.sets.faces.dataset import Faces


@pytest.fixture
def faces(tmp_path):
    return Faces(name="faces", root=tmp_path, image_size=32, labels=PAPER, images=60)
