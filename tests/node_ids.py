"""Every node of the pack: ids are for ever, for shared workflow files name them."""

NODE_IDS = (
    "EditFriendlyInvert",
    "CycleDiffusionInvert",
    "DDIMInvert",
    "NullTextInvert",
    "EditFriendlyEdit",
    "FixedNoiseSampler",
    "SampleWithNoiseMaps",
    "CFGScheduleGuider",
    "SamplerFixedNoise",
    "LatentShift",
    "NoiseMapsFlip",
    "MaskColorEdit",
    "NoiseMapsInterpolate",
    "NoiseMapsStatistics",
    "NoiseMapsPreview",
    "SaveNoiseMaps",
    "LoadNoiseMaps",
    "LoadDemoModel",
    "LoadDemoImage",
)
