"""A picture is drawn, saved in each form that there is, and comes back as one sees it."""

import io
import struct
import warnings

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from mlu.data.decoding import decoded
from mlu.data.treatment import treatments
from mlu.system.errors import UserError
from tests.support.made_images import GREY, GREY_ALPHA, PALETTE, RGB, RGBA, png, tiff

SIZE = 12
LEVELS = np.kron(np.arange(9).reshape(3, 3) * 31, np.ones((4, 4))).astype(np.uint8)
"""Nine blocks from black to nearly white, so that no turn looks like another."""
PICTURE = np.stack([LEVELS, 255 - LEVELS.T, LEVELS[::-1]], -1)
"""Blocks of nine colours."""
SEEN = np.kron([[0, 85, 170], [255, 0, 85], [170, 255, 0]], np.ones((4, 4))).astype(np.uint8)
"""Opacity."""
GREYS = np.repeat(LEVELS[..., None], 3, -1)


def over_white(colours, alpha):
    share = alpha[..., None] / 255
    return np.rint(colours * share + 255 * (1 - share))


def hidden(colours, where):
    """The picture with white where something holds."""
    return np.where(where[..., None], 255, colours)


def saved(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def read(content, folder, name="a.img", size=SIZE):
    (folder / name).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "(Possibly c|C)orrupt EXIF data")
        return decoded(folder / name, size).astype(int)


def check(content, truth, folder, within=1):
    np.testing.assert_allclose(read(content, folder), truth, atol=within)


WIDE = LEVELS.astype(np.uint16) * 257 + 30
"""Grey of 16 bits: of their low byte alone one would see nothing."""
WIDE_GREYS = np.rint(np.repeat(WIDE[..., None], 3, -1) / 257)
IS_THIRD = LEVELS == 62
IS_BLUE = (PICTURE[0, 4] == PICTURE).all(-1)
NINE = LEVELS // 31
COLOURS = PICTURE[::4, ::4].reshape(9, 3)
"""Palette of the nine blocks."""
BITS = np.repeat((LEVELS > 100)[..., None] * 255, 3, -1)


def with_alpha(colours, alpha):
    return np.dstack([colours, alpha]).astype(np.uint8)


PNGS = {
    "grey of 1 bit": (png(LEVELS > 100, GREY, 1), BITS),
    "grey of 1 bit, white is clear": (
        png((LEVELS > 100) * 1, GREY, 1, tRNS=struct.pack(">H", 1)),
        hidden(BITS, LEVELS > 100),
    ),
    "grey of 1 bit, black is clear": (
        png((LEVELS > 100) * 1, GREY, 1, tRNS=struct.pack(">H", 0)),
        hidden(BITS, LEVELS <= 100),
    ),
    "grey of 2 bits": (png(LEVELS // 85, GREY, 2), GREYS // 85 * 85),
    "grey of 2 bits, one clear": (
        png(LEVELS // 85, GREY, 2, tRNS=struct.pack(">H", 1)),
        hidden(GREYS // 85 * 85, LEVELS // 85 == 1),
    ),
    "grey of 4 bits": (png(LEVELS // 17, GREY, 4), GREYS // 17 * 17),
    "grey of 4 bits, one clear": (
        png(LEVELS // 17, GREY, 4, tRNS=struct.pack(">H", 62 // 17)),
        hidden(GREYS // 17 * 17, IS_THIRD),
    ),
    "grey": (png(LEVELS, GREY), GREYS),
    "grey, one clear": (png(LEVELS, GREY, tRNS=struct.pack(">H", 62)), hidden(GREYS, IS_THIRD)),
    "grey of 16 bits": (png(WIDE, GREY, 16), WIDE_GREYS),
    "grey of 16 bits, one clear": (
        png(WIDE, GREY, 16, tRNS=struct.pack(">H", 62 * 257 + 30)),
        hidden(WIDE_GREYS, IS_THIRD),
    ),
    "grey and alpha": (png(np.dstack([LEVELS, SEEN]), GREY_ALPHA), over_white(GREYS, SEEN)),
    "grey and alpha of 16 bits": (
        png(np.dstack([LEVELS, SEEN]).astype(np.uint16) * 257, GREY_ALPHA, 16),
        over_white(GREYS, SEEN),
    ),
    "colours": (png(PICTURE, RGB), PICTURE),
    "colours, one clear": (
        png(PICTURE, RGB, tRNS=struct.pack(">3H", *PICTURE[0, 4].tolist())),
        hidden(PICTURE, IS_BLUE),
    ),
    "colours of 16 bits": (png(PICTURE.astype(np.uint16) * 256 + 30, RGB, 16), PICTURE),
    "colours and alpha": (png(with_alpha(PICTURE, SEEN), RGBA), over_white(PICTURE, SEEN)),
    "colours and alpha of 16 bits": (
        png(with_alpha(PICTURE, SEEN).astype(np.uint16) * 257, RGBA, 16),
        over_white(PICTURE, SEEN),
    ),
    "all clear": (png(with_alpha(PICTURE, SEEN * 0), RGBA), np.full_like(PICTURE, 255)),
    "palette": (png(NINE, PALETTE, 4, PLTE=COLOURS.tobytes()), PICTURE),
    "palette, one clear": (
        png(NINE, PALETTE, 4, PLTE=COLOURS.tobytes(), tRNS=b"\xff\xff\0"),
        hidden(PICTURE, NINE == 2),
    ),
    "palette, each its own opacity": (
        png(NINE, PALETTE, 8, PLTE=COLOURS.tobytes(), tRNS=SEEN[::4, ::4].tobytes()),
        over_white(PICTURE, SEEN),
    ),
    "palette, opacity of the first alone": (
        png(NINE, PALETTE, 8, PLTE=COLOURS.tobytes(), tRNS=b"\x55"),
        over_white(PICTURE, np.where(NINE == 0, 85, 255)),
    ),
}


@pytest.mark.parametrize("form", PNGS)
def test_each_form_of_png_is_what_one_sees(form, tmp_path):
    check(*PNGS[form], tmp_path)


def tiff_of(values, bits, photometric, tags=None, order="<"):
    height, width = values.shape[:2]
    channels = [bits] * (values.shape[2] if values.ndim == 3 else 1)
    return tiff(values.tobytes(), width, height, channels, photometric, tags, order)


def premultiplied(colours):
    return with_alpha(np.rint(colours * (SEEN[..., None] / 255)), SEEN)


WHITE_IS_ZERO, BLACK_IS_ZERO, COLOUR, MAP, INK, LAB = 0, 1, 2, 3, 5, 8
TIFFS = {
    "grey": (tiff_of(LEVELS, 8, BLACK_IS_ZERO), GREYS),
    "negative grey": (tiff_of(255 - LEVELS, 8, WHITE_IS_ZERO), GREYS),
    "grey of 16 bits": (tiff_of(WIDE, 16, BLACK_IS_ZERO), WIDE_GREYS),
    "grey of 16 bits, big-endian": (
        tiff_of(WIDE.astype(">u2"), 16, BLACK_IS_ZERO, order=">"),
        WIDE_GREYS,
    ),
    "negative grey of 16 bits": (tiff_of(65535 - WIDE, 16, WHITE_IS_ZERO), WIDE_GREYS),
    "colours of 16 bits": (tiff_of(PICTURE.astype("<u2") * 257, 16, COLOUR), PICTURE),
    "colours and a fourth channel": (
        tiff_of(with_alpha(PICTURE, SEEN), 8, COLOUR, {338: [0]}),
        PICTURE,
    ),
    "premultiplied colours": (
        tiff_of(premultiplied(PICTURE), 8, COLOUR, {338: [1]}),
        over_white(PICTURE, SEEN),
    ),
    "colours and alpha": (
        tiff_of(with_alpha(PICTURE, SEEN), 8, COLOUR, {338: [2]}),
        over_white(PICTURE, SEEN),
    ),
    "grey and alpha": (
        tiff_of(np.dstack([LEVELS, SEEN]), 8, BLACK_IS_ZERO, {338: [2]}),
        over_white(GREYS, SEEN),
    ),
    "premultiplied grey": (
        tiff_of(premultiplied(GREYS)[..., [0, 3]], 8, BLACK_IS_ZERO, {338: [1]}),
        over_white(GREYS, SEEN),
    ),
    "palette and alpha": (
        tiff_of(
            np.dstack([NINE, SEEN]).astype(np.uint8),
            8,
            MAP,
            {320: np.pad(COLOURS, ((0, 247), (0, 0))).T.ravel().astype(int) * 257, 338: [2]},
        ),
        over_white(PICTURE, SEEN),
    ),
    "ink": (tiff_of(with_alpha(255 - PICTURE, SEEN * 0), 8, INK), PICTURE),
    "Lab": (
        # Mid grey, and red as the CIE says it: L 53, a 80, b 67.
        tiff_of(
            np.where(LEVELS[..., None] > 100, [136, 80, 67], [137, 0, 0]).astype(np.uint8), 8, LAB
        ),
        np.where(LEVELS[..., None] > 100, [255, 0, 0], [128, 128, 128]),
    ),
}


@pytest.mark.parametrize("form", TIFFS)
def test_each_form_of_tiff_is_what_one_sees(form, tmp_path):
    within = 12 if form == "Lab" else 3 if "premultiplied" in form else 1
    check(*TIFFS[form], tmp_path, within)


def test_grey_of_twelve_bits_is_scaled_by_its_range(tmp_path):
    values = np.rint(LEVELS / 255 * 4095).astype(int)
    bits = "".join(f"{value:012b}" for value in values.ravel())
    content = tiff(int(bits, 2).to_bytes(len(bits) // 8), SIZE, SIZE, [12], BLACK_IS_ZERO)
    check(content, GREYS, tmp_path)


def pnm(kind, most, values):
    kept = "u1" if most < 256 else ">u2"
    scaled = np.rint(values / 255 * most).astype(kept)
    return b"P%d %d %d %d\n" % (kind, SIZE, SIZE, most) + scaled.tobytes()


@pytest.mark.parametrize("most", [1, 100, 255, 1023, 65535])
@pytest.mark.parametrize("kind", [5, 6])
def test_portable_maps_of_any_maximum_are_scaled_by_it(kind, most, tmp_path):
    truth = GREYS if kind == 5 else PICTURE
    truth = np.rint(truth / 255 * most) / most * 255
    check(pnm(kind, most, LEVELS if kind == 5 else PICTURE), truth, tmp_path)


def ink_jpeg(mode):
    inked = Image.fromarray(with_alpha(255 - PICTURE, LEVELS * 0), "CMYK")
    return saved(inked, "JPEG", quality=100, subsampling=0)


def test_the_inks_of_adobes_jpeg_are_not_taken_for_light(tmp_path):
    check(ink_jpeg("CMYK"), PICTURE, tmp_path, within=6)


@pytest.mark.parametrize("kind", ["BMP", "GIF", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_plain_pictures_are_what_was_saved_in_any_format(kind, mode, tmp_path):
    options = {"lossless": True} if kind == "WEBP" else {}
    image = Image.fromarray(PICTURE if mode == "RGB" else LEVELS)
    truth = PICTURE if mode == "RGB" else GREYS
    check(saved(image, kind, **options), truth, tmp_path, within=0)


# Orientation ----------------------------------------------------------------------------------

TURN_BACK = {
    1: lambda shown: shown,
    2: lambda shown: shown[:, ::-1],
    3: lambda shown: shown[::-1, ::-1],
    4: lambda shown: shown[::-1],
    5: lambda shown: shown.transpose(1, 0, 2),
    6: lambda shown: np.rot90(shown, 1),
    7: lambda shown: shown[::-1, ::-1].transpose(1, 0, 2),
    8: lambda shown: np.rot90(shown, -1),
}
"""How a camera stores what one sees, by the number that it writes into EXIF."""

UNEVEN = np.pad(PICTURE, ((1, 2), (6, 3), (0, 0)), constant_values=90)
"""A picture that is not square, whose middle square is `MIDDLE`."""
MIDDLE = UNEVEN[:, 3 : 3 + 15]


def exif_of(number):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = number
    return exif


def xmp_of(number):
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
        b'syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
        b'tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>' % number
    )


@pytest.mark.parametrize("number", TURN_BACK)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_picture_comes_upright_whichever_way_the_camera_was_held(kind, number, tmp_path):
    options = {
        "JPEG": {"quality": 100, "subsampling": 0},
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 100, "subsampling": "4:4:4"},
    }
    stored = Image.fromarray(np.ascontiguousarray(TURN_BACK[number](UNEVEN)))
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {kind}")
    content = saved(stored, kind, exif=exif_of(number), **options.get(kind, {}))
    within = 12 if kind in ("JPEG", "AVIF") else 0
    np.testing.assert_allclose(read(content, tmp_path, size=15), MIDDLE, atol=within)
    assert ("turned" in treatments(tmp_path / "a.img")) == (number > 1)


@pytest.mark.parametrize("number", [3, 5, 6])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "I;16", "CMYK"])
def test_pictures_of_any_mode_come_upright(mode, kind, number, tmp_path):
    """Also what Pillow maps into memory, uncompressed TIFFs, which it turns by itself."""
    image = Image.fromarray(UNEVEN)
    image = Image.fromarray(UNEVEN[..., 0].astype("u2") * 257) if mode == "I;16" else image
    image = image if mode == "I;16" else image.convert(mode)
    truth = np.repeat(UNEVEN[..., :1], 3, -1) if mode == "I;16" else np.array(image.convert("RGB"))
    back = {3: "ROTATE_180", 5: "TRANSPOSE", 6: "ROTATE_90"}[number]
    if (mode, kind) == ("CMYK", "PNG"):
        return
    content = saved(image.transpose(Image.Transpose[back]), kind, exif=exif_of(number))
    np.testing.assert_allclose(read(content, tmp_path, size=15), truth[:, 3:18], atol=1)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_the_orientation_in_xmp_counts_where_exif_has_none(kind, tmp_path):
    options = {"quality": 100} | ({"subsampling": 0} if kind == "JPEG" else {"lossless": True})
    stored = Image.fromarray(np.ascontiguousarray(TURN_BACK[6](UNEVEN)))
    content = saved(stored, kind, xmp=xmp_of(6), **options)
    np.testing.assert_allclose(read(content, tmp_path, size=15), MIDDLE, atol=12)


def test_a_large_photograph_is_turned_before_it_is_cut_though_it_is_decoded_small(tmp_path):
    large = np.kron(UNEVEN, np.ones((40, 40, 1))).astype(np.uint8)
    stored = Image.fromarray(np.ascontiguousarray(TURN_BACK[6](large)))
    content = saved(stored, "JPEG", exif=exif_of(6), quality=95)
    found = read(content, tmp_path, size=15)
    assert np.abs(found - MIDDLE).mean() < 8


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"Exif\0\0",
        b"Exif\0\0nonsense",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\x01\0\0\0",
        exif_of(0).tobytes(),
        exif_of(9).tobytes(),
        exif_of(65535).tobytes(),
    ],
)
def test_damaged_exif_and_numbers_that_mean_nothing_turn_nothing(exif, tmp_path):
    content = saved(Image.fromarray(PICTURE), "JPEG", exif=exif, quality=100, subsampling=0)
    check(content, PICTURE, tmp_path, within=6)


# Frames ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_of_several_frames_the_first_is_shown(kind, tmp_path):
    frames = [Image.fromarray(PICTURE), Image.fromarray(255 - PICTURE)]
    options = {"WEBP": {"lossless": True}, "MPO": {"quality": 100, "subsampling": 0}}
    content = saved(
        frames[0], kind, save_all=True, append_images=frames[1:], **options.get(kind, {})
    )
    check(content, PICTURE, tmp_path, within=6 if kind == "MPO" else 0)
    assert "animated" in treatments(tmp_path / "a.img")


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_what_is_transparent_in_the_first_frame_is_white(kind, tmp_path):
    frames = [
        Image.fromarray(with_alpha(PICTURE, SEEN)),
        Image.fromarray(with_alpha(255 - PICTURE, SEEN)),
    ]
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    check(content, over_white(PICTURE, SEEN), tmp_path)
    assert treatments(tmp_path / "a.img") == ["composed", "animated"]


def gif(values, palette, left, top, width, height, clear=None):
    """A GIF of 16 colours whose only frame covers a part, without compression."""
    rows, cols = values.shape
    control = b"" if clear is None else b"!\xf9\x04\x01\0\0" + bytes([clear]) + b"\0"
    codes, bits = [], ""
    for value in values.ravel().tolist():
        codes += [16, value]  # the code that clears the table, before each pixel
    codes.append(17)
    bits = "".join(f"{code:05b}" for code in reversed(codes))
    data = int(bits, 2).to_bytes(-(-len(bits) // 8), "little")
    blocks = b"".join(
        bytes([len(data[start : start + 255])]) + data[start : start + 255]
        for start in range(0, len(data), 255)
    )
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0xB3, 0, 0)
        + palette.tobytes().ljust(48, b"\0")
        + control
        + b","
        + struct.pack("<HHHHB", left, top, cols, rows, 0)
        + b"\x04"
        + blocks
        + b"\0;"
    )


@pytest.mark.parametrize("clear", [None, 4])
def test_a_gifs_frame_that_covers_a_part_lies_on_white(clear, tmp_path):
    content = gif(NINE, COLOURS, 1, 2, 15, 15, clear)
    truth = np.full((15, 15, 3), 255)
    truth[2:14, 1:13] = PICTURE if clear is None else hidden(PICTURE, clear == NINE)
    np.testing.assert_array_equal(read(content, tmp_path, size=15), truth)
    assert treatments(tmp_path / "a.img") == ["composed"]


# Colours --------------------------------------------------------------------------------------


def profile(space):
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()


def matrix_profile(columns, gamma):
    """A profile of three colours and one curve, byte by byte (ICC.1:2001).

    Args:
        columns: XYZ of red, green and blue at D50.
        gamma: Of the curve.
    """

    def number(value):
        return struct.pack(">i", round(value * 65536))

    white = b"".join(map(number, (0.9642, 1.0, 0.8249)))
    tags = {b"wtpt": b"XYZ \0\0\0\0" + white}
    for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True):
        tags[name] = b"XYZ \0\0\0\0" + b"".join(map(number, column))
    for name in (b"rTRC", b"gTRC", b"bTRC"):
        tags[name] = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    tags[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"P\0" + b"\0" * 78
    tags[b"cprt"] = b"text\0\0\0\0none\0\0\0\0"
    place, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        content = content.ljust(-(-len(content) // 4) * 4, b"\0")
        table += name + struct.pack(">II", place + len(body), len(content))
        body += content
    head = struct.pack(
        ">I4sI4s4s4s", place + len(body), b"lcms", 0x02200000, b"mntr", b"RGB ", b"XYZ "
    )
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + b"\0" * 28 + white
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


P3 = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
"""Display P3's colours at D50, as in Apple's profile."""
SRGB = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7139))


def linear(levels):
    share = levels / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def levels_of(light):
    light = np.clip(light, 0, 1)
    share = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(share * 255)


def from_p3(colours, gamma=2.2):
    xyz = (colours / 255) ** gamma @ np.array(P3)
    return levels_of(xyz @ np.linalg.inv(np.array(SRGB)))


MUTED = (PICTURE // 2 + 64).astype(np.uint8)
"""Colours that sRGB has too."""


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_phones_wide_colours_become_those_of_the_screen(kind, tmp_path):
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    content = saved(
        Image.fromarray(MUTED), kind, icc_profile=matrix_profile(P3, 2.2), **options.get(kind, {})
    )
    truth = from_p3(MUTED)
    assert np.abs(truth - MUTED).max() > 15
    check(content, truth, tmp_path, within=8 if kind == "JPEG" else 2)
    assert treatments(tmp_path / "a.img") == ["converted"]


def test_transparent_wide_colours_are_converted_before_they_lie_on_white(tmp_path):
    image = Image.fromarray(with_alpha(MUTED, SEEN))
    content = saved(image, "PNG", icc_profile=matrix_profile(P3, 2.2))
    check(content, over_white(from_p3(MUTED), SEEN), tmp_path, within=2)


def test_grey_with_a_profile_of_colours_gets_its_curve(tmp_path):
    content = saved(Image.fromarray(LEVELS), "PNG", icc_profile=matrix_profile(SRGB, 1.0))
    check(content, levels_of(GREYS / 255), tmp_path, within=3)


@pytest.mark.parametrize(
    "icc",
    [
        profile("sRGB"),
        b"",
        b"nonsense",
        matrix_profile(P3, 2.2)[:200],
        matrix_profile(P3, 2.2).replace(b"acsp", b"none"),
        profile("LAB"),
    ],
    ids=["sRGB", "empty", "nonsense", "cut", "unsigned", "of Lab"],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_profile_that_is_srgbs_or_damaged_changes_no_bit(kind, icc, tmp_path):
    options = {"quality": 100} if kind == "JPEG" else {}
    image = Image.fromarray(PICTURE)
    plain = read(saved(image, kind, **options), tmp_path)
    content = saved(image, kind, icc_profile=icc, **options)
    np.testing.assert_array_equal(read(content, tmp_path), plain)
    assert treatments(tmp_path / "a.img") == []


# What is refused ------------------------------------------------------------------------------

UNTRUE = {
    "32 bits": tiff_of(LEVELS.astype("<u4"), 32, BLACK_IS_ZERO),
    "32 bits with a sign": tiff_of(LEVELS.astype("<i4"), 32, BLACK_IS_ZERO, {339: [2]}),
    "16 bits with a sign": tiff_of(LEVELS.astype("<i2"), 16, BLACK_IS_ZERO, {339: [2]}),
    "8 bits with a sign": tiff_of(LEVELS.astype("i1"), 8, BLACK_IS_ZERO, {339: [2]}),
    "float": tiff_of((LEVELS / 255).astype("<f4"), 32, BLACK_IS_ZERO, {339: [3]}),
    "float of portable maps": b"Pf 12 12 -1.0\n" + (LEVELS / 255).astype("<f4").tobytes(),
    "a clear colour of 16 bits": png(
        PICTURE.astype(np.uint16) * 257, RGB, 16, tRNS=struct.pack(">3H", 1, 2, 3)
    ),
}


UNKNOWN = {
    "32+32+32 bits, whole": tiff_of(PICTURE.astype("<u4"), 32, COLOUR),
    "32+32+32 bits, floating": tiff_of((PICTURE / 255).astype("<f4"), 32, COLOUR, {339: [3] * 3}),
    "16+16+16 bits, signed": tiff_of(PICTURE.astype("<i2"), 16, COLOUR, {339: [2] * 3}),
    "64 bits, whole": tiff_of(LEVELS.astype("<u8"), 64, BLACK_IS_ZERO),
    "24 bits, whole": tiff(PICTURE.tobytes(), SIZE, SIZE, [24], BLACK_IS_ZERO),
}


@pytest.mark.parametrize("form", UNKNOWN)
def test_a_mode_that_pillow_does_not_know_is_refused_by_file_and_mode(form, tmp_path):
    with pytest.raises(UserError, match=r"a\.img: it is damaged, or of a mode that") as told:
        read(UNKNOWN[form], tmp_path)
    assert f"(TIFF, {form} numbers)" in str(told.value)


@pytest.mark.parametrize("form", UNTRUE)
def test_what_cannot_be_shown_truthfully_is_refused_by_file_and_mode(form, tmp_path):
    with pytest.raises(UserError, match=r"cannot read the image .*a\.img: its pixels \(mode"):
        read(UNTRUE[form], tmp_path)


@pytest.mark.parametrize(
    ("name", "tags"),
    [("a.NEF", {}), ("a.arw", {}), ("a.tif", {50706: [1, 4, 0, 0]}), ("a.dng", {})],
)
def test_the_thumbnail_of_a_cameras_raw_file_is_not_taken_for_the_picture(name, tags, tmp_path):
    content = tiff_of(PICTURE, 8, COLOUR, tags)
    with pytest.raises(UserError, match=r"it is a camera's raw file: develop it .*darktable-cli"):
        read(content, tmp_path, name)
    assert read(saved(Image.fromarray(PICTURE), "PNG"), tmp_path, "b.nef").shape == (SIZE, SIZE, 3)


# What must stay -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(("width", "height"), [(178, 218), (640, 480)])
def test_an_ordinary_photograph_keeps_each_bit(kind, width, height, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    photo = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    content = saved(photo, kind, quality=90)
    plain = Image.open(io.BytesIO(content))
    plain.draft("RGB", (64, 64))
    plain = plain.convert("RGB")
    side = min(plain.size)
    left, top = (plain.width - side) // 2, (plain.height - side) // 2
    plain = plain.crop((left, top, left + side, top + side))
    plain = plain.resize((32, 32), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(read(content, tmp_path, size=32), np.asarray(plain))


def test_a_bitmap_whose_fourth_byte_is_empty_is_no_empty_picture(tmp_path):
    pixels = with_alpha(PICTURE[::-1, :, ::-1], LEVELS * 0).tobytes()
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    info = struct.pack("<IiiHHIIiiII", 108, SIZE, SIZE, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    info += masks + b"BGRs" + b"\0" * 48
    head = b"BM" + struct.pack("<IHHI", 14 + 108 + len(pixels), 0, 0, 14 + 108)
    check(head + info + pixels, PICTURE, tmp_path)


def test_interlaced_pictures_are_whole(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(PICTURE).quantize(16).save(stream, "GIF", interlace=1)
    check(stream.getvalue(), PICTURE, tmp_path, within=0)
    progressive = saved(
        Image.fromarray(PICTURE), "JPEG", progressive=True, quality=100, subsampling=0
    )
    check(progressive, PICTURE, tmp_path, within=6)
