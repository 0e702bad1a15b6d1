"""Weights of the evaluation's networks as users have them, in the real layouts, but random and mostly small."""

from __future__ import annotations

import json
from pathlib import Path

import torch

WIDTH, PATCH = 64, 32  # of the transformer in the place of DINO's, one head wide


def save_clip(folder: Path) -> Path:
    """A CLIP folder as the hub has it: config.json, model.safetensors and a tokenizer of single bytes."""
    from transformers import CLIPConfig, CLIPModel

    folder.mkdir(parents=True)
    letters = [chr(code) for code in range(33, 127)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    (folder / "vocab.json").write_text(json.dumps({word: k for k, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    text = {"vocab_size": len(words), "max_position_embeddings": 77, "bos_token_id": 0, "eos_token_id": 1}
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = small | {"image_size": 224, "patch_size": 32}
    config = CLIPConfig(text_config=small | text, vision_config=vision, projection_dim=16)
    torch.manual_seed(0)
    model = CLIPModel(config)
    for parameter in model.parameters():
        # As those that were published: trained in half precision, stored in float32. ComfyUI holds them in half.
        parameter.data = (parameter + 0.05 * torch.randn_like(parameter)).detach().half().float()
    model.save_pretrained(folder)
    return folder


def save_dino(file: Path) -> Path:
    """A file of DINO's names, of a transformer of two layers."""
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(1)
    model = VisionTransformer(patch_size=PATCH, embed_dim=WIDTH, depth=2, num_heads=1, num_classes=0)
    torch.save({name: tensor + 0.05 * torch.randn_like(tensor) for name, tensor in model.state_dict().items()}, file)
    return file


def save_squeezenet(file: Path) -> Path:
    """A file of torchvision's names: SqueezeNet 1.1 in its real size, which is 5 MB."""
    import torchvision

    torch.manual_seed(2)
    torch.save(torchvision.models.squeezenet1_1().state_dict(), file)
    return file


def save_alexnet(file: Path) -> Path:
    """A file of torchvision's names: AlexNet's convolutions, without its classifier of 230 MB."""
    import torchvision

    torch.manual_seed(3)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in torchvision.models.alexnet().features.state_dict().items()}
    torch.save({f"features.{name}": 0.05 * torch.randn(shape) for name, shape in shapes.items()}, file)
    return file


def save_all(folder: Path) -> Path:
    """A folder for --weights with everything."""
    save_clip(folder / "clip-vit-large-patch14")
    save_clip(folder / "clip-vit-base-patch32")
    save_dino(folder / "dino_vitbase8_pretrain.pth")
    save_squeezenet(folder / "squeezenet1_1-b8a52dc0.pth")
    save_alexnet(folder / "alexnet-owt-7be5be79.pth")
    return folder
