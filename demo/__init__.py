"""The bundled tiny model: scenes, network, weights, training, evaluation and a command line."""
