"""Pictures of another shape than the model learned from, where it takes them whole: how to cut them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from edge_har.model.preprocess import FrameSpec
from edge_har.sources import Address

# What models with a square frame learned from: the shape of the usual data sets, and of the synthetic person.
USUAL_SHAPE = Fraction(4, 3)
# Narrower and wider by these factors the synthetic person (nine actions, twelve drawings each) was recognised
# about as well; from 5:3 on, and below 6:5, noticeably worse. 352x288 and 720x480, which hold 4:3 with pixels
# that are not square, are within.
NEAR = (0.9, 1.22)


@dataclass(frozen=True)
class Squeezed:
    """A picture that `stretch` distorts.

    size_wh: of the picture as the source gives it, in px. shape: width : height of those that the model
    learned from. address: of the source; None where it has none.
    """

    size_wh: tuple[int, int]
    shape: Fraction
    address: Address | None

    @property
    def part(self) -> tuple[int, int, int, int]:
        """The largest central part of the picture that has the right shape: x, y, width, height in px."""
        width, height = self.size_wh
        cut_w = min(width, max(1, round(height * self.shape)))
        cut_h = min(height, max(1, round(width / self.shape)))
        return (width - cut_w) // 2, (height - cut_h) // 2, cut_w, cut_h

    @property
    def reason(self) -> str:
        """What is wrong, in words."""
        width, height = self.size_wh
        return (
            f"{width}x{height} is squeezed: the model learned from pictures of "
            f"{self.shape.numerator}:{self.shape.denominator}, and recognises less in others"
        )

    def __str__(self) -> str:
        if self.address is None:
            advice = f"cut it to {','.join(map(str, self.part))} (x, y, width, height)"
        else:
            advice = self.address.crop_advice(self.part)
        return f"{self.reason}; {advice}"


def squeezed(size_wh: tuple[int, int], spec: FrameSpec, address: Address | None) -> Squeezed | None:
    """What is to be known of pictures of `size_wh` px; None where the model takes them as they are.

    A model whose frame is not square learned from pictures of the frame's shape.
    """
    if spec.fit != "stretch":
        return None
    frame_w, frame_h = spec.size_wh
    shape = USUAL_SHAPE if frame_w == frame_h else Fraction(frame_w, frame_h)
    least, most = NEAR
    if least <= size_wh[0] / size_wh[1] / shape <= most:
        return None
    return Squeezed(size_wh, shape, address)
