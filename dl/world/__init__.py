"""The sample world: seeded scenes with a known truth, standing in where the real data sets are absent.

scenes.py    what is in a scene: classes, colours, textures, sizes, places, relations
shapes.py    the outline of every class, as polygons
render.py    scene -> image and object mask, at any size
captions.py  scene -> sentence, sentence -> what it claims, and how right that is
scoring.py   how right captions are, and where attention lies
videos.py    moving scenes with masks, easy ones and hard ones
export.py    writes the four data sets in the on-disk formats of the real ones
"""
