"""The scripts that train the weights in `dl/weights/files/`, from nothing: `python -m dl train-weights NAME`.

Each writes the weights and their card, and resumes where it stopped.
"""
