import pytest
from synthetic_records import records

from chipfit.errors import RecordError
from chipfit.report.history import read_history


def test_later_records_take_the_place_of_earlier_ones():
    first, again = ({"kind": "candidate", "name": "a", "accuracy_validation": v} for v in (0.5, 0.75))
    history = read_history([first, {"kind": "candidate", "name": "b"}, again])
    assert [(c.name, c.accuracy_validation) for c in history.candidates] == [("a", 0.75), ("b", None)]


def test_epochs_of_two_stages_are_different_epochs():
    epochs = [
        {"kind": "epoch", "candidate": "a", "stage": stage, "epoch": 0} for stage in ("screen", "train")
    ]
    assert [e.stage for e in read_history(epochs + epochs).epochs] == ["screen", "train"]


def test_an_absolute_limit_becomes_a_ratio_to_the_original():
    run = {"kind": "run", "budget": {"energy": {"limit": 2e-6, "unit": "J", "relative": False}}}
    original = {"kind": "original", "cost": {"totals": {"energy_j": 8e-6}}}
    assert read_history([run, original]).limit("energy") == pytest.approx(0.25)
    assert read_history([run]).limit("energy") is None


def test_the_result_takes_the_place_of_the_chosen_candidate():
    history = read_history(records())
    assert history.final is not None
    assert history.choices == history.final.choices
    assert history.after["energy"] == history.final.cost.totals.energy_j


def test_all_mistakes_of_a_record_are_named():
    wrong = {"kind": "sensitivity", "layer": "conv1", "choice": "weights", "value": "four"}
    with pytest.raises(RecordError) as error:
        read_history([{"kind": "note", "text": "fine"}, wrong])
    assert str(error.value) == (
        "record 2 (sensitivity): value: input should be a valid number, unable to parse string as a number; "
        "loss: field required"
    )


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(RecordError, match=r"accuracy_validation: input should be a finite number"):
        read_history([{"kind": "original", "accuracy_validation": float("nan")}])
