"""Networks that the lessons use and do not teach in full: the vision transformer, DINO's recipe (and the same on a toy), the
small CLIP, and the scores that notebooks and training scripts measure on them."""
