import numpy as np
import pytest
from small_models import task

from chipfit.compress.base import PassContext
from chipfit.compress.graph import nest_layers, traced
from chipfit.compress.quantize import Quantize
from chipfit.cost.gates.effort import embedded_library
from chipfit.cost.gates.generate import MacDesign, generate_mac
from chipfit.cost.gates.streams import layer_energies
from chipfit.search.value_options import Operands, Timing, ValuesConfig, options
from chipfit.train.task import inputs_of

LIBRARY = embedded_library()
UNIT = generate_mac(
    MacDesign(style="booth", weight_bits=4, activation_bits=4, sum_bits=14, activation_signed=False)
)


@pytest.fixture(scope="module")
def operands():
    inputs = inputs_of(task().train, 8)
    model = traced(task().model)
    widths = tuple((name, 4, 4) for name in nest_layers(model))
    return Operands(Quantize(bits=widths).apply(model, PassContext(calibration=inputs)), inputs, seed=0)


def config(tmp_path, **asked):
    return ValuesConfig(task="small", budget=0.5, out=tmp_path, bits=4, size=6, **asked)


def test_shares_of_activations_are_codes(tmp_path):
    assert config(tmp_path, activations=(1.0, 0.5, 0.01)).largest == (15, 7, 1)


def test_no_weight_settles_later_with_fewer_activation_codes(operands, tmp_path):
    timing = Timing.of(UNIT, LIBRARY, operands, config(tmp_path, activations=(1.0, 0.5, 0.2)))
    assert timing.table(15) is timing.whole
    whole, half, few = (np.array(timing.table(largest).delay_s) for largest in (15, 7, 3))
    assert (half <= whole).all()
    assert (few <= whole).all()
    assert (few < whole).any()


def test_values_are_in_time_with_all_codes_where_inputs_are_signed(operands, tmp_path):
    asked = config(tmp_path, activations=(1.0, 0.2), delays=(0.9,))
    timing = Timing.of(UNIT, LIBRARY, operands, asked)
    energies = dict.fromkeys([("booth", 15), ("booth", 3)], layer_energies(UNIT, LIBRARY, operands.streams))
    found = options({15: operands, 3: operands}, energies, {"booth": timing}, asked, 1.0, {15: 0.0, 3: 0.25})
    assert [(one.largest, one.delay) for one in found] == [(15, 0.9), (3, 0.9)]
    limit_s = 0.9 * max(timing.whole.delay_s)
    for one in found:
        for name, chosen in one.sets.items():
            table = timing.table(15 if name == "stem" else one.largest)
            assert (table.delay_of(chosen.values) <= limit_s).all()
    # A budget that does not bind: the least damage of values, and what fewer activation codes hurt.
    assert found[1].damage >= 0.25
