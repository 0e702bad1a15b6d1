"""The bundled tiny model: scenes, network, text encoder and weights."""
