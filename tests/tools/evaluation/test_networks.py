"""CLIP, DINO and LPIPS of random weights in the real classes and files, against their definitions, off the network."""

import itertools
import shutil
import socket
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from support.random_networks import PATCH, WIDTH
from tools.evaluation import EvaluationError, weights
from tools.evaluation.clip import DEVIATION, MEAN, prepared
from tools.evaluation.protocols import BY_NAME, Pair
from tools.evaluation.structure import DinoStructure


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """No test here may open a connection."""

    def refuse(*arguments):
        raise AssertionError(f"a connection was opened to {arguments[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_lpips_is_that_of_torchmetrics(weights_folder, networks, picture, tmp_path, monkeypatch):
    """Which takes a file of the right name in torch's own folder as the download."""
    from torchmetrics.functional.image import learned_perceptual_image_patch_similarity

    (tmp_path / "checkpoints").mkdir()
    shutil.copy(weights_folder / "squeezenet1_1-b8a52dc0.pth", tmp_path / "checkpoints")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    source, edited = picture(1, 64, 64), picture(2, 64, 64)
    a, b = (part.movedim(-1, 0)[None] / 127.5 - 1 for part in (source, edited))
    theirs = learned_perceptual_image_patch_similarity(a, b, net_type="squeeze").item()
    pair = Pair(source, edited)
    assert theirs > 1e-3
    assert BY_NAME["whole.lpips"].value(pair, networks) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize(("kind", "model"), [("squeeze", "squeezenet1_1"), ("alex", "alexnet")])
def test_each_backbone_and_its_map_are_those_of_torchmetrics(networks, picture, monkeypatch, kind, model):
    """Heads, stages and enlargement of the public class, whose backbone is ours."""
    import torchvision
    from torchmetrics.image import LearnedPerceptualImagePatchSimilarity

    network = networks[f"lpips_{kind}"]
    monkeypatch.setattr(torchvision.models, model, lambda weights: SimpleNamespace(features=network.features))
    theirs = LearnedPerceptualImagePatchSimilarity(net_type=kind).net
    source, edited = picture(1, 64, 72), picture(2, 64, 72)
    a, b = (part.movedim(-1, 0)[None] / 127.5 - 1 for part in (source, edited))
    assert network.distance(source, edited) == pytest.approx(theirs(a, b).item(), rel=1e-5)
    theirs.spatial = True
    torch.testing.assert_close(network.distance_map(source, edited), theirs(a, b)[0, 0], rtol=1e-4, atol=1e-6)


def test_lpips_of_a_background_by_its_definition(networks, picture, mask):
    network = networks["lpips_squeeze"]
    source, edited = picture(1), picture(2)
    black = [part * ~mask[..., None] for part in (source, edited)]
    pair = Pair(source, edited, mask)
    assert BY_NAME["pie-bench.lpips"].value(pair, networks) == network.distance(*black)
    levels = network.distance_map(*black)
    assert BY_NAME["masked.lpips"].value(pair, networks) == pytest.approx(levels[~mask].mean().item(), rel=1e-5)
    assert network.distance(source, edited) == pytest.approx(network.distance(edited, source), rel=1e-5)


def test_diversity_is_the_mean_over_all_pairs(networks, picture):
    outputs = [picture(seed, 64, 64) for seed in range(4)]
    pair = Pair(picture(9, 64, 64), outputs[0], others=tuple(outputs[1:]))
    distances = [networks["lpips_alex"].distance(a, b) for a, b in itertools.combinations(outputs, 2)]
    assert len(distances) == 6
    assert BY_NAME["ef-paper.diversity"].value(pair, networks) == pytest.approx(sum(distances) / 6)


def test_structure_by_its_definition(networks, picture):
    """Keys by the official reshape of qkv, similarities by an einsum with the norms written out."""
    dino = networks["dino"]
    source, edited = picture(1, 224, 224), picture(2, 224, 224)
    for name, full in (("pie-bench.structure", 255.0), ("masked.structure_01", 1.0)):
        similarities = []
        for part in (source, edited):
            pixels = part.movedim(-1, 0)[None].float() / 255 * full
            mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
            x = (pixels - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
            kept = []
            hook = dino.model.blocks[-1].attn.qkv.register_forward_hook(lambda m, i, o, kept=kept: kept.append(o))
            dino.model(x)
            hook.remove()
            tokens = (224 // PATCH) ** 2 + 1
            qkv = kept[0].reshape(1, tokens, 3, 1, WIDTH).permute(2, 0, 3, 1, 4)
            keys = qkv[1][0].transpose(0, 1).reshape(tokens, WIDTH)
            norms = keys.norm(dim=1)
            similarities.append(torch.einsum("id,jd->ij", keys, keys) / (norms[:, None] * norms[None]))
        expected = torch.nn.functional.mse_loss(*similarities).item()
        assert expected > 1e-6
        assert BY_NAME[name].value(Pair(source, edited), networks) == pytest.approx(expected, rel=1e-4)


def test_structure_of_other_sizes_keeps_their_proportion(networks, picture):
    dino = networks["dino"]
    assert len(dino.keys(picture(1, 40, 80), 1.0)) == 1 + 7 * 14
    assert dino.distance(picture(1, 40, 80), picture(2, 40, 80), 1.0) > 0


def test_clip_by_the_models_own_forward(weights_folder, networks, picture):
    from transformers import CLIPModel, CLIPTokenizer

    folder = weights_folder / "clip-vit-large-patch14"
    model, tokenizer = CLIPModel.from_pretrained(folder), CLIPTokenizer.from_pretrained(folder)
    source, edited = picture(1, 224, 224), picture(2, 224, 224)
    pixels = torch.cat([prepared(part, 224) for part in (source, edited)])
    tokens = tokenizer(["a photo of a dog"], return_tensors="pt")
    output = model(pixel_values=pixels, **tokens)
    cosine = (output.image_embeds[1] @ output.text_embeds[0]).item()
    between = (output.image_embeds[0] @ output.image_embeds[1]).item()
    pair = Pair(source, edited, None, "a photo of a cat", "a photo of a dog")
    clip = networks["clip_l14"]
    assert clip.text(edited, "a photo of a dog") == pytest.approx(cosine, abs=1e-6)
    assert BY_NAME["whole.clip_pictures"].value(pair, networks) == pytest.approx(between, abs=1e-6)
    assert BY_NAME["pie-bench.clip_whole"].value(pair, networks) == pytest.approx(max(100 * cosine, 0), abs=1e-4)


def test_clip_of_the_edited_part_sees_black_around_it(networks, picture, mask):
    source, edited = picture(1), picture(2)
    other = torch.where(mask[..., None], edited, picture(3))
    values = [BY_NAME["pie-bench.clip_edited"].value(Pair(source, e, mask, "", "a"), networks) for e in (edited, other)]
    assert values[0] == values[1]


def test_accuracy_asks_which_prompt_is_nearer(networks, picture):
    clip, edited = networks["clip_b32"], picture(2)
    near, far = sorted(["a cat", "zz 9 zz"], key=lambda prompt: -clip.text(edited, prompt))
    accuracy = BY_NAME["ef-paper.accuracy"]
    assert accuracy.value(Pair(picture(1), edited, None, far, near), networks) == 1
    assert accuracy.value(Pair(picture(1), edited, None, near, far), networks) == 0


def test_clip_prepares_pictures_as_its_own_processor(picture):
    """To the bit in transformers 4; transformers 5 resizes by another library, two grey levels apart at most."""
    import transformers
    from transformers import CLIPImageProcessor

    most = 0.01 if transformers.__version__.startswith("4.") else 2.01
    for size in ((300, 260), (120, 500)):
        part = picture(5, *size)
        theirs = CLIPImageProcessor()(Image.fromarray(part.numpy()), return_tensors="pt")["pixel_values"]
        deviation = torch.tensor(DEVIATION).view(3, 1, 1)
        apart = ((prepared(part, 224) - theirs) * deviation * 255).abs()
        assert apart.max() < most and apart.mean() < 0.1
    assert MEAN[0] == 0.48145466


def test_a_long_prompt_is_cut(networks, picture):
    assert -1 <= networks["clip_l14"].text(picture(1), "a dog " * 200) <= 1


def test_each_file_is_named_with_its_digest_or_as_missing(weights_folder, tmp_path):
    found = weights.load(weights_folder)
    assert set(found.networks) == set(weights.NETWORKS)
    assert all(len(digest) == 64 for digest in found.digests.values())
    assert "clip-vit-large-patch14/model.safetensors" in found.digests
    assert sum("is not the published file" in note for note in found.notes) == 2  # those whose name has a digest
    shutil.copy(weights_folder / "dino_vitbase8_pretrain.pth", tmp_path)
    (tmp_path / "clip-vit-large-patch14").mkdir()
    less = weights.load(tmp_path)
    assert set(less.networks) == {"dino"}
    missing = f"there is no {tmp_path / 'clip-vit-large-patch14' / 'config.json'}"
    assert any(note.startswith("Without pie-bench.clip_whole") and missing in note for note in less.notes)
    assert any("Without pie-bench.lpips" in note and "squeezenet1_1-b8a52dc0.pth" in note for note in less.notes)
    assert weights.load(None).networks == {}


@pytest.mark.parametrize(
    "file", ["dino_vitbase8_pretrain.pth", "squeezenet1_1-b8a52dc0.pth", "clip-vit-base-patch32/model.safetensors"]
)
def test_a_truncated_file_is_refused_by_name(weights_folder, tmp_path, file):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    for name in ("config.json", "vocab.json", "merges.txt") if "clip" in file else ():
        shutil.copy(weights_folder / "clip-vit-base-patch32" / name, (tmp_path / file).parent)
    content = (weights_folder / file).read_bytes()
    (tmp_path / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(EvaluationError, match=f"{file.split('/')[0]} cannot be read: .*Is the file whole"):
        weights.load(tmp_path)


def test_a_package_that_is_not_there_is_named(weights_folder, monkeypatch):
    find = weights.importlib.util.find_spec
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None if name == "timm" else find(name))
    found = weights.load(weights_folder)
    assert "dino" not in found.networks
    assert any("it takes timm: pip install -r requirements-evaluation.txt" in note for note in found.notes)


def test_a_file_of_something_else_is_refused(weights_folder, tmp_path):
    shutil.copy(weights_folder / "squeezenet1_1-b8a52dc0.pth", tmp_path / "dino_vitbase8_pretrain.pth")
    with pytest.raises(EvaluationError, match="what its name says"):
        weights.load(tmp_path)


def test_dino_reads_its_geometry_off_the_file(tmp_path):
    from timm.models.vision_transformer import VisionTransformer

    model = VisionTransformer(img_size=224, patch_size=16, embed_dim=128, depth=3, num_heads=2, num_classes=0)
    torch.save(model.state_dict(), tmp_path / "small.pth")
    read = DinoStructure(tmp_path / "small.pth").model
    assert (len(read.blocks), read.embed_dim, read.blocks[0].attn.num_heads) == (3, 128, 2)
