"""MixUp and CutMix: shares, rectangles and labels, and draws that are a function of seed and step."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from made_photos import squares
from pictorch.datasets.mixing import Mix, draw_mix, mixed
from pictorch.recipe import AugmentSection

MIXUP = AugmentSection(mixup=0.4)
CUTMIX = AugmentSection(cutmix=1.0)
BOTH = AugmentSection(mixup=0.2, cutmix=1.0)
LABELS = torch.tensor([0, 2, 1, 2, 0])
IMAGES = torch.from_numpy(squares(5, 12))


def test_mixup_is_the_weighted_mean_with_the_next_image() -> None:
    images, targets = mixed(IMAGES, LABELS, Mix(1 / 3, None), 3)
    assert (images.dtype, targets.dtype, targets.shape) == (torch.uint8, torch.float32, (5, 3))
    following = torch.cat([IMAGES[1:], IMAGES[:1]])
    expected = ((IMAGES.double() + 2 * following.double()) / 3).round()
    assert torch.equal(images.double(), expected)
    thirds = [[1, 0, 2], [0, 2, 1], [0, 1, 2], [2, 0, 1], [3, 0, 0]]
    torch.testing.assert_close(targets, torch.tensor(thirds) / 3)


@given(st.integers(1, 20), st.integers(0, 2**40 - 1))
@settings(deadline=None, max_examples=50)
def test_labels_of_cutmix_follow_the_pixels(side: int, step: int) -> None:
    """Counted on images that hold their own number."""
    images = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(-1, side, side, 3)
    before = images.clone()
    found, targets = mixed(images, torch.arange(5), draw_mix(CUTMIX, side, seed=1, step=step), 5)
    assert torch.equal(images, before)
    shares = torch.stack([(found[..., 0] == label).double().mean((1, 2)) for label in range(5)], 1)
    torch.testing.assert_close(targets.double(), shares, rtol=0, atol=1e-6)


def test_no_share_changes_nothing_and_all_is_the_next_image() -> None:
    for mix in (Mix(1.0, None), Mix(1.0, (3, 3, 3, 9))):
        images, targets = mixed(IMAGES, LABELS, mix, 3)
        assert torch.equal(images, IMAGES)
        assert torch.equal(targets, torch.eye(3)[LABELS])
    for mix in (Mix(0.0, None), Mix(0.0, (0, 0, 12, 12))):
        assert torch.equal(mixed(IMAGES, LABELS, mix, 3)[0], IMAGES.roll(-1, 0))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_of_mixup_are_of_the_beta_distribution(alpha: float) -> None:
    section = AugmentSection(mixup=alpha)
    shares = [draw_mix(section, 8, seed=0, step=step).share for step in range(400)]
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 0.001


def test_rectangles_of_cutmix_are_everywhere_and_of_every_size() -> None:
    """Alpha 1: the area before cutting off at the edge is even, the centre any pixel."""
    side, count = 32, 600
    mixes = [draw_mix(CUTMIX, side, seed=0, step=step) for step in range(count)]
    boxes = np.array([mix.box for mix in mixes])
    assert boxes.min() == 0
    assert boxes.max() == side
    height, width = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert ((height >= 0) & (width >= 0)).all()
    whole = (boxes[:, :2] > 0).all(1) & (boxes[:, 2:] < side).all(1)
    assert (height == width)[whole].all()
    cover = np.zeros((side, side))
    for top, left, bottom, right in boxes:
        cover[top:bottom, left:right] += 1
    for turned in (cover[::-1], cover[:, ::-1], cover.T):
        assert np.abs(cover - turned).max() < 6 * (2 * cover.max()) ** 0.5
    sizes = np.array([round(side * (1 - u) ** 0.5) for u in (np.arange(10_000) + 0.5) / 10_000])
    expected = np.bincount(sizes, minlength=side + 1)[: side + 1] / 10_000
    inner = np.bincount(height[whole], minlength=side + 1)[:8]  # small ones are seldom cut off
    room = np.array([max(side - size - 1, 0) ** 2 / side**2 for size in range(8)])
    assert (np.abs(inner - count * expected[:8] * room) < 5 * (count * expected[:8]) ** 0.5 + 8).all()


def test_with_both_each_step_draws_one() -> None:
    kinds = [draw_mix(BOTH, 8, seed=0, step=step).box is None for step in range(400)]
    assert abs(sum(kinds) - 200) < 5 * 100**0.5
    pairs = np.bincount(np.array(kinds[:-1]) * 2 + np.array(kinds[1:]), minlength=4)
    assert np.abs(pairs - 100).max() < 5 * 100**0.5


def test_a_mix_is_a_function_of_seed_and_step() -> None:
    for section in (MIXUP, CUTMIX):
        mixes = [draw_mix(section, 32, seed=seed, step=step) for seed in (0, 1) for step in range(20)]
        assert len({mix.share for mix in mixes}) > 35
        assert mixes[:20] == [draw_mix(section, 32, seed=0, step=step) for step in range(20)]
        assert mixes[7] == draw_mix(section, 32, seed=0, step=7)
