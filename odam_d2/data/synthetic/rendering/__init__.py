"""Drawing of synthetic street scenes: people, dogs, cars and furniture, painted far to near on a ground plane.

Conventions of this package: colours are BGR in [0, 255]; lengths of things are metres; `scale` is image pixels per
metre; (u, v) are metres right of and above a sprite's ground point; image boxes are (x1, y1, x2, y2) pixel edges.
"""
