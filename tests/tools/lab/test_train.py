"""The training: what a network learns to predict, what is kept, and what a part of it writes."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from demo.autoencoder import Autoencoder
from demo.model import load_model
from demo.network import NUM_TIMESTEPS, alphas_cumprod
from demo.scenes import TRAIN_SEED
from tools.lab.__main__ import main
from tools.lab.classifier import HEADS, IGNORED, labels
from tools.lab.training import autoencoder, commands, losses, networks, scenes
from tools.lab.training.autoencoder import copy_smaller, fitted_latent_rgb, held_out, save_weights
from tools.lab.training.losses import flow_loss, v_loss


@pytest.mark.parametrize("loss", [v_loss, flow_loss])
def test_what_the_network_is_to_predict_has_no_loss(monkeypatch, loss):
    """Oracle: v = a eps - b x_0, or u = eps - x_0, from the x and the timestep that the network is shown."""
    x_0 = torch.randn(6, 4, 4, 4)

    def perfect(x, timesteps):
        if loss is flow_loss:
            sigma = (timesteps / NUM_TIMESTEPS).view(-1, 1, 1, 1)
            return (x - (1 - sigma) * x_0) / sigma - x_0
        a2 = alphas_cumprod().float()[timesteps.long()].view(-1, 1, 1, 1)
        a, b = a2.sqrt(), (1 - a2).sqrt()
        return a * (x - a * x_0) / b - b * x_0

    monkeypatch.setattr(losses, "FAST_BFLOAT16", False)
    assert loss(perfect, x_0, torch.Generator().manual_seed(0)) < 1e-6


def test_the_preview_is_the_best_linear_map_to_the_colors_of_cells():
    class Linear:
        """Whose latents are the mean colors of cells, mixed, and a channel of no meaning."""

        mix = torch.tensor([[0.5, 0.1, 0.0], [0.0, 1.0, 0.2], [0.3, 0.0, 2.0]])

        def encode(self, images):
            colors = torch.nn.functional.avg_pool2d(images, 8)
            mixed = torch.einsum("ij,bjhw->bihw", self.mix, colors) + 0.5
            return torch.cat([mixed, torch.randn_like(colors[:, :1])], dim=1)

    *factors, bias = fitted_latent_rgb(Linear(), count=4)
    expected = torch.linalg.inv(Linear.mix).T
    torch.testing.assert_close(torch.tensor(factors), torch.cat([expected, torch.zeros(1, 3)]), atol=2e-3, rtol=0)
    torch.testing.assert_close(torch.tensor(bias), -0.5 * expected.sum(dim=0), atol=2e-3, rtol=0)


def test_the_parts_of_a_training_follow_on_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(scenes, "PART", 3)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda network, **_: None)  # which takes minutes
    monkeypatch.setattr(commands, "fitted_latent_rgb", lambda model: fitted_latent_rgb(model, 2))
    drawn, latents, pairs = (tmp_path / name for name in ("scenes", "latents", "pairs"))
    encoder, decoder, weights, edit, flow, out = (
        tmp_path / f"{name}.safetensors" for name in ("autoencoder", "decoder", "weights", "edit", "flow", "out")
    )
    assert main(["train", "scenes", "--parts", "1", "--folder", str(drawn)]) == 0
    torch.manual_seed(0)
    save_weights(Autoencoder(), encoder)
    encoding = ["--autoencoder", str(encoder)]
    assert main(["train", "latents", *encoding, "--scenes", str(drawn), "--out", str(latents)]) == 0
    assert main(["train", "pairs", *encoding, "--latents", str(latents), "--out", str(pairs)]) == 0
    with torch.enable_grad():  # ComfyUI, where it was started before, has switched it off
        for steps in (1, 2):  # the second goes on from the first
            networks.train_weights(
                weights, encoder, latents, networks.WeightsConfig(steps=steps, batch=2), save_every=1
            )
        networks.train_edit(edit, weights, latents, pairs, networks.EditConfig(steps=1, batch=2), 1)
        networks.train_flow(flow, weights, latents, networks.FlowConfig(steps=1, batch=2), 1)
        monkeypatch.setattr(autoencoder, "held_out", lambda model, count: held_out(model, 1))
        autoencoder.train_autoencoder(
            decoder, drawn, autoencoder.DecoderConfig(steps=1, batch=2), 1, start=encoder, decoder_only=True
        )
    lines = [json.loads(line) for line in weights.with_suffix(".jsonl").read_text().splitlines()]
    assert [line["config"]["steps"] for line in lines if "config" in line] == [1, 2]
    assert [line["step"] for line in lines if "config" not in line] == [1, 2]
    held, old, new = ("taesd_encoder.0.weight", load_file(encoder), load_file(decoder))
    assert torch.equal(new[held], old[held])
    assert not torch.equal(new["taesd_decoder.1.weight"], old["taesd_decoder.1.weight"])
    assert load_model(edit).network.config.in_channels == 8
    assert load_model(flow).is_flow
    assert main(["train", "bundle", "--weights", str(weights), "--decoder", str(decoder), "--out", str(out)]) == 0
    assert load_model(out).latent_rgb is not None
    assert out.with_suffix(".jsonl").read_bytes() == weights.with_suffix(".jsonl").read_bytes()


def test_a_model_that_begins_as_a_smaller_one_does_the_same():
    torch.manual_seed(0)
    small, wide = Autoencoder(4), Autoencoder(6)
    copy_smaller(small, wide)
    image, more = torch.rand(1, 3, 16, 16), torch.randn(1, 2, 2, 2)
    with torch.no_grad():
        latent = small.encode(image)
        torch.testing.assert_close(wide.encode(image)[:, :4], latent)
        torch.testing.assert_close(wide.decode(torch.cat([latent, more], dim=1)), small.decode(latent))


def test_a_label_is_ignored_where_the_scene_has_it_not():
    from demo.scenes import sample_scene

    for seed in range(TRAIN_SEED, TRAIN_SEED + 20):
        scene = sample_scene(seed)
        read = {name: words[i] for (name, words), i in zip(HEADS.items(), labels(scene), strict=True) if i != IGNORED}
        assert read == {name: getattr(scene, name) for name in scene.attributes if name in HEADS}
