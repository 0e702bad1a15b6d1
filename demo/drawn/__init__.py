"""Scenes of 128 x 128 pixels drawn by code: landscapes, still lifes and portraits, with their captions and masks."""
