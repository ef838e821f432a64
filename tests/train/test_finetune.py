import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_models import images, residual, task

from chipfit.compress.base import PassContext
from chipfit.compress.graph import nest_layers, traced
from chipfit.compress.quantize import Quantize
from chipfit.train.finetune import (
    FineTuning,
    RunningMean,
    Student,
    blend,
    divergence,
    finetune,
    finetune_normalized,
    judge,
    meet,
    outputs_of,
)
from chipfit.train.normalize import Normalization
from chipfit.train.task import Batch

BITS = tuple((n, 3, 3) for n in ("stem", "conv1", "conv2", "head"))


def narrow() -> torch.nn.Module:
    return Quantize(bits=BITS).apply(traced(residual()), PassContext(calibration=images()))


def test_equal_outputs_do_not_diverge() -> None:
    outputs = torch.randn(5, 3)
    assert abs(float(divergence(outputs, outputs))) < 1e-6


def test_divergence_of_a_coin() -> None:
    # q = (1/2, 1/2), p = (3/4, 1/4): 1/2 ln(2/3) + 1/2 ln 2 = 0.1438 nat
    outputs, wanted = torch.tensor([[3.0, 1.0]]).log(), torch.tensor([[1.0, 1.0]]).log()
    assert abs(float(divergence(outputs, wanted)) - 0.1438) < 1e-4


def test_what_is_not_a_classification_is_compared_by_squares() -> None:
    assert float(divergence(torch.zeros(2, 1), torch.full((2, 1), 3.0))) == 9.0


def test_a_part_of_the_images_is_blended_with_others() -> None:
    inputs = torch.arange(4.0).view(4, 1, 1, 1)
    mixed = blend(inputs, 0.5, torch.Generator().manual_seed(0)).flatten()
    assert mixed[:2].tolist() == [0.0, 1.0]
    assert all(0.0 <= value <= 3.0 for value in mixed.tolist())
    assert not torch.equal(mixed[2:], inputs.flatten()[2:])


def test_retraining_follows_the_original() -> None:
    original, model, data = traced(residual()), narrow(), task()
    wanted, _ = outputs_of(original, data.train)
    before = judge(model, data.train, wanted, data).loss
    finetune(model, original, data, FineTuning(epochs=20, warm_up=2))
    assert judge(model, data.train, wanted, data).loss < 0.7 * before


def test_a_damaged_model_is_mended_and_keeps_no_normalisation() -> None:
    original, data = traced(residual()), task()
    wanted, _ = outputs_of(original, data.train)
    damaged = copy.deepcopy(original)
    with torch.no_grad():
        for layer in nest_layers(damaged).values():
            layer.weight += 0.3 * layer.weight.std() * torch.randn(layer.weight.shape)
    before = judge(damaged, data.train, wanted, data).loss
    mended = finetune_normalized(damaged, original, data, FineTuning(epochs=20, warm_up=2))
    assert judge(mended, data.train, wanted, data).loss < 0.7 * before
    assert judge(damaged, data.train, wanted, data).loss == before  # a copy was trained
    assert not any(isinstance(module, Normalization) for module in mended.modules())


def test_the_original_teaches_with_its_mean_over_views() -> None:
    original, data = traced(residual()), replace(task(), views=(lambda x: x.flip(3), torch.zeros_like))
    inputs, _ = next(iter(data.test))
    with torch.no_grad():
        wanted = (original(inputs) + original(inputs.flip(3)) + original(torch.zeros_like(inputs))) / 3
    outputs, _ = outputs_of(original, data.test, data.views)
    torch.testing.assert_close(outputs, wanted)

    def lesson(model: torch.nn.Module) -> float:
        return Student(model, options).epoch(original, data, options, 0)

    # Its own teacher has nothing to learn; with the mean over views as teacher it has.
    options = FineTuning(epochs=1, half=False, blended=0.0, learning_rate=0.0)
    assert lesson(copy.deepcopy(original)) > 1e-3
    data = replace(data, views=())
    assert lesson(copy.deepcopy(original)) < 1e-6


def test_the_mean_forgets_the_first_steps() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    mean, wanted = RunningMean(model), 0.0
    for step in range(40):
        torch.nn.init.constant_(model.weight, float(step))
        mean.add(model)
        wanted += (step - wanted) * 9 / (10 + step)  # by hand: a tenth of the steps, and all but the first
    averaged = mean.model(model)
    assert abs(averaged.weight.item() - wanted) < 1e-4
    assert 33 < wanted < 39
    assert model.weight.item() == 39.0  # the model itself goes on as it was


def test_students_of_the_same_lessons_are_as_one() -> None:
    # Loaders that know no epoch give every student the same batches in the same order.
    original, data = traced(residual()), task()
    data = replace(data, train=list(data.train))
    models = [
        finetune(narrow(), original, data, FineTuning(epochs=3, warm_up=2, blended=0.0, students=students))
        for students in (1, 2)
    ]
    for one, two in zip(*(model.parameters() for model in models), strict=True):
        assert torch.allclose(one, two, atol=1e-6)


def test_students_go_on_from_the_mean_of_what_they_have() -> None:
    original, data = traced(residual()), task()
    options = FineTuning(epochs=2, warm_up=2, students=2)
    students = [Student(narrow(), options) for _ in range(2)]
    for number, student in enumerate(students):
        student.epoch(original, data, options, 0, number)
    apart = [[tensor.clone() for tensor in student.tensors()] for student in students]
    assert not all(torch.equal(a, b) for a, b in zip(*apart, strict=True))
    meet(students)
    for a, b, *met in zip(*apart, *(student.tensors() for student in students), strict=True):
        assert all(torch.allclose(tensor.double(), (a.double() + b.double()) / 2) for tensor in met)


def test_a_student_that_fails_stops_the_others() -> None:
    class Broken:
        """Batches without end, but for the second to ask."""

        def __init__(self) -> None:
            self.asked = 0

        def __len__(self) -> int:
            return 10**6

        def __iter__(self) -> Iterator[Batch]:
            self.asked += 1
            if self.asked == 2:
                raise RuntimeError("no more")
            while True:
                yield images()[:2], torch.zeros(2)

    original, data = traced(residual()), replace(task(), train=Broken())
    with pytest.raises(RuntimeError, match="no more"):
        finetune(narrow(), original, data, FineTuning(epochs=1, students=2))


@pytest.mark.parametrize("students", [1, 2])
def test_a_run_that_goes_on_ends_where_an_unbroken_one_ends(tmp_path: Path, students: int) -> None:
    class KilledError(Exception):
        pass

    def kill(epoch: int, loss: float, model: torch.nn.Module) -> None:
        if epoch == 2:
            raise KilledError

    original, data, options = traced(residual()), task(), FineTuning(epochs=4, warm_up=2, students=students)
    unbroken = finetune(narrow(), original, data, options)
    with pytest.raises(KilledError):
        finetune(narrow(), original, data, options, checkpoint=tmp_path / "c.pt", after_epoch=kill)
    resumed = finetune(narrow(), original, data, options, checkpoint=tmp_path / "c.pt")
    assert all(torch.equal(a, b) for a, b in zip(unbroken.parameters(), resumed.parameters(), strict=True))
