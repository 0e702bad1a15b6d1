"""The latent demo's autoencoder and the host's own class are one function of the same state dict."""

import pytest
import torch

from demo.drawn.autoencoder import Autoencoder
from demo.drawn.flux import Flux, FluxConfig
from demo.drawn.model import LatentModel, load_model, save_model


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


def test_the_network_is_the_hosts(comfy):
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    torch.manual_seed(0)
    model = LatentModel.create().eval().requires_grad_(False)
    host = UNetModel(**model.network.config.host_config()).eval()
    host.load_state_dict(model.network.state_dict(), strict=True)
    x, timesteps = torch.randn(3, 4, 16, 16), torch.tensor([0.0, 500.0, 999.0])
    context = model.encode(["a red house by the sea on a foggy night in winter", "a smiling man", ""])
    with torch.no_grad():
        ours, its = model.network(x, timesteps, context), host(x, timesteps=timesteps, context=context)
    torch.testing.assert_close(ours, its, atol=1e-5, rtol=1e-5)


def test_a_model_is_read_as_it_was_written(tmp_path):
    torch.manual_seed(0)
    model = LatentModel.create()
    save_model(model, tmp_path / "model.safetensors")
    read = load_model(tmp_path / "model.safetensors").state_dict()
    assert read.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(read[name], value.half().float()), name
    assert (tmp_path / "model.safetensors").stat().st_size < 16e6
    (tmp_path / "other.safetensors").write_bytes(b"0")
    with pytest.raises(ValueError, match="other.safetensors is damaged"):
        load_model(tmp_path / "other.safetensors")


def test_the_flow_network_is_the_hosts(comfy):
    import comfy.ops
    from comfy.ldm.flux.model import Flux as HostFlux

    torch.manual_seed(0)
    ours = Flux(FluxConfig()).eval().requires_grad_(False)
    for parameter in ours.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    host = HostFlux(**ours.config.host_config(), operations=comfy.ops.disable_weight_init).eval().requires_grad_(False)
    norms = {name.rpartition(".")[2] for name in host.state_dict() if "_norm." in name}  # of this version of the host
    host.load_state_dict(
        {
            name.replace("_norm.weight", f"_norm.{norms.copy().pop()}"): value
            for name, value in ours.state_dict().items()
        }
    )
    x, context = torch.randn(2, 4, 16, 12), torch.randn(2, 20, 96)
    timesteps = torch.tensor([37.0, 900.0])
    with torch.no_grad():
        its = host(x, timesteps / 1000, context, torch.zeros(2, 96))
    torch.testing.assert_close(ours(x, timesteps, context), its, atol=1e-5, rtol=1e-4)
    assert its.std() > 1e-2
