"""TrivialAugment and RandAugment: operations, ranges and order as torchvision has them, even draws."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from made_photos import squares
from pictorch.datasets import colors, geometry, policies
from pictorch.datasets.policies import OPERATIONS, draw_policy, policy_matrices, recolored, strengths
from pictorch.recipe import AugmentSection

SIDE = 32
PHOTOS = torch.from_numpy(squares(14, SIDE))
TRIVIAL = AugmentSection(policy="trivial_augment")
RAND = AugmentSection(policy="rand_augment", policy_operations=3, policy_magnitude=12)
BLENDS = slice(OPERATIONS.index("brightness"), OPERATIONS.index("sharpness") + 1)


def number_of(name: str) -> int:
    return OPERATIONS.index(name)


@pytest.mark.parametrize(
    ("policy", "peer"), [("trivial_augment", v2.TrivialAugmentWide), ("rand_augment", v2.RandAugment)]
)
@pytest.mark.parametrize("side", [8, 32, 224])
def test_operations_and_ranges_are_those_of_torchvision(policy: str, peer: type, side: int) -> None:
    space = peer._AUGMENTATION_SPACE
    assert [name.lower() for name in space] == [name.replace("_", "") for name in OPERATIONS]
    table = strengths(policy, side)
    for number, (name, (magnitudes, is_signed)) in enumerate(space.items()):
        values = magnitudes(31, side, side)
        expected = np.zeros(31) if values is None else values.double().numpy()
        if name.startswith("Translate"):
            if policy == "trivial_augment":  # torchvision moves an image of 8 pixels by up to 32
                expected = expected * min(1, side / 32)
            expected = np.trunc(expected + 1e-4)  # float32 of torchvision has 15.999999 among them
        if name == "Solarize":
            expected = 255 * expected
        np.testing.assert_allclose(table[number], expected, atol=2e-5, err_msg=name)
        assert policies._SIGNED[number] == is_signed


def test_trivial_augment_draws_operation_strength_and_sign_evenly() -> None:
    count = 60_000
    operations, amounts = draw_policy(TRIVIAL, SIDE, seed=0, epoch=0, samples=np.arange(count))
    assert operations.shape == amounts.shape == (count, 1)
    per_operation = np.bincount(operations[:, 0], minlength=14)
    assert np.abs(per_operation - count / 14).max() < 5 * (count / 14) ** 0.5
    table = strengths("trivial_augment", SIDE)
    for number, found in enumerate(per_operation):
        drawn = amounts[operations[:, 0] == number, 0]
        if table[number].any():
            values, counts = np.unique(np.abs(drawn), return_counts=True)
            bins = [(table[number] == value).sum() for value in values]
            expected = found * np.array(bins) / 31
            assert expected.sum() == pytest.approx(found)
            assert (np.abs(counts - expected) < 5 * expected**0.5).all()
        if 1 <= number <= 9:
            strong = drawn[drawn != 0]
            assert abs(np.corrcoef(np.abs(strong), strong < 0)[0, 1]) < 5 / found**0.5
            assert abs((drawn < 0).sum() - (drawn > 0).sum()) < 5 * found**0.5
        else:
            assert (drawn >= 0).all()


def test_rand_augment_has_one_strength_and_draws_each_operation_anew() -> None:
    count = 30_000
    operations, amounts = draw_policy(RAND, SIDE, seed=0, epoch=0, samples=np.arange(count))
    assert operations.shape == amounts.shape == (count, 3)
    np.testing.assert_array_equal(np.abs(amounts), strengths("rand_augment", SIDE)[operations, 12])
    pairs = np.bincount(operations[:, 0] * 14 + operations[:, 2], minlength=196)
    assert np.abs(pairs - count / 196).max() < 5 * (count / 196) ** 0.5


def test_strength_zero_of_rand_augment_moves_and_blends_nothing() -> None:
    section = AugmentSection(policy="rand_augment", policy_magnitude=0)
    operations, amounts = draw_policy(section, SIDE, seed=0, epoch=0, samples=np.arange(400))
    np.testing.assert_array_equal(policy_matrices(operations, amounts, SIDE), geometry.unchanged(400))
    operations[operations > number_of("posterize")] = 0
    images = PHOTOS.repeat(30, 1, 1, 1)[:400]
    assert torch.equal(recolored(images, operations, torch.from_numpy(amounts).float()), images)


def test_geometric_operations_are_composed_in_their_order() -> None:
    names = ["rotate", "color", "shear_x", "translate_y"]
    operations = np.array([[number_of(name) for name in names]])
    found = policy_matrices(operations, np.array([[30.0, 0.5, -0.4, 6.0]]), SIDE)
    one = geometry.composed(geometry.rotations(np.array([30.0])), geometry.shears(np.array([-0.4]), 0))
    expected = geometry.composed(one, geometry.translations(np.array([6.0]), 1, SIDE))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_each_image_has_its_own_operations_in_their_order() -> None:
    names = OPERATIONS[BLENDS.start :]
    operations = np.array([[number_of(names[i % 8]), number_of(names[(i + 3) % 8])] for i in range(14)])
    amounts = torch.linspace(-0.8, 0.8, 28).view(14, 2)
    amounts[operations == number_of("posterize")] = 4
    amounts[operations == number_of("solarize")] = 99.5
    before = PHOTOS.clone()
    found = recolored(PHOTOS, operations, amounts)
    assert torch.equal(PHOTOS, before)
    changes = {
        "brightness": colors.brightness,
        "color": colors.saturation,
        "contrast": colors.contrast,
        "sharpness": colors.sharpness,
    }
    others = {
        "posterize": colors.posterize,
        "solarize": colors.solarize,
        "autocontrast": lambda images, _: colors.autocontrast(images),
        "equalize": lambda images, _: colors.equalize(images),
    }
    for row in range(14):
        image = PHOTOS[row : row + 1]
        for operation, amount in zip(operations[row], amounts[row, :, None], strict=True):
            name = OPERATIONS[operation]
            if name in changes:
                image = colors.as_images(changes[name](colors.as_pixels(image), 1 + amount))
            else:
                image = others[name](image, amount)
        assert torch.equal(found[row], image[0]), row


def test_draws_are_a_function_of_seed_epoch_and_sample() -> None:
    def drawn(seed: int, epoch: int, samples: list[int]) -> list[list[tuple[float, ...]]]:
        found = draw_policy(RAND, SIDE, seed=seed, epoch=epoch, samples=np.array(samples))
        return np.concatenate(found, axis=1).tolist()

    once = drawn(5, 9, [7, 3, 12_345, 3])
    assert once[1] == once[3]
    assert drawn(5, 9, [12_345]) == [once[2]]
    assert once[:3] != drawn(6, 9, [7, 3, 12_345])
    assert once[:3] != drawn(5, 10, [7, 3, 12_345])
