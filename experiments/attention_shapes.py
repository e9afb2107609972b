"""Shapes at which this project's networks use position attention."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class AttentionShape:
    """One use: q and k are `[batch, positions, qk_width]`, v is `[batch, positions, v_width]`."""

    batch: int
    positions: int
    qk_width: int
    v_width: int

    def arrays(self) -> list[tuple[int, int, int]]:
        """Returns the shapes of q, k, v and the output's gradient."""
        widths = (self.qk_width, self.qk_width, self.v_width, self.v_width)
        return [(self.batch, self.positions, width) for width in widths]


# Positions are pixels / 8^2 (output stride 8). SA1 follows stage 3 of the ResNet and SA2 stage 4;
# q and k have an eighth of the features' width.
SHAPES = {
    "voc_sa1": AttentionShape(8, 41 * 41, 128, 1024),  # crops of 321 x 321
    "voc_sa2": AttentionShape(8, 41 * 41, 256, 2048),
    "voc_evaluation_sa1": AttentionShape(1, 64 * 64, 128, 1024),  # whole images in 505 x 505
    "voc_evaluation_sa2": AttentionShape(1, 64 * 64, 256, 2048),
    "cityscapes_sa1": AttentionShape(2, 65 * 129, 128, 1024),  # 512 x 1024
    "cityscapes_sa2": AttentionShape(2, 65 * 129, 256, 2048),
    "camvid_sa1": AttentionShape(4, 23 * 30, 64, 512),  # 180 x 240, a ResNet of half the width
    "camvid_sa2": AttentionShape(4, 23 * 30, 128, 1024),
}
