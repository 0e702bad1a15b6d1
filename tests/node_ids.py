"""Every node of the pack: ids are for ever, for shared workflow files name them."""

NODE_IDS = (
    "EditFriendlyInvert",
    "EditFriendlyEdit",
    "FixedNoiseSampler",
    "SamplerFixedNoise",
    "LatentShift",
    "NoiseMapsFlip",
    "MaskColorEdit",
    "SaveNoiseMaps",
    "LoadNoiseMaps",
    "LoadDemoModel",
    "LoadDemoImage",
)
