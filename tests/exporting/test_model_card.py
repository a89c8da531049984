import pytest
import yaml

from pictorch.bundle import BundleFacts
from pictorch.exporting.export import export
from pictorch.exporting.model_card import RunFacts, model_card
from pictorch.images import InputSpec
from pictorch.run_folder import ClassScore

SCORES = {"n": 1200, "accuracy": 0.9125, "accuracy_interval": (0.8951, 0.9272), "loss": 0.3, "top5": None}
COUNTS = {"train": 4500, "val": 500, "test": 0}


def card(metrics=None, classes=("cat", "dog"), image_size=32, run=None, **recipe):
    facts = BundleFacts(
        class_names=tuple(classes),
        input=InputSpec(stored_size=32, image_size=image_size),
        recipe={"name": "pets", "model": {"name": "simple_net"}, "data": {"source": "photos"}, **recipe},
        data_fingerprint="ab12",
        checkpoint="best",
        metrics={"test_openings": 0, **(metrics or {})},
        licence="not stated: ask the trainer",
        opset=20,
    )
    return model_card(facts, run or RunFacts(None, COUNTS), golden_images=16, parity_images=1000)


def front_matter(text):
    """Returns what stands between the first two lines of three dashes, as a YAML parser reads it."""
    _, head, body = text.split("---\n", 2)
    assert body.startswith("\n# pets")
    return yaml.safe_load(head)


def test_front_matter_is_what_the_hub_reads():
    run = RunFacts("cifar10", COUNTS)
    record = front_matter(card({"test": SCORES, "val": SCORES}, run=run))
    assert record["license"] == "unknown"
    assert record["library_name"] == "pictorch"
    assert record["pipeline_tag"] == "image-classification"
    assert record["datasets"] == ["uoft-cs/cifar10"]
    (model,) = record["model-index"]
    assert model["name"] == "pets"
    assert [result["dataset"]["split"] for result in model["results"]] == ["validation", "test"]
    for result in model["results"]:
        assert result["task"] == {"type": "image-classification"}
        assert result["dataset"].items() >= {"name": "cifar10", "type": "uoft-cs/cifar10"}.items()
        (metric,) = result["metrics"]
        assert (metric["type"], metric["value"]) == ("accuracy", 0.9125)
        assert "0.8951 to 0.9272, n = 1200" in metric["name"]


def test_front_matter_names_no_data_set_and_no_score_that_are_not_known():
    record = front_matter(card())
    assert not record.keys() & {"datasets", "model-index"}


@pytest.mark.parametrize("name", ["a: b", "null", "- [x", "'\\\"#", "猫", "line\nbreak"])
def test_any_name_of_a_data_set_leaves_the_front_matter_whole(name):
    record = front_matter(card({"test": SCORES}, data={"source": name}))
    assert record["model-index"][0]["results"][0]["dataset"]["name"] == name


def test_classes_have_their_scores_and_the_weakest_is_named():
    scores = [ClassScore("cat", 500, 0.9, 0.8, 0.85, None), ClassScore("a|`b", 500, 0.5, 0.6, 0.55, 0.9)]
    text = card(run=RunFacts(None, COUNTS, scores, "test"))
    assert "On test images:" in text
    assert "| `cat` | 500 | 90.00% | 80.00% | 76.27% to 83.27% | 85.00% |" in text
    assert "weakest class is `` a\\|`b ``, with an F1 of 55.00%" in text


def test_of_very_many_classes_the_weakest_are_shown():
    scores = [ClassScore(f"c{n}", 5, 0.5, 0.4, (n * 37 % 101) / 101, None) for n in range(101)]
    text = card(classes=[score.name for score in scores], run=RunFacts(None, COUNTS, scores))
    rows = [line for line in text.splitlines() if line.startswith("| `c")]
    assert len(rows) == 20
    assert rows[0].startswith("| `c0` ")
    assert rows[-1].endswith(f"{19 / 101:.2%} |")


def test_recipe_is_told_by_what_differs_from_the_defaults():
    text = card(optimizer={"lr": 0.05, "momentum": 0.9}, train={"epochs": 3}, augment={"flip": "none"})
    told = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    assert told == {
        "name": "pets",
        "data": {"source": "photos"},
        "model": {"name": "simple_net"},
        "optimizer": {"lr": 0.05},
        "train": {"epochs": 3},
    }


def test_images_of_each_split_are_counted():
    assert "Images: 4,500 for training, 500 validation." in card()


def test_exported_card_has_the_scores_of_these_very_weights(run):
    """With no evaluation they are those that training validated with, epoch by epoch."""
    bundle = export(run, checkpoint="epoch-2")
    text = bundle.files["MODEL_CARD.md"].decode()
    (line,) = [line for line in run.epochs() if line["epoch"] == 2]
    n = run.data()["class_counts"]["val"][0]
    assert f"| `blue` | {n} | {line['val_classes']['precision'][0]:.2%} |" in text
    assert "On validation images:" in text
    assert "stands in bundle.json" in text


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
