"""Public test suites: laws that every implementation of an interface of this package obeys.

A subclass in a test file buys them all:

    class TestRoofline(EstimatorSuite):
        estimator = Roofline()

`EstimatorSuite` is for estimators, `PassSuite` for passes and `ChooserSuite` for optimisers. Torch
is imported by the laws of passes only.
"""

from __future__ import annotations

import copy
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from chipfit.cost.base import AbstractEstimator, Cost
from chipfit.cost.roofline import Roofline
from chipfit.hardware.target import TENSORS, Arithmetic, Array, MemoryLevel, Target
from chipfit.workload.network import DIMENSIONS, Layer, Loops, Network, Tensor

if TYPE_CHECKING:
    import torch
    from torch import fx, nn

    from chipfit.compress.base import AbstractPass
    from chipfit.search.ilp import Solution
    from chipfit.search.space import LayerChoice, LayerTable


def toy_level(
    name: str,
    words: int | None,
    energy_j: float,
    *,
    word_bits: int = 16,
    holds: Sequence[str] = TENSORS,
    words_per_cycle: float | None = None,
) -> MemoryLevel:
    """A memory of so many words whose reads and writes cost the same."""
    return MemoryLevel(
        name=name,
        word_bits=word_bits,
        read_energy_j=energy_j,
        write_energy_j=energy_j,
        source="toy",
        size_bits=None if words is None else words * word_bits,
        bandwidth_bits_per_cycle=None if words_per_cycle is None else words_per_cycle * word_bits,
        holds=tuple(holds),
    )


def eye16(*, shared_file: bool = False) -> Target:
    """The common target of mapping studies: Eyeriss' relative energies, every dimension on every side.

    DRAM - 108 KiB buffer - 14 x 12 elements - private files of 12, 224 and 24 words (inputs, weights,
    partial sums), or one of 256 words that they share. 1 J stands for one 16-bit register access.
    Chen et al., ISCA 2016, Table IV: multiply 1, file 1, buffer 6, DRAM 200; hops are free here.
    """
    files = (toy_level("RF", 256, 1.0),)
    if not shared_file:
        files = (
            toy_level("RF_I", 12, 1.0, holds=("input",)),
            toy_level("RF_W", 224, 1.0, holds=("weight",)),
            toy_level("RF_O", 24, 1.0, holds=("output",)),
        )
    return Target(
        name="eye3" if shared_file else "eye16",
        description="Eyeriss' relative energies",
        source="Chen et al., ISCA 2016, Table IV",
        clock_hz=1.0,
        native_bits=16,
        partial_sum_bits=16,
        arithmetic=Arithmetic(multiply_j=1.0, multiply_bits=16, add_j=0.0, add_bits=16, source="toy"),
        levels=(
            toy_level("DRAM", None, 200.0, words_per_cycle=4),
            toy_level("GLB", 55296, 6.0, words_per_cycle=32),
            *files,
        ),
        arrays=(
            Array(
                name="PE",
                below="GLB",
                rows=14,
                columns=12,
                row_dimensions=DIMENSIONS,
                column_dimensions=DIMENSIONS,
            ),
        ),
    )


def toy_systolic() -> Target:
    """A weight-stationary array of 4 x 8 between a shared buffer and its weight registers."""
    return Target(
        name="toy_systolic",
        description="weights in registers, inputs and sums pass through",
        source="toy",
        clock_hz=1e9,
        native_bits=8,
        partial_sum_bits=32,
        arithmetic=Arithmetic(multiply_j=2e-13, multiply_bits=8, add_j=1e-13, add_bits=32, source="toy"),
        levels=(
            toy_level("DRAM", None, 1e-9, word_bits=64, words_per_cycle=1),
            toy_level("buffer", 4096, 1e-11, word_bits=64, words_per_cycle=4),
            toy_level("register", 1, 2e-14, word_bits=16, holds=("weight",)),
        ),
        arrays=(
            Array(
                name="array",
                below="buffer",
                rows=4,
                columns=8,
                row_dimensions=("C", "R", "S"),
                column_dimensions=("K", "G"),
                hop_energy_j=1e-14,
            ),
        ),
        static_power_w=1e-3,
    )


def nest_layer(
    loops: Loops,
    *,
    weight_bits: int = 8,
    input_bits: int = 8,
    name: str = "layer",
    operator: str = "Conv",
    beside: Sequence[Tensor] = (),
) -> Layer:
    """A layer around loops; its tensors have the sizes that the loops give, and `beside` is fused."""
    rows, columns = loops.input_rows, loops.input_columns
    return Layer(
        name=name,
        operator=operator,
        loops=loops,
        inputs=(
            Tensor(name=f"{name}.x", shape=(loops.N, loops.G * loops.C, rows, columns), bits=input_bits),
            *beside,
        ),
        weight=Tensor(
            name=f"{name}.w",
            shape=(loops.G * loops.K, loops.C, loops.R, loops.S),
            bits=weight_bits,
            constant=True,
        ),
        outputs=(
            Tensor(name=f"{name}.y", shape=(loops.N, loops.G * loops.K, loops.P, loops.Q), bits=input_bits),
        ),
        parameters=loops.weight_elements,
    )


def sample_layers() -> tuple[Layer, ...]:
    """Layers of every kind, small: dense, strided, dilated, depthwise, grouped, matrix product, traffic."""
    x = Tensor(name="x", shape=(1, 8, 7, 7), bits=8)
    nests = {
        "conv3x3": Loops(K=8, C=6, P=7, Q=7, R=3, S=3, padding=(2, 2)),
        "stride2": Loops(K=8, C=3, P=6, Q=6, R=5, S=5, stride=(2, 2), padding=(3, 3)),
        "pointwise_stride2": Loops(K=12, C=10, P=4, Q=4, stride=(2, 2)),
        "dilated": Loops(K=4, C=4, P=5, Q=5, R=3, S=3, dilation=(2, 2), padding=(4, 4)),
        "depthwise": Loops(G=12, P=8, Q=8, R=3, S=3, padding=(2, 2)),
        "grouped": Loops(G=3, K=5, C=4, P=5, Q=5, R=3, S=3),
        "product": Loops(K=40, C=30),
        "batched": Loops(N=2, G=3, K=7, C=11, P=13),
    }
    fused = nest_layer(nests["conv3x3"], name="fused", beside=(x,))
    pooling = Layer(name="pooling", operator="MaxPool", inputs=(x,), outputs=(x,))
    return (*(nest_layer(loops, name=name) for name, loops in nests.items()), fused, pooling)


class EstimatorSuite:
    """Laws of every estimator. Subclass it and set `estimator`.

    `quantities` are the fields of `Cost` that must not fall when work grows: what the estimator
    minimises. `tolerance` is the relative slack of those laws; a subclass that needs it says why.
    """

    estimator: AbstractEstimator
    quantities: tuple[str, ...] = ("energy_j", "latency_s", "dram_bits")
    tolerance: float = 0.0

    def targets(self) -> tuple[Target, ...]:
        """The chips to try."""
        return (eye16(), eye16(shared_file=True), toy_systolic())

    def layers(self) -> tuple[Layer, ...]:
        """The layers to try."""
        return sample_layers()

    def _cost(self, layer: Layer, target: Target) -> Cost:
        return self.estimator.layer(layer, target).cost

    def _must_not_fall(self, less: Layer, more: Layer, target: Target) -> None:
        small, large = self._cost(less, target), self._cost(more, target)
        for quantity in self.quantities:
            low, high = getattr(small, quantity), getattr(large, quantity)
            assert high >= low * (1 - self.tolerance) * (1 - 1e-12), (target.name, less, more, quantity)

    def test_costs_are_finite_and_not_negative(self) -> None:
        """No number is negative, infinite or missing."""
        for target in self.targets():
            for layer in self.layers():
                found = self.estimator.layer(layer, target)
                numbers = [found.cost.latency_s, found.cost.energy_j, found.cost.dram_bits]
                numbers += [*found.energy_by_component_j.values(), *found.latency_by_component_s.values()]
                assert all(math.isfinite(number) and number >= 0 for number in numbers), (target.name, found)
                assert 0 <= found.utilization <= 1 + 1e-12, (target.name, found)

    def test_components_add_up(self) -> None:
        """Energy is the sum of its parts, latency the largest."""
        for target in self.targets():
            for layer in self.layers():
                found = self.estimator.layer(layer, target)
                parts = sum(found.energy_by_component_j.values())
                assert math.isclose(parts, found.cost.energy_j, rel_tol=1e-9), (target.name, found)
                slowest = max(found.latency_by_component_s.values())
                assert math.isclose(slowest, found.cost.latency_s, rel_tol=1e-9), (target.name, found)

    def test_the_same_layer_costs_the_same(self) -> None:
        """Twice the same question has the same answer, whatever the layer is called."""
        for target in self.targets():
            for layer in self.layers():
                again = self.estimator.layer(replace(layer, name="again"), target)
                assert again.cost == self._cost(layer, target), (target.name, layer)

    def test_never_below_the_roofline(self) -> None:
        """Compulsory traffic, one multiply each and all elements at work are the least."""
        for target in self.targets():
            for layer in self.layers():
                least, found = Roofline().layer(layer, target).cost, self._cost(layer, target)
                for quantity in ("energy_j", "latency_s", "dram_bits"):
                    low, high = getattr(least, quantity), getattr(found, quantity)
                    assert high >= low * (1 - 1e-9), (target.name, layer, quantity)

    def test_a_network_costs_the_sum_of_its_layers(self) -> None:
        """Totals are sums."""
        for target in self.targets():
            report = self.estimator.estimate(Network(name="all", layers=self.layers()), target)
            total = sum((self._cost(layer, target) for layer in self.layers()), start=Cost())
            assert report.total == total

    def test_more_work_never_costs_less(self) -> None:
        """Doubling a bound does not make a layer cheaper."""
        for target in self.targets():
            for layer in self.layers():
                if layer.loops is None:
                    continue
                for d in DIMENSIONS:
                    bigger = replace(layer.loops, **{d: 2 * getattr(layer.loops, d)})
                    small = nest_layer(layer.loops, name=layer.name)
                    self._must_not_fall(small, nest_layer(bigger, name=layer.name), target)

    def test_wider_operands_never_cost_less(self) -> None:
        """More bits do not make a layer cheaper."""
        for target in self.targets():
            for layer in self.layers():
                if layer.loops is None:
                    continue
                for narrow, wide in ((2, 3), (3, 4), (4, 6), (6, 8)):
                    less = nest_layer(layer.loops, weight_bits=narrow, input_bits=narrow)
                    self._must_not_fall(
                        less, nest_layer(layer.loops, weight_bits=wide, input_bits=narrow), target
                    )
                    self._must_not_fall(
                        less, nest_layer(layer.loops, weight_bits=narrow, input_bits=wide), target
                    )

    def test_cheaper_memory_never_costs_more(self) -> None:
        """Halving the energy of a memory does not raise the energy of a layer."""
        if "energy_j" not in self.quantities:
            return
        for target in self.targets():
            for place, level in enumerate(target.levels):
                halved = replace(
                    level,
                    read_energy_j=level.read_energy_j / 2,
                    write_energy_j=level.write_energy_j / 2,
                )
                levels = (*target.levels[:place], halved, *target.levels[place + 1 :])
                cheaper = replace(target, levels=levels)
                for layer in self.layers():
                    before, after = self._cost(layer, target), self._cost(layer, cheaper)
                    limit = before.energy_j * (1 + self.tolerance) * (1 + 1e-12)
                    assert after.energy_j <= limit, (target.name, level.name, layer)


class PassSuite(ABC):
    """Laws of every pass. Subclass it and say what the pass is for a model.

    Whatever a pass draws at random comes from a seed among its fields.
    """

    @abstractmethod
    def make_model(self) -> nn.Module:
        """A small model with fresh weights of its own, the same on each call."""

    @abstractmethod
    def make_inputs(self) -> torch.Tensor:
        """Inputs of the model for calibration, shape (images, ...)."""

    @abstractmethod
    def make_pass(self, model: fx.GraphModule) -> AbstractPass:
        """The pass under test, for a traced model."""

    def names(self) -> dict[str, Any]:
        """What the repr of the pass is read with: the class of the pass itself."""
        kind = type(self.make_pass(self._traced()))
        return {kind.__name__: kind}

    def _traced(self) -> fx.GraphModule:
        from chipfit.compress.graph import traced

        return traced(self.make_model())

    def _apply(self, model: nn.Module, a_pass: AbstractPass) -> nn.Module:
        from chipfit.compress.base import PassContext

        return a_pass.apply(model, PassContext(calibration=self.make_inputs())).eval()

    def _outputs(self, model: nn.Module) -> torch.Tensor:
        import torch

        with torch.no_grad():
            return model.eval()(self.make_inputs())

    def _check_runs_as_exported(self, model: nn.Module) -> None:
        import torch

        from chipfit.export.onnx import agreement, export

        inputs = self.make_inputs()
        data = export(model, inputs[:1], name="suite")
        found = agreement(data, model, [(inputs, torch.zeros(len(inputs), dtype=torch.int64))])
        assert found.ratio == 1.0, found

    def test_the_given_model_is_left_as_it_was(self) -> None:
        """`apply` changes neither weights nor outputs of its argument."""
        import torch

        model = self._traced()
        before, outputs = copy.deepcopy(model.state_dict()), self._outputs(model)
        self._apply(model, self.make_pass(model))
        after = model.state_dict()
        assert list(after) == list(before)
        assert all(torch.equal(after[name], before[name]) for name in before)
        assert torch.equal(self._outputs(model), outputs)

    def test_the_same_pass_does_the_same_again(self) -> None:
        """Two applications to one model have the same weights and outputs."""
        import torch

        model = self._traced()
        first, second = (self._apply(model, self.make_pass(model)) for _ in range(2))
        one, other = first.state_dict(), second.state_dict()
        assert list(one) == list(other)
        assert all(torch.equal(one[name], other[name]) for name in one)
        assert torch.equal(self._outputs(first), self._outputs(second))

    def test_its_repr_reads_back_equal(self) -> None:
        """`eval(repr(a_pass)) == a_pass`, so that records hold recipes."""
        a_pass = self.make_pass(self._traced())
        assert eval(repr(a_pass), self.names()) == a_pass  # noqa: S307  # the law; our own text

    def test_the_result_runs_and_keeps_the_shape_of_the_output(self) -> None:
        """Outputs are finite and as many as before."""
        import torch

        model = self._traced()
        outputs = self._outputs(self._apply(model, self.make_pass(model)))
        assert outputs.shape == self._outputs(model).shape
        assert torch.isfinite(outputs).all()

    def test_the_result_runs_outside_torch(self) -> None:
        """ONNX Runtime predicts the same class for every input."""
        model = self._traced()
        self._check_runs_as_exported(self._apply(model, self.make_pass(model)))

    def test_a_pruned_model_can_be_given(self) -> None:
        """Recipes cut channels first: the pass applies to what `PruneChannels` leaves."""
        from torch import fx

        from chipfit.compress.prune import PruneChannels, channel_groups

        model = self._traced()
        group = channel_groups(model, self.make_inputs()[:2])[0][0]
        pruned = self._apply(model, PruneChannels(keep=((group.name, tuple(range(1, group.channels))),)))
        assert isinstance(pruned, fx.GraphModule), "a traced model that is pruned stays one"
        self._check_runs_as_exported(self._apply(pruned, self.make_pass(pruned)))

    def test_the_result_can_be_quantised(self) -> None:
        """Recipes set widths last: `Quantize` applies to what the pass leaves, unless it did so itself."""
        from chipfit.compress.graph import nest_layers
        from chipfit.compress.quantize import Quantize, quantizers_of

        model = self._traced()
        changed = self._apply(model, self.make_pass(model))
        if quantizers_of(changed):
            return
        widths = Quantize(bits=tuple((name, 8, 8) for name in nest_layers(changed)))
        self._check_runs_as_exported(self._apply(changed, widths))


class Chooser(Protocol):
    """What `chipfit.search.ilp.solve` is called as, without groups of channels."""

    def __call__(
        self,
        tables: Sequence[LayerTable],
        groups: Sequence[Any],
        losses: Mapping[tuple[str, str, int], float],
        fixed: np.ndarray,
        limits: Mapping[str, float],
    ) -> Solution:
        """The choice of least loss within the limits; if there is none, one near them."""
        ...


class ChooserSuite(ABC):
    """Laws of every optimiser that chooses widths within limits. Subclass it and say how to call it.

    `slack` is how far from the least loss a choice may be (relative).
    """

    slack: float = 0.0

    @abstractmethod
    def choose(self) -> Chooser:
        """The optimiser."""

    def _problem(
        self, seed: int
    ) -> tuple[list[LayerTable], dict[tuple[str, str, int], float], list[tuple[float, dict[str, float]]]]:
        """Four layers of three widths at random; loss and cost of all 81 choices."""
        from chipfit.search.space import QUANTITY_ORDER, LayerChoice, LayerTable

        rng = np.random.default_rng(seed)
        widths = [LayerChoice(weight_bits=bits, activation_bits=bits) for bits in (8, 4, 2)]
        tables = [
            LayerTable(
                layer=name,
                options=tuple((width, None, None) for width in widths),
                costs=rng.integers(1, 50, (len(widths), len(QUANTITY_ORDER))).astype(float),
                group_in=None,
                group_out=None,
            )
            for name in "abcd"
        ]
        losses = {
            (t.layer, "weights", w.weight_bits): float(rng.integers(0, 50)) for t in tables for w in widths
        }
        every: list[tuple[float, dict[str, float]]] = []
        for places in itertools.product(range(len(widths)), repeat=len(tables)):
            loss = sum(
                losses[t.layer, "weights", widths[place].weight_bits]
                for t, place in zip(tables, places, strict=True)
            )
            cost = sum(t.costs[place] for t, place in zip(tables, places, strict=True))
            every.append((loss, dict(zip(QUANTITY_ORDER, np.asarray(cost).tolist(), strict=True))))
        return tables, losses, every

    def _solve(self, seed: int, limits: Mapping[str, float]) -> tuple[Solution, list[float]]:
        """What the optimiser says, and the losses of all choices that keep the limits."""
        tables, losses, every = self._problem(seed)
        found = self.choose()(tables, [], losses, np.zeros(tables[0].costs.shape[1]), limits)
        return found, [loss for loss, cost in every if all(cost[q] <= limits[q] for q in limits)]

    def _limits(self, seed: int) -> list[dict[str, float]]:
        """From loose to tight, the last of which nothing keeps."""
        _, _, every = self._problem(seed)
        loosest = {q: max(cost[q] for _, cost in every) for q in ("energy", "latency")}
        return [{q: part * most for q, most in loosest.items()} for part in (1.0, 0.7, 0.5, 0.35, 0.01)]

    def test_what_is_called_feasible_keeps_every_limit(self) -> None:
        """And the costs that are stated are those of the choice."""
        for seed in range(10):
            tables, _, _ = self._problem(seed)
            for limits in self._limits(seed):
                found, _ = self._solve(seed, limits)
                for place, (quantity, stated) in enumerate(found.cost.items()):
                    cost = sum(_option_costs(t, found.choice.widths[t.layer])[place] for t in tables)
                    assert math.isclose(stated, cost, rel_tol=1e-9), (seed, limits, quantity)
                if found.feasible:
                    assert all(found.cost[q] <= limits[q] * (1 + 1e-9) for q in limits), (seed, limits)

    def test_it_finds_what_trying_everything_finds(self) -> None:
        """The least loss where a choice keeps the limits; where none does, it says so."""
        for seed in range(10):
            for limits in self._limits(seed):
                found, allowed = self._solve(seed, limits)
                assert found.feasible == bool(allowed), (seed, limits)
                if allowed:
                    best = min(allowed)
                    assert best * (1 - 1e-9) <= found.loss <= best * (1 + self.slack) + 1e-9, (seed, limits)

    def test_tighter_limits_never_lose_less(self) -> None:
        """Less room is never better."""
        for seed in range(10):
            losses = [
                found.loss
                for limits in self._limits(seed)
                if (found := self._solve(seed, limits)[0]).feasible
            ]
            for loose, tight in itertools.pairwise(losses):
                assert tight >= loose * (1 - self.slack) - 1e-9, (seed, losses)


def _option_costs(table: LayerTable, width: LayerChoice) -> list[float]:
    place = [option[0] for option in table.options].index(width)
    return table.costs[place].tolist()
