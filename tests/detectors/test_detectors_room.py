"""What all detectors share, and those that need a library which may not be there."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import drawn
import pytest
import torch
from torch import nn

from velatura import detectors, plugins
from velatura.config import fields
from velatura.detectors import detr, torchvision_rcnn
from velatura.errors import BadInput
from velatura.torchvision_guard import ensure


def test_the_files_are_the_names():
    assert detectors.names() == ["detr", "tiny", "torchvision_rcnn"]
    for name in detectors.names():
        assert fields(plugins.config_class("detectors", name))


@pytest.mark.parametrize(
    ("name", "tasks", "values", "says"),
    [
        ("tinny", ("detection",), {}, "No detector plug-in named 'tinny'. Did you mean 'tiny'? "
         "Available: detr, tiny, torchvision_rcnn."),
        ("tiny", ("detection",), {"widht": 8},
         "Unknown key model.widht. Did you mean model.width? Known keys: width, prototypes, keep, "
         "threshold."),
        ("tiny", ("detection", "depth"), {},
         "tiny does detection and segmentation and keypoints, not depth; choose another --task, or "
         "another --model, such as tiny, which does all."),
        ("torchvision_rcnn", detectors.TASKS, {},
         "torchvision_rcnn does detection and segmentation, not keypoints; choose another --task, "
         "or another --model, such as tiny, which does all."),
        ("detr", ("detection", "keypoints"), {},
         "detr does detection, not keypoints; choose another --task, or another --model, such as "
         "tiny, which does all."),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence(name, tasks, values, says):
    with pytest.raises(BadInput) as error:
        detectors.build(name, ("person",), 3, tasks, **values)
    assert str(error.value) == says


# -------------------------------------------------------------------------------- torchvision


def test_a_target_as_torchvision_wants_it():
    target = drawn.target([[4.0, 8.0, 20.0, 40.0], [10.0, 10.0, 12.0, 14.0]], [1, 0])
    target.masks[1] = False  # nobody drew it
    told = torchvision_rcnn.told(target)
    assert told["labels"].tolist() == [2, 1]
    assert told["boxes"] is target.boxes
    assert told["keypoints"].shape == (2, 3, 3)
    assert told["masks"].dtype == torch.uint8
    assert torch.equal(told["masks"][0].bool(), target.masks[0])
    assert told["masks"][1].nonzero().tolist() == [[y, x] for y in range(10, 14) for x in (10, 11)]
    assert not target.masks[1].any()  # ours stays


def test_what_torchvision_finds_as_ours():
    masks = torch.tensor([0.4, 0.6]).reshape(2, 1, 1, 1).expand(2, 1, 4, 4)
    answer = {
        "boxes": torch.rand(2, 4), "labels": torch.tensor([2, 1]), "scores": torch.rand(2),
        "masks": masks, "keypoints": torch.ones(2, 3, 3), "keypoints_scores": torch.zeros(2, 3),
    }  # fmt: skip
    found = torchvision_rcnn.found(answer)
    assert found.labels.tolist() == [1, 0]
    assert [bool(mask.all()) for mask in found.masks] == [False, True]
    assert found.keypoints[0, 0].tolist() == [1, 1, 0.5]


def test_without_native_operators_torchvision_says_so(monkeypatch):
    monkeypatch.setattr(torchvision_rcnn, "ensure", lambda: False)
    with pytest.raises(BadInput, match="needs torchvision's native operators, which do not load"):
        detectors.build("torchvision_rcnn", ("person",), 0, ("detection",))


@pytest.mark.parametrize("second", ["", "segmentation", "keypoints"])
def test_torchvision_takes_a_step_and_finds(second):
    if not ensure():
        pytest.skip("torchvision's native operators do not load beside this torch")
    tasks = ("detection", second) if second else ("detection",)
    torch.manual_seed(0)
    network = detectors.build(
        "torchvision_rcnn", ("person", "dog"), 3, tasks, backbone="resnet18", threshold=0.0
    )
    terms = network.train().loss(torch.rand(2, 3, 64, 96), drawn.some())
    terms["loss"].backward()
    assert all(parameter.requires_grad for parameter in network.parameters())
    found = network.eval().detect(torch.rand(2, 3, 64, 96))
    assert (found[0].masks is not None, found[0].keypoints is not None) == (
        second == "segmentation", second == "keypoints",
    )  # fmt: skip


# ----------------------------------------------------------------------------- transformers


class Queries(nn.Module):
    """What transformers would return: boxes in shares of the padded picture."""

    def __init__(self, config: SimpleNamespace):
        super().__init__()
        self.config, self.weight = config, nn.Parameter(torch.ones(1))

    def forward(self, pixel_values, labels=None):
        self.seen, self.labels = pixel_values, labels
        terms = {"loss_vfl": self.weight.sum(), "loss_vfl_aux_0": self.weight.sum()}
        return SimpleNamespace(
            loss=3 * self.weight.sum(),
            loss_dict=terms,
            logits=torch.tensor([[[-9.0, 2.0], [1.0, -9.0], [-9.0, -9.0]]]),
            pred_boxes=torch.tensor([[[0.5, 0.5, 0.5, 0.25], [0.9, 0.5, 0.4, 1.0],
                                      [0.5, 0.5, 0.1, 0.1]]]),
        )  # fmt: skip


@pytest.fixture
def transformers(monkeypatch):
    fake = ModuleType("transformers")
    fake.RTDetrConfig, fake.RTDetrForObjectDetection = SimpleNamespace, Queries
    monkeypatch.setitem(sys.modules, "transformers", fake)


def test_a_target_as_transformers_wants_it(transformers):
    network = detectors.build("detr", ("person", "dog"), 0, ("detection",), queries=3)
    assert isinstance(network, detr.Detr)
    assert vars(network.network.config) == {
        "num_labels": 2, "num_queries": 3, "decoder_layers": 6,
        "freeze_backbone_batch_norms": False,
    }  # fmt: skip
    targets = [drawn.target([[16.0, 8.0, 32.0, 24.0]], [1], size=(48, 64))]
    terms = network.loss(torch.rand(1, 3, 48, 64), targets)
    assert {name: float(value.detach()) for name, value in terms.items()} == {
        "loss_vfl": 1, "loss": 3,
    }  # fmt: skip
    assert network.network.seen.shape == (1, 3, 64, 64)  # padded to 32
    (label,) = network.network.labels
    assert label["class_labels"].tolist() == [1]
    assert label["boxes"].tolist() == [[24 / 64, 16 / 64, 16 / 64, 16 / 64]]


def test_what_transformers_finds_as_ours(transformers):
    network = detectors.build("detr", ("person", "dog"), 0, ("detection",))
    (found,) = network.detect(torch.rand(1, 3, 48, 64))
    assert found.labels.tolist() == [1, 0]
    assert found.scores.tolist() == pytest.approx([0.8808, 0.7311], abs=1e-4)
    # Of 64 x 64; the second reaches beyond the right, and over the padding below.
    assert found.boxes[0].tolist() == pytest.approx([16, 24, 48, 40], abs=1e-3)
    assert found.boxes[1].tolist() == pytest.approx([44.8, 0, 64, 48], abs=1e-3)


def test_without_transformers_detr_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(BadInput) as error:
        detectors.build("detr", ("person",), 0, ("detection",))
    assert str(error.value) == (
        'detr needs transformers: pip install "velatura[detr]", or choose --model tiny.'
    )


def test_transformers_takes_a_step_and_finds():
    pytest.importorskip("transformers", reason="the extra detr is not installed")
    pytest.importorskip("scipy", reason="the extra detr is not installed")
    torch.manual_seed(0)
    network = detectors.build("detr", ("person", "dog"), 0, ("detection",), queries=20, layers=1)
    network.train().loss(torch.rand(2, 3, 64, 96), drawn.some())["loss"].backward()
    assert len(network.eval().detect(torch.rand(2, 3, 64, 96))) == 2
