"""The latent demo's autoencoder and the host's own class are one function of the same state dict."""

import pytest
import torch

from demo.drawn.autoencoder import Autoencoder


@pytest.fixture(params=[4, 8])
def autoencoder(request):
    torch.manual_seed(0)
    model = Autoencoder(request.param).eval().requires_grad_(False)
    for parameter in model.taesd_encoder.parameters():
        parameter.copy_(0.06 * torch.randn_like(parameter))
    for parameter in model.taesd_decoder.parameters():
        parameter.copy_(0.06 * torch.randn_like(parameter))
    return model


@pytest.fixture
def vae(comfy, autoencoder):
    import comfy.sd

    return comfy.sd.VAE(sd=autoencoder.state_dict(), dtype=torch.float32)


def test_the_host_finds_the_layout_by_its_weights_alone(vae, autoencoder):
    assert {*vae.first_stage_model.state_dict()} == {*autoencoder.state_dict()}
    assert vae.latent_channels == autoencoder.taesd_decoder[1].in_channels


@pytest.mark.parametrize("size", [(128, 128), (64, 96)])
def test_the_autoencoder_is_the_hosts(vae, autoencoder, size):
    images = torch.rand(2, *size, 3, generator=torch.Generator().manual_seed(1))
    latents = autoencoder.encode(images.movedim(-1, 1) * 2 - 1)
    torch.testing.assert_close(vae.encode(images), latents, atol=1e-5, rtol=1e-5)
    assert latents.shape[2:] == (size[0] // 8, size[1] // 8)
    assert latents.std() > 1e-3
    decoded = ((autoencoder.decode(latents) + 1) / 2).clamp(0, 1).movedim(1, -1)
    torch.testing.assert_close(vae.decode(latents), decoded, atol=1e-5, rtol=1e-5)
    assert 0.01 < decoded.std()
