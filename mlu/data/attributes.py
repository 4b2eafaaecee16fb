"""Names of the face attributes. Nothing heavy is imported: configurations are checked against them."""

CELEBA = tuple(
    """5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair
    Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones
    Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline
    Rosy_Cheeks Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick
    Wearing_Necklace Wearing_Necktie Young""".split()  # noqa: SIM905
)
"""CelebA's 40 attributes, in the order of its label file."""

PAPER = (
    "Arched_Eyebrows", "Bald", "Big_Lips", "Brown_Hair", "Double_Chin",
    "Male", "No_Beard", "Oval_Face", "Pointy_Nose", "Young",
)  # fmt: skip
"""The ten attributes of the paper (Section 7.1) by CelebA's names."""

ALIASES = {"Gender": "Male", "Young_Old": "Young"}
"""The paper's names for two of CelebA's."""
