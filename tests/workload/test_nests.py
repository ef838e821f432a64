"""Loop nests of operators, against a walk over every multiply."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chipfit.errors import NetworkError
from chipfit.workload import nests

small = st.integers(1, 7)


@given(
    height=st.integers(1, 20), kernel=st.integers(1, 5), stride=st.integers(1, 4), dilation=st.integers(1, 3),
    begin=st.integers(0, 3), end=st.integers(0, 3),
)  # fmt: skip
def test_the_rows_of_a_convolution_are_those_a_walk_touches(height, kernel, stride, dilation, begin, end):
    span = (kernel - 1) * dilation + 1
    outputs = (height + begin + end - span) // stride + 1
    assume(outputs >= 1)
    loops = nests.convolution(
        (1, 1, height),
        (1, 1, kernel),
        (1, 1, outputs),
        strides=(stride,),
        dilations=(dilation,),
        pads=(begin, end),
    )
    hull = range(-begin, (outputs - 1) * stride - begin + span)
    touched = [row for row in hull if 0 <= row < height]
    assert loops.padding[0] == len(hull) - len(touched)
    assert loops.input_rows == max(1, len(touched))
    assert loops.input_rows <= height


@pytest.mark.parametrize(
    ("auto_pad", "height", "outputs", "begin_and_end"),
    [("SAME_UPPER", 8, 4, 1), ("SAME_LOWER", 8, 4, 1), ("SAME_UPPER", 9, 5, 2), ("VALID", 9, 4, 0)],
)
def test_automatic_padding(auto_pad, height, outputs, begin_and_end):
    loops = nests.convolution((1, 1, height), (1, 1, 3), (1, 1, outputs), strides=(2,), auto_pad=auto_pad)
    assert loops.padding == (begin_and_end, 0)


@given(
    sizes=st.fixed_dictionaries(dict.fromkeys("abmck", small)),
    one=st.sampled_from(["", "a", "b", "ab"]), other=st.sampled_from(["", "a", "b", "ab"]),
)  # fmt: skip
def test_a_product_takes_the_multiplies_of_numpy(sizes, one, other):
    a, b = one + "mc", other + "ck"
    batches = "".join(letter for letter in "ab" if letter in one + other)
    equation = f"{a},{b}->{batches}mk"
    shapes = [tuple(sizes[letter] for letter in term) for term in (a, b)]
    loops = nests.contraction(equation, *shapes)
    output = np.einsum(equation, *(np.ones(shape) for shape in shapes))
    assert loops.output_elements == output.size
    assert loops.macs == output.sum()  # every multiply adds 1
    assert loops.input_elements == np.prod(shapes[0])
    assert loops.weight_elements == np.prod(shapes[1])


@pytest.mark.parametrize(
    ("equation", "a", "b", "message"),
    [
        ("mc,ck->mk", (2, 3), (4, 5), "'c' of 'mc,ck->mk' is 3 in one operand and 4 in the other"),
        ("mm,mk->k", (2, 2), (2, 5), "'mm,mk->k' does not fit operands of shapes (2, 2) and (2, 5)"),
        ("mx,mk->mk", (2, 3), (2, 5), "'x' of 'mx,mk->mk' is summed over in one operand only"),
    ],
)
def test_what_is_no_product_is_refused(equation, a, b, message):
    with pytest.raises(NetworkError) as error:
        nests.contraction(equation, a, b)
    assert str(error.value) == message


@given(
    height=small, channels=small, outputs=small, kernel=st.integers(1, 6), stride=st.integers(1, 3),
)  # fmt: skip
def test_a_transposed_convolution_spreads_each_pixel_over_its_window(
    height, channels, outputs, kernel, stride
):
    loops = nests.transposed_convolution(
        (1, channels, height, height), (channels, outputs, kernel, kernel), strides=(stride, stride)
    )
    assert loops.macs == height**2 * channels * outputs * kernel**2
    assert loops.weight_elements == channels * outputs * kernel**2
    assert loops.input_elements == channels * height**2


def test_a_transposed_convolution_whose_channels_do_not_fit_is_refused():
    with pytest.raises(NetworkError) as error:
        nests.transposed_convolution((1, 8, 4, 4), (6, 2, 3, 3))
    assert str(error.value) == "8 input channels do not fit weights of 6 in 1 groups"
