import numpy as np
import onnx
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from oodtune.bundle import Outputs, model_path
from oodtune.export.triton import MAX_BATCH, write_repository_entry
from tests.unit.tiny_bundle import CLASSES, DOMAINS, SIZE, tiny_bundle

TYPES = {np.dtype("uint8"): "TYPE_UINT8", np.dtype("float32"): "TYPE_FP32"}


def parse(path):
    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


def test_triton_parses_the_settings_and_their_name_is_that_of_the_directory():
    config = parse(tiny_bundle() / "model" / "config.pbtxt")
    assert (config.name, config.platform, config.max_batch_size) == ("model", "onnxruntime_onnx", MAX_BATCH)
    assert config.HasField("dynamic_batching")
    assert (tiny_bundle() / config.name / "1" / "model.onnx").is_file()


def test_every_tensor_has_the_name_type_and_shape_that_it_has_in_the_graph():
    config = parse(tiny_bundle() / "model" / "config.pbtxt")
    graph = onnx.load(tiny_bundle() / model_path()).graph
    assert [one.name for one in config.output] == list(Outputs._fields)
    for ours, theirs in zip([*config.input, *config.output], [*graph.input, *graph.output], strict=True):
        kind = theirs.type.tensor_type
        dims = [dim.dim_value for dim in kind.shape.dim][1:]
        assert ours.name == theirs.name
        assert (
            model_config_pb2.DataType.Name(ours.data_type)
            == TYPES[onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)]
        )
        assert list(ours.reshape.shape if ours.HasField("reshape") else ours.dims) == dims


def test_labels_are_the_classes_one_a_line_for_both_outputs_of_classes():
    config = parse(tiny_bundle() / "model" / "config.pbtxt")
    assert [one.label_filename for one in config.output] == ["labels.txt", "labels.txt", "", ""]
    assert (tiny_bundle() / "model" / "labels.txt").read_text().splitlines() == list(CLASSES)


def test_a_variant_is_an_entry_of_its_own(tmp_path):
    write_repository_entry(tmp_path, SIZE, ("a\nb", "c"), len(DOMAINS), "int8")
    assert parse(tmp_path / "model_int8" / "config.pbtxt").name == "model_int8"
    assert (tmp_path / "model_int8" / "labels.txt").read_text() == "a b\nc\n"
