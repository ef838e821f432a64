import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_models import residual, task

from chipfit.errors import TaskError
from chipfit.train.task import TensorLoader, accuracy, check_task, inputs_of, load_task


def test_a_loader_repeats_an_epoch_and_varies_between_epochs() -> None:
    loader = TensorLoader(torch.arange(10.0), torch.arange(10), batch=4, shuffle=True, seed=3)
    first = [x.tolist() for x, _ in loader]
    again = [x.tolist() for x, _ in loader]
    loader.epoch = 1
    assert first == again != [x.tolist() for x, _ in loader]
    assert sorted(x for batch in first for x in batch) == list(range(10))
    assert len(loader) == 3


def test_inputs_and_labels_stay_together() -> None:
    loader = TensorLoader(torch.arange(10.0), torch.arange(10), batch=4, shuffle=True)
    assert all(x.long().tolist() == y.tolist() for x, y in loader)


def test_the_first_inputs_of_a_loader() -> None:
    assert inputs_of(TensorLoader(torch.arange(10.0), torch.arange(10), batch=4), 6).tolist() == [
        0,
        1,
        2,
        3,
        4,
        5,
    ]


def test_accuracy_counts_the_right_ones() -> None:
    assert accuracy(torch.eye(4), torch.tensor([0, 1, 2, 0])) == 0.75


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "digit",
            "unknown task 'digit', did you mean 'digits'?; your own is 'module:function'",
        ),
        ("nowhere:task", "no module 'nowhere' here or on the Python path"),
        ("small_models:tsk", "module 'small_models' has no function 'tsk', did you mean 'task'?"),
        (
            "small_models:residual",
            "'small_models:residual' returned Residual, expected a chipfit.train.task.Task",
        ),
        (
            "cifar10-resnet20",
            "task 'cifar10-resnet20' needs --data DIR with images/cifar10_part.npz and models/",
        ),
    ],
)
def test_a_task_that_is_not_there_is_explained(name: str, message: str) -> None:
    with pytest.raises(TaskError) as error:
        load_task(name)
    assert str(error.value) == message


def test_a_users_task_is_found_beside_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("from small_models import task as fine\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert load_task("mine:fine").name == "small"


def test_all_that_is_wrong_with_a_task_comes_in_one_message() -> None:
    wrong = replace(task(), model="resnet", train=[], validation=[torch.zeros(3)], test=3)  # pyright: ignore
    with pytest.raises(TaskError) as error:
        check_task(wrong)
    assert str(error.value) == (
        "task 'small': model is str, expected a torch.nn.Module; train yields no batches; validation "
        "yields Tensor, expected pairs of tensors (inputs, labels); test is int, expected batches of "
        "(inputs, labels)"
    )


def test_what_is_wrong_with_a_probe_is_said_too() -> None:
    with pytest.raises(TaskError) as error:
        check_task(replace(task(), probe=[]))
    assert str(error.value) == "task 'small': probe yields no batches"


def test_what_is_wrong_with_views_is_said() -> None:
    with pytest.raises(TaskError) as error:
        check_task(replace(task(), views=(torch.abs, "flip")))  # pyright: ignore
    assert str(error.value) == "task 'small': view 1 is not a function of inputs"
    with pytest.raises(TaskError) as error:
        check_task(replace(task(), views=(lambda x: x[:, :, 1:],)))
    assert str(error.value) == ("task 'small': view 0 makes inputs of shape (12, 3, 7, 8) of (12, 3, 8, 8)")


def test_data_of_another_shape_is_explained() -> None:
    loader = TensorLoader(torch.zeros(4, 1, 8, 8), torch.zeros(4), batch=4)
    with pytest.raises(TaskError, match="task 'small': the model does not run on its validation data: Given"):
        check_task(replace(task(), validation=loader))


def test_a_model_that_returns_nan_is_refused() -> None:
    model = residual()
    with torch.no_grad():
        model.head.bias.fill_(float("nan"))
    with pytest.raises(TaskError, match="returns NaN or infinity"):
        check_task(replace(task(), model=model))


def test_a_metric_that_is_not_a_fraction_is_refused() -> None:
    with pytest.raises(TaskError, match=r"metric returned 50\.0, expected a float in 0\.\.1"):
        check_task(replace(task(), metric=lambda outputs, labels: 50.0))


def test_cifar10_names_the_files_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(TaskError) as error:
        load_task("cifar10-resnet20", tmp_path)
    images, model = tmp_path / "images" / "cifar10_part.npz", tmp_path / "models" / "resnet20_cifar10.pt"
    assert str(error.value) == f"task 'cifar10-resnet20': no file {images} and no file {model}"


def test_cifar10_that_is_not_what_it_should_be_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "images" / "cifar10_part.npz", tmp_path / "models" / "resnet20_cifar10.pt"):
        path.parent.mkdir()
        path.write_bytes(b"not this")
    with pytest.raises(TaskError, match="task 'cifar10-resnet20': cannot read"):
        load_task("cifar10-resnet20", tmp_path)


@pytest.mark.data
def test_resnet20_is_as_accurate_as_published(shared_data: Path) -> None:
    # Published for the whole test set: 91.7 %; on the images here 91.64 % (shared data's README).
    found = load_task("cifar10-resnet20", shared_data)
    with torch.no_grad():
        right = sum(int((found.model(x).argmax(1) == y).sum()) for x, y in found.test)
    assert right / 1017 == pytest.approx(0.9164, abs=5e-5)
