"""The tables of a run.

A **part** is the SQLite file of one writing process, ``part-00000.sqlite``. The **index** joins the rows of all parts,
maps and documents excepted, in the order of the run's images, with the SQL indexes that pages filter and sort by.

Boxes are XYXY in the original image's pixels. An image is known by its key (a folder's name or an image id as JSON). In
the index its number is its place in the run; a part has numbers of its own, since a run that goes on may have other
images. Rows of an image count from 0.
"""

# "odam" as a number, by which a file of ours is known, and the version of these tables.
APPLICATION_ID = 0x6F64616D
FORMAT_VERSION = 1

IMAGE_COLUMNS = {
    "number": "INTEGER PRIMARY KEY",
    "key": "TEXT NOT NULL",
    "name": "TEXT NOT NULL",
    "path": "TEXT NOT NULL",
    "width": "INTEGER",
    "height": "INTEGER",
    "input_width": "INTEGER",
    "input_height": "INTEGER",
    # Why the image could not be read or explained; NULL where it was.
    "failure": "TEXT",
    # JSON: what a command keeps of an image beside its rows.
    "facts": "TEXT NOT NULL",
}
_BOX = {"x1": "REAL NOT NULL", "y1": "REAL NOT NULL", "x2": "REAL NOT NULL", "y2": "REAL NOT NULL"}
ANNOTATION_COLUMNS = {
    "image": "INTEGER NOT NULL",
    "row": "INTEGER NOT NULL",
    # JSON of the annotation's own id; NULL where it has none.
    "id": "TEXT",
    "class": "INTEGER NOT NULL",
    "label": "TEXT NOT NULL",
    **_BOX,
    "crowd": "INTEGER NOT NULL",
    # How much of it others hide, in [0, 1]; NULL where it isn't known.
    "occlusion": "REAL",
}
DETECTION_COLUMNS = {
    "image": "INTEGER NOT NULL",
    "row": "INTEGER NOT NULL",
    # "detection", "annotation" (an annotated box that was explained) or "missed" (an object that was not found).
    "kind": "TEXT NOT NULL",
    "class": "INTEGER NOT NULL",
    "label": "TEXT NOT NULL",
    "score": "REAL",
    **_BOX,
    # Row of the annotation that it is judged against, the overlap with it, and how much of it others hide.
    "annotation": "INTEGER",
    "iou": "REAL",
    "occlusion": "REAL",
    # "correct" or a type of error; NULL without annotations.
    "verdict": "TEXT",
    # Of missed objects: by which mechanism.
    "mechanism": "TEXT",
    # Share of the score map outside the box.
    "outside": "REAL",
    # One sentence for people, and figures as JSON.
    "sentence": "TEXT",
    "figures": "TEXT NOT NULL",
}
TABLES = {"images": IMAGE_COLUMNS, "annotations": ANNOTATION_COLUMNS, "detections": DETECTION_COLUMNS}
_KEYS = {"images": "", "annotations": ", PRIMARY KEY (image, row)", "detections": ", PRIMARY KEY (image, row)"}
_ROWID = {"images": "", "annotations": " WITHOUT ROWID", "detections": " WITHOUT ROWID"}


def table_statement(name: str, columns: str = "") -> str:
    """The statement that makes a table of :data:`TABLES`; `columns` are added to it."""
    given = ", ".join(f"{column} {kind}" for column, kind in TABLES[name].items())
    return f"CREATE TABLE {name} ({given}{columns}{_KEYS[name]}){_ROWID[name]}"


PART_STATEMENTS = (
    "CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    *(table_statement(name) for name in TABLES),
    "CREATE UNIQUE INDEX images_by_key ON images (key)",
    # `role` says what a map shows of its detection: "" itself; for mistakes see odam_d2.analysis.
    "CREATE TABLE maps (image INTEGER NOT NULL, row INTEGER NOT NULL, method TEXT NOT NULL, role TEXT NOT NULL, "
    "packed BLOB NOT NULL, PRIMARY KEY (image, row, method, role))",
    "CREATE TABLE documents (collection TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, "
    "PRIMARY KEY (collection, name))",
)

# What pages filter and sort by; each also gives the place in the run, which decides among equals.
INDEX_STATEMENTS = (
    "CREATE UNIQUE INDEX images_by_key ON images (key)",
    *(
        f"CREATE INDEX detections_by_{column} ON detections ({column}, image, row)"
        for column in ("class", "score", "verdict", "mechanism", "iou", "occlusion", "outside", "kind")
    ),
)
