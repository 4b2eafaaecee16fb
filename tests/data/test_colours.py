import numpy as np
import pytest
from PIL import Image, ImageCms

from mlu.data.colours import leaves_colours, to_srgb


def profile(space):
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()


@pytest.mark.parametrize("icc", [profile("sRGB"), profile("LAB"), b"", b"nonsense" * 99])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_profile_that_changes_nothing_or_is_of_other_images_is_none(icc, mode):
    assert to_srgb(icc, mode) is None


@pytest.mark.parametrize(("apart", "same"), [(0, True), (2, True), (3, False)])
def test_colours_stay_where_no_level_moves_far(apart, same):
    class Shift:
        def apply(self, image):
            return Image.fromarray(
                np.clip(np.asarray(image).astype(int) + apart, 0, 255).astype(np.uint8)
            )

    assert leaves_colours(Shift(), "RGB") is same
