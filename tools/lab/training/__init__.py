"""Training of the demo models: their scenes drawn once onto the disk, the autoencoder, and three networks of latents.

In order:

    python -m tools.lab train scenes         draws, in parts, so that training may begin on the first
    python -m tools.lab train autoencoder
    python -m tools.lab train decoder        trains its decoder on, on what has detail; latents stay as they are
    python -m tools.lab train latents        encodes the scenes
    python -m tools.lab train weights        the network of the bundled model, which predicts v under captions
    python -m tools.lab train bundle         puts it beside the code
    python -m tools.lab train pairs          encodes an edit of each scene
    python -m tools.lab train edit           the network that is shown a picture and told what to change
    python -m tools.lab train flow           a transformer as a rectified flow

What trains goes on from its checkpoint after a break. Scene seeds are those below `TUNE_SEED`, without the held-out
combinations. A log, beside the weights, says what was run and how the loss fell, a line of JSON each.
"""
