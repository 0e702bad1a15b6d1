"""The weights file, guidance, and what is refused."""

import pytest
import torch
from safetensors.torch import save_file

from demo.model import DemoModel, load_model, save_model
from demo.network import denoise

PREVIEW = [[0.1 * channel, 0.0, -0.25] for channel in range(5)]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return DemoModel.create(latent_rgb=PREVIEW).eval()


def test_weights_come_back_in_float32_rounded_to_half(model, tmp_path):
    save_model(model, tmp_path / "weights.safetensors")
    loaded = load_model(tmp_path / "weights.safetensors")
    for (name, kept), (_, back) in zip(model.state_dict().items(), loaded.state_dict().items(), strict=True):
        assert back.dtype == torch.float32, name
        assert torch.equal(kept.half().float(), back), name
    assert loaded.latent_rgb == PREVIEW
    assert [file.name for file in tmp_path.iterdir()] == ["weights.safetensors"]


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors"):
        load_model(tmp_path / "nothing.safetensors")


def test_damaged_weights_are_refused(model, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_model(model, path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="damaged"):
        load_model(path)


def test_foreign_weights_are_refused(tmp_path):
    path = tmp_path / "lora.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="not a demo model"):
        load_model(path)


def test_guidance_is_a_line_through_both_predictions(model):
    x, sigma = torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(0)), torch.tensor([1.0, 2.0])
    caption = "a red house"
    cond, uncond = model.encode([caption, ""])
    with torch.no_grad():
        x_0 = denoise(model.network, x, sigma, cond.expand(2, -1, -1))
        x_0_uncond = denoise(model.network, x, sigma, uncond.expand(2, -1, -1))
    guided = model.denoiser(caption, cfg=3.0)(x, sigma)
    torch.testing.assert_close(guided, x_0_uncond + 3 * (x_0 - x_0_uncond), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.denoiser(caption)(x, sigma), x_0, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.denoiser("", cfg=3.0)(x, sigma), x_0_uncond, atol=1e-5, rtol=1e-5)


def test_a_caption_a_row_is_each_row_alone(model):
    x, sigma = torch.randn(2, 4, 8, 8), torch.tensor([1.0, 2.0])
    captions = ["a boat", "a house at night"]
    together = model.denoiser(captions, cfg=2.0)(x, sigma)
    for i, caption in enumerate(captions):
        alone = model.denoiser(caption, cfg=2.0)(x[i : i + 1], sigma[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-5)
