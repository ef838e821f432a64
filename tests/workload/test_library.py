"""Reference networks against published figures, and the ways in which a user names one."""

from pathlib import Path

import onnx
import pytest

from chipfit.errors import NetworkError
from chipfit.workload import library
from chipfit.workload.from_onnx import load_onnx
from chipfit.workload.network import Network

#: (macs, relative tolerance, parameters, relative tolerance); tolerances are the published rounding.
PUBLISHED = {
    # LeCun 1998 with full connections, as in every tutorial: 61,706; 117600 + 240000 + 48000 + 10080 + 840
    "lenet5": (416_520, 0, 61_706, 0),
    # MLPerf Tiny's own file: 12.5 M MAC (Arm's Vela reports the same), 77.7 k
    "resnet8": (12.5e6, 1e-3, 77.7e3, 1e-3),
    # He 2016, table 6: 0.27 M; akamaster/pytorch_resnet_cifar10: 269,722 and 40.55 M
    "resnet20": (40.55e6, 1e-4, 269_722, 0),
    # torchvision, ResNet18_Weights.IMAGENET1K_V1: 1.81 GFLOPS (multiply-adds), 11,689,512
    "resnet18": (1.81e9, 3e-3, 11_689_512, 0),
    # torchvision, ResNet50_Weights.IMAGENET1K_V2: 4.09 GFLOPS, 25,557,032
    "resnet50": (4.09e9, 1e-3, 25_557_032, 0),
    # Howard 2017, table 4: 569 million, 4.2 million
    "mobilenetv1": (569e6, 1e-3, 4.2e6, 1e-2),
    # torchvision, MobileNet_V2_Weights.IMAGENET1K_V1: 0.3 GFLOPS, 3,504,872; Sandler 2018: 300 M
    "mobilenetv2": (300e6, 5e-3, 3_504_872, 0),
    # torchvision, VGG16_Weights: 15.47 GFLOPS, 138,357,544
    "vgg16": (15.47e9, 1e-3, 138_357_544, 0),
    # Sze 2017 (Proc. IEEE 105), table II: 724M MACs, 61M weights
    "alexnet": (724e6, 1e-3, 61e6, 1e-3),
    # Szegedy 2015, table 1: the rows sum to 1,502 M, in which the first convolution (34 M) should be
    # 112*112*64*147 = 118 M: 1,586 M. Weights: Sze 2017, table II: 7M.
    "googlenet": (1586e6, 3e-3, 7.0e6, 1e-3),
    # MLPerf Tiny: 2.66 M MAC (Vela); 24,908 parameters in Keras, of them 9 * 64 * 4 of normalisation
    "ds_cnn": (2.66e6, 2e-3, 24_908 - 9 * 64 * 4, 0),
    # timm and Touvron 2021: 1.3 G; 5,717,416
    "deit_tiny": (1.26e9, 6e-3, 5_717_416, 0),
    # Hugging Face bert-base-uncased: 109,482,240; 12 * (4*128*768**2 + 2*128**2*768 + 2*128*768*3072)
    "bert_base": (11.17e9, 1e-3, 109_482_240, 0),
    # Hugging Face gpt2: 124,439,808. A token: 12 * (12*768**2 + 2*1024*768) + 768*50257
    "gpt2_decode": (142_406_400, 0, 124_439_808, 0),
    # 1024 tokens: 12 * (1024*12*768**2 + 2*1024**2*768) + 768*50257
    "gpt2_prefill": (106_339_037_952, 0, 124_439_808, 0),
}


def test_every_network_is_checked_against_a_published_figure():
    assert library.names() == sorted(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_equal_published_figures(name):
    macs, macs_tolerance, parameters, parameters_tolerance = PUBLISHED[name]
    network = library.load(name)
    assert network.macs == pytest.approx(macs, rel=macs_tolerance, abs=0)
    assert network.parameters == pytest.approx(parameters, rel=parameters_tolerance, abs=0)
    assert network.name == name
    assert network.warnings == ()


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_nest_agrees_with_its_tensors(name):
    for found in library.load(name).layers:
        if found.loops:
            assert found.loops.output_elements == found.outputs[0].elements
            assert found.loops.weight_elements == found.weight.elements
            assert found.loops.input_elements <= found.inputs[0].elements


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_activation_is_an_input_or_written_before_it_is_read(name):
    layers = library.load(name).layers
    written = {tensor.name for layer in layers for tensor in layer.outputs}
    seen = set()
    for layer in layers:
        operands = [*layer.inputs, *([layer.weight] if layer.weight else [])]
        assert not {t.name for t in operands if not t.constant and t.name in written} - seen
        seen |= {tensor.name for tensor in layer.outputs}


@pytest.mark.parametrize("name", PUBLISHED)
def test_networks_survive_json(name):
    network = library.load(name)
    assert Network.from_json(network.to_json()) == network


#: Szegedy 2015, table 1, 'ops' in millions. Without 5a: its sizes give 51, not the 54 printed.
INCEPTION = {"3a": 128, "3b": 304, "4a": 73, "4b": 88, "4c": 100, "4d": 119, "4e": 170, "5b": 71}


@pytest.mark.parametrize(("module", "millions"), INCEPTION.items())
def test_inception_modules_equal_the_table_of_the_paper(module, millions):
    layers = [layer for layer in library.load("googlenet").layers if layer.name.startswith(module)]
    assert sum(layer.macs for layer in layers) / 1e6 == pytest.approx(millions, abs=0.7)


#: Chen 2017 (JSSC 52), table V: (macs of one image) of AlexNet's convolutions.
ALEXNET = {"conv1": 0.11e9, "conv2": 0.22e9, "conv3": 0.15e9, "conv4": 0.11e9, "conv5": 0.07e9}


@pytest.mark.parametrize(("name", "macs"), ALEXNET.items())
def test_alexnet_layers_equal_those_of_the_eyeriss_paper(name, macs):
    (layer,) = (layer for layer in library.load("alexnet").layers if layer.name == name)
    assert layer.macs == pytest.approx(macs, abs=0.005e9)


def shape_of(network):
    return [
        (layer.operator, layer.loops, [t.elements for t in layer.inputs], layer.parameters, layer.fused)
        for layer in network.layers
    ]


@pytest.mark.data
def test_resnet8_equals_the_import_of_the_real_file(shared_data):
    real = load_onnx(shared_data / "onnx" / "mlperf_resnet8_cifar10.onnx")
    assert shape_of(library.load("resnet8")) == shape_of(real)


def test_vgg16_equals_the_graph_of_vgg19_less_three_layers():
    vgg19 = load_onnx(f"{onnx.__path__[0]}/backend/test/data/light/light_vgg19.onnx")
    # Configuration E has one more convolution of 256, 512 and 512 channels at 56, 28 and 14 pixels.
    more = 9 * (256**2 * 56**2 + 512**2 * 28**2 + 512**2 * 14**2)
    assert vgg19.macs - library.load("vgg16").macs == more


def test_gpt2_ties_its_output_to_its_embedding():
    network = library.load("gpt2_decode")
    # 38.6 M + 0.8 M embeddings, 12 * 7.08 M weights; biases and normalisation are not operands
    assert network.weight_memory_bits == 32 * (50257 * 768 + 1024 * 768 + 12 * 12 * 768**2)


def test_an_unknown_name_has_a_hint():
    with pytest.raises(NetworkError) as error:
        library.load("resnet19")
    assert str(error.value) == "no reference network 'resnet19', did you mean 'resnet18'?"


def test_resolve_takes_a_name_or_a_file(tmp_path):
    assert library.resolve("lenet5") == library.load("lenet5")
    light = f"{onnx.__path__[0]}/backend/test/data/light/light_squeezenet.onnx"
    copy = tmp_path / "without_suffix"
    copy.write_bytes(Path(light).read_bytes())
    assert library.resolve(light).macs == library.resolve(str(copy)).macs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resnet5", "'resnet5' is neither an ONNX file nor a reference network, did you mean 'resnet50'?"),
        ("absent.onnx", "absent.onnx: no such file"),
    ],
)
def test_what_is_neither_is_refused(text, message):
    with pytest.raises(NetworkError) as error:
        library.resolve(text)
    assert str(error.value) == message


def test_shapes_are_for_files():
    with pytest.raises(NetworkError) as error:
        library.resolve("lenet5", {"input": (1, 1, 28, 28)})
    assert str(error.value) == (
        "'lenet5' is a reference network: its shapes are fixed, --shape is for ONNX files"
    )
