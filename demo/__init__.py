"""The bundled small model: scenes, autoencoder, network, text encoder and weights."""
