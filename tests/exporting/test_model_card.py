import pytest

from pictorch.bundle import BundleFacts
from pictorch.exporting.model_card import model_card
from pictorch.images import InputSpec

SCORES = {"n": 1200, "accuracy": 0.9125, "accuracy_interval": (0.8951, 0.9272), "loss": 0.3, "top5": None}


def card(metrics=None, classes=("cat", "dog"), image_size=32):
    facts = BundleFacts(
        class_names=tuple(classes),
        input=InputSpec(stored_size=32, image_size=image_size),
        recipe={"name": "pets", "model": {"name": "simple_net"}, "data": {"source": "photos"}},
        data_fingerprint="ab12",
        checkpoint="best",
        metrics={"test_openings": 0, **(metrics or {})},
        licence="not stated: ask the trainer",
        opset=20,
    )
    return model_card(facts, golden_images=16, parity_images=1000)


def test_card_says_what_the_model_is_and_takes():
    text = card()
    names = ("# pets", "`simple_net`", "`photos`", "`ab12`", "`best`", "`cat`, `dog`", "not stated: ask")
    numbers = ("32 x 32", "1,000 images", "16 images", "operator set 20")
    for phrase in names + numbers:
        assert phrase in text


def test_scores_stand_with_n_and_interval():
    assert "| test | 1,200 | 91.25% | 89.51% to 92.72% |" in card({"test": SCORES, "test_openings": 2})


@pytest.mark.parametrize(("openings", "words"), [(1, "opened 1 time in"), (3, "opened 3 times in")])
def test_openings_of_the_test_images_are_told(openings, words):
    assert words in card({"test": SCORES, "test_openings": openings})


def test_validation_score_alone_comes_with_its_caution():
    text = card({"val": SCORES})
    assert "| validation | 1,200 |" in text
    assert "leans to the bright side" in text


def test_no_score_is_said():
    assert "was not evaluated" in card()


def test_enlargement_is_told_where_there_is_one():
    assert "enlarges to 64 x 64" in card(image_size=64)
    assert "enlarges" not in card()


def test_long_lists_of_classes_are_cut():
    text = card(classes=[f"class{i}" for i in range(1000)])
    assert "`class99` and 900 more in bundle.json" in text
    assert "class100" not in text
