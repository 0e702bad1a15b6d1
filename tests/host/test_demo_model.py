"""Parity: the demo model's network and autoencoder are the host's own classes, each one function of one state dict."""

import pytest
import torch

from demo.autoencoder import Autoencoder
from demo.model import DemoModel, load_model, save_model
from demo.network import (
    all_sigmas,
    denoise,
    flow_sigmas,
    sgm_uniform_flow_sigmas,
    sgm_uniform_sigmas,
    sigma_to_timestep,
    uniform_sigmas,
)
from demo.weights import FluxConfig, UNetConfig


@pytest.fixture(params=["random", "bundled"])
def model(request):
    if request.param == "bundled":
        return load_model()
    torch.manual_seed(0)
    return DemoModel.create().eval().requires_grad_(False)


@pytest.fixture
def host_network(comfy, model):
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    network = UNetModel(**model.network.config.host_config()).eval()
    network.load_state_dict(model.network.state_dict(), strict=True)
    return network


@pytest.fixture(scope="module")
def host_sampling(comfy):
    from comfy.model_sampling import V_PREDICTION, ModelSamplingDiscrete

    class Sampling(ModelSamplingDiscrete, V_PREDICTION):
        pass

    return Sampling()


@pytest.mark.parametrize("size", [(16, 16), (12, 20)])
def test_the_network_is_the_hosts(model, host_network, size):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 4, *size, generator=generator)
    timesteps = torch.tensor([0.0, 500.0, 999.0])
    context = model.encode(["a red house by the sea on a foggy night in winter", "a smiling man", ""])
    with torch.no_grad():
        ours = model.network(x, timesteps, context)
        host = host_network(x, timesteps=timesteps, context=context)
    torch.testing.assert_close(ours, host, atol=1e-5, rtol=1e-5)


def test_the_denoiser_is_the_hosts(model, host_network, host_sampling):
    generator = torch.Generator().manual_seed(2)
    sigma = torch.tensor([0.03, 1.0, 14.6])
    x = torch.randn(3, 4, 16, 16, generator=generator) * (1 + sigma.view(-1, 1, 1, 1) ** 2).sqrt()
    context = model.encode(["a boat"] * 3)
    with torch.no_grad():
        ours = denoise(model.network, x, sigma, context)
        v = host_network(
            host_sampling.calculate_input(sigma, x), timesteps=host_sampling.timestep(sigma).float(), context=context
        )
        host = host_sampling.calculate_denoised(sigma, v, x)
    torch.testing.assert_close(ours, host, atol=1e-4, rtol=1e-5)


def test_noise_levels_are_the_hosts(comfy, host_sampling):
    assert torch.equal(host_sampling.sigmas, all_sigmas())
    between = torch.linspace(0.03, 14.6, 500)
    assert torch.equal(host_sampling.timestep(between), sigma_to_timestep(between))
    for steps in (10, 25, 50, 100):
        host = comfy.samplers.calculate_sigmas(host_sampling, "ddim_uniform", steps)
        torch.testing.assert_close(uniform_sigmas(steps), host, rtol=0, atol=0)
    for steps in (3, 4, 5, 50):
        host = comfy.samplers.calculate_sigmas(host_sampling, "sgm_uniform", steps)
        torch.testing.assert_close(sgm_uniform_sigmas(steps), host, rtol=1e-6, atol=0)


def test_levels_of_the_flow_are_the_hosts(comfy):
    from comfy.model_sampling import ModelSamplingDiscreteFlow

    sampling = ModelSamplingDiscreteFlow()
    for steps in (4, 5, 50):
        host = comfy.samplers.calculate_sigmas(sampling, "sgm_uniform", steps)
        torch.testing.assert_close(sgm_uniform_flow_sigmas(steps).float(), host, rtol=1e-6, atol=0)
    for steps in (10, 25, 50):
        host = comfy.samplers.calculate_sigmas(sampling, "simple", steps)
        torch.testing.assert_close(flow_sigmas(steps).float(), host, rtol=1e-6, atol=0)


def shaken(config) -> DemoModel:
    """A model none of whose weights is 0."""
    torch.manual_seed(0)
    model = DemoModel.create(config).eval().requires_grad_(False)
    for parameter in model.network.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("size", [(16, 16), (12, 20)])
def test_the_flow_model_is_the_hosts(pack, size):
    """Prediction and network of a rectified flow in the layout of Flux, through the host's MODEL."""
    demo = shaken(FluxConfig())
    model, generator = pack.host.demo.diffusion_model(demo.weights()).model, torch.Generator().manual_seed(2)
    x, sigma = torch.randn(2, 4, *size, generator=generator), torch.tensor([0.3, 0.9])
    context = demo.encode(["a boat", "a red house by the sea"])
    with torch.no_grad():
        ours = demo.predict(x, sigma, context)
        host = model.apply_model(x, sigma, c_crossattn=context)
    torch.testing.assert_close(ours, host, atol=1e-5, rtol=1e-4)
    assert (host - x).std() > 1e-2


def test_the_edit_model_is_the_hosts(pack):
    """It is shown the picture beside x, as the host's InstructPix2Pix shows it."""
    demo = shaken(UNetConfig(in_channels=8))
    model, generator = pack.host.demo.diffusion_model(demo.weights()).model, torch.Generator().manual_seed(2)
    x, picture = (torch.randn(2, 4, 16, 16, generator=generator) for _ in range(2))
    shown = model.extra_conds(noise=x, device=x.device, concat_latent_image=picture)["c_concat"].cond
    assert torch.equal(shown, picture)
    sigma, context = torch.tensor([0.5, 3.0]), demo.encode(["make it red", "move it into the sea"])
    with torch.no_grad():
        ours = demo.predict(x, sigma, context, picture)
        host = model.apply_model(x, sigma, c_concat=picture, c_crossattn=context)
    torch.testing.assert_close(ours, host, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("config", [UNetConfig(), UNetConfig(in_channels=8), FluxConfig()])
def test_a_model_is_read_as_it_was_written(tmp_path, config):
    torch.manual_seed(0)
    model = DemoModel.create(config)
    save_model(model, tmp_path / "model.safetensors")
    read = load_model(tmp_path / "model.safetensors")
    assert read.network.config == config
    for name, value in model.state_dict().items():
        torch.testing.assert_close(read.state_dict()[name], value.half().float())


# --- autoencoder ------------------------------------------------------------------------------------------------------


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
    return comfy.sd.VAE(sd=autoencoder.state_dict(), dtype=torch.float32)


def test_the_host_finds_the_layout_by_its_weights_alone(vae, autoencoder):
    assert {*vae.first_stage_model.state_dict()} == {*autoencoder.state_dict()}
    assert vae.latent_channels == autoencoder.taesd_decoder[1].in_channels


@pytest.mark.parametrize("size", [(64, 64), (32, 48)])
def test_the_autoencoder_is_the_hosts(vae, autoencoder, size):
    images = torch.rand(2, *size, 3, generator=torch.Generator().manual_seed(1))
    latents = autoencoder.encode(images.movedim(-1, 1) * 2 - 1)
    torch.testing.assert_close(vae.encode(images), latents, atol=1e-5, rtol=1e-5)
    assert latents.shape[2:] == (size[0] // 8, size[1] // 8)
    assert latents.std() > 1e-3
    decoded = ((autoencoder.decode(latents) + 1) / 2).clamp(0, 1).movedim(1, -1)
    torch.testing.assert_close(vae.decode(latents), decoded, atol=1e-5, rtol=1e-5)
    assert 0.01 < decoded.std()
