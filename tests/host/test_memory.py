"""Many runs in one process: what a run took, it gives back."""

import gc

import torch

RUNS, WARM_UP = 300, 20


def held() -> tuple[int, int, int]:
    """Tensors, objects and bytes of this process."""
    import psutil  # which comes with ComfyUI

    gc.collect()
    objects = gc.get_objects()
    tensors = sum(issubclass(type(part), torch.Tensor) for part in objects)
    return tensors, len(objects), psutil.Process().memory_info().rss


def test_many_runs_leave_nothing_behind(comfy, pack, random_model, conditioning, latent, invert, sample):
    """Invert, sample and edit in one pass, each time with another seed. What a run kept would show 280 times."""
    loaded = comfy.model_management.current_loaded_models
    loaded[:] = [model for model in loaded if not model.is_dead()]  # of other tests: it would log each of them each run
    model, image = random_model("sd15"), latent("sd15")
    prompts = {name: conditioning("sd15", k) for k, name in enumerate(("source", "target", "negative"))}
    common = {"steps": 1, "scheduler": "simple", "latent_image": image}
    settings = {"source_cfg": 1.0, "target_cfg": 1.0, "eta": 1.0, "skip_steps": 0, "variations": 1}

    def run(seed: int) -> None:
        sample(model, invert(model, cfg=1.0, seed=seed, **common), cfg=1.0)
        pack.run("EditFriendlyEdit", model=model, seed=seed, **prompts, **settings, **common)

    for seed in range(WARM_UP):
        run(seed)
    tensors, objects, memory = held()
    for seed in range(WARM_UP, RUNS):
        run(seed)
    tensors_now, objects_now, memory_now = held()
    assert tensors_now == tensors
    assert objects_now - objects < RUNS - WARM_UP
    assert memory_now - memory < 20e6
