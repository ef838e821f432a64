"""What joins what, step by step."""

from chipfit.workload.network import Loops
from chipfit.workload.steps import Step, Value, assemble


def value(name, size=4, root=None, constant=False, **options):
    return Value(root=root or name, name=name, shape=(size,), constant=constant, **options)


def nest(name, read, write, **options):
    weight = value(f"{name}.w", constant=True)
    return Step(
        name=name, operator="Conv", reads=[read], writes=[write], weight=weight, loops=Loops(K=4), **options
    )


def elementwise(name, reads, write, **options):
    return Step(name=name, operator=name, reads=reads, writes=[write], elementwise=True, **options)


def test_a_chain_joins_the_nest_before_it():
    x, a, b, c = (value(name) for name in "xabc")
    (layer,) = assemble(
        [
            nest("n", x, a, parameters=4),
            elementwise("Relu", [a], b),
            elementwise("Mul", [b], c, parameters=2),
        ],
        [c],
    )
    assert (layer.fused, layer.parameters) == (("Relu", "Mul"), 6)
    assert [t.name for t in layer.outputs] == ["c"]


def test_nothing_joins_when_fusing_is_off():
    x, a, b = (value(name) for name in "xab")
    assert len(assemble([nest("n", x, a), elementwise("Relu", [a], b)], [b], fuse=False)) == 2


def test_a_sum_of_two_nests_joins_the_later():
    x, a, b, c = (value(name) for name in "xabc")
    first, second = assemble([nest("n", x, a), nest("m", x, b), elementwise("Add", [a, b], c)], [c])
    assert (first.fused, second.fused) == ((), ("Add",))
    assert [t.name for t in second.inputs] == ["x", "a"]


def test_a_square_joins_though_it_reads_its_operand_twice():
    x, a, b = (value(name) for name in "xab")
    (layer,) = assemble([nest("n", x, a), elementwise("Mul", [a, a], b)], [b])
    assert [t.name for t in layer.inputs] == ["x"]


def test_a_nest_waits_for_the_other_operand_and_its_own_reader_stays_behind():
    x, a, b, c, d = (value(name) for name in "xabcd")
    pool = Step(name="pool", operator="MaxPool", reads=[x], writes=[b])
    layers = assemble([nest("n", x, a), pool, elementwise("Add", [a, b], c), nest("m", c, d)], [d])
    assert [layer.name for layer in layers] == ["pool", "n", "m"]


def test_a_step_that_makes_more_elements_does_not_join():
    x, a, b = value("x"), value("a"), value("b", 8)
    assert (
        len(assemble([nest("n", x, a), elementwise("Add", [a, value("c", 8, constant=True)], b)], [b])) == 2
    )


def test_only_versions_that_are_read_are_stored():
    x, a = value("x"), value("a")
    narrow = value("q", root="a", bits=4, floating=False)
    (layer, _) = assemble([nest("n", x, a), nest("m", narrow, value("y"))], [value("y")])
    assert [(t.name, t.bits) for t in layer.outputs] == [("q", 4)]


def test_what_nobody_reads_is_stored_as_it_is():
    (layer,) = assemble([nest("n", value("x"), value("a"))], [])
    assert [t.name for t in layer.outputs] == ["a"]


def test_tensors_without_elements_are_left_out():
    empty = value("e", 0)
    step = Step(name="c", operator="Concat", reads=[value("x"), empty], writes=[value("y")])
    (layer,) = assemble([step], [value("y")])
    assert [t.name for t in layer.inputs] == ["x"]
