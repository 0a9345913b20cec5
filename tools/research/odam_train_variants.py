"""The variants of Odam-Train that odam_train_sweep.py compares: changes to the config by name."""

T = "ODAM.TRAIN."


def _options(**keys: object) -> list[object]:
    """Keys below ODAM.TRAIN as a list of names and values."""
    return [part for key, value in keys.items() for part in (T + key, value)]


# Hard pairs among all positives, held against what the predicted box lies on.
HARD = {"PROPOSALS": "all", "PAIRS": "every", "PAIR_IOU": (0.3, 0.8), "OWNER": "predicted", "ATTRIBUTE": "score"}
RANKING = {**HARD, "LOSS": "ranking"}
REPOOLED = {**RANKING, "REPOOL": 1, "SECOND_ORDER": True}

# For one-stage detectors, which explain no other views than the published ones.
DENSE = {"PAIRS": "every", "PAIR_IOU": (0.3, 0.8), "LOSS": "ranking", "SECOND_ORDER": True}

# What is visible of people, in training and in all figures.
VISIBLE = [
    "DATASETS.TRAIN", ("synthetic_crowd_visible_train_odgt",), "DATASETS.TEST", ("synthetic_crowd_visible_val_odgt",),
]  # fmt: skip

VARIANTS: dict[str, list[object]] = {
    "stock": _options(WEIGHT=0.0),
    "repooled_w1": _options(WEIGHT=1.0, **REPOOLED),
    "published_first_order": _options(WEIGHT=0.2, SECOND_ORDER=False),
    "published_second_order_w2": _options(WEIGHT=2.0, SECOND_ORDER=True),
    "repooled_gates_w1": _options(WEIGHT=1.0, LEARNABLE_GATES=True, **REPOOLED),
    "ranking_w1": _options(WEIGHT=1.0, SECOND_ORDER=True, **RANKING),
    "repooled_w3": _options(WEIGHT=3.0, **REPOOLED),
    "repooled_first_order_w1": _options(WEIGHT=1.0, **{**REPOOLED, "SECOND_ORDER": False}),
    "dense_ranking_w1": _options(WEIGHT=1.0, **DENSE),
    "dense_ranking_w3": _options(WEIGHT=3.0, **DENSE),
    # The annotated box explained as a given box: an anchor that doesn't move. Further views of each object.
    "published_given_w2": _options(WEIGHT=2.0, SECOND_ORDER=True, GIVEN=True),
    "published_jittered_w2": _options(WEIGHT=2.0, SECOND_ORDER=True, JITTERED=2),
    "repooled_warmup_w3": _options(WEIGHT=3.0, WARMUP_ITERS=150, **REPOOLED),
    "repooled_temperature_w3": _options(WEIGHT=3.0, TEMPERATURE=0.3, **REPOOLED),
    "stock_visible": [*_options(WEIGHT=0.0), *VISIBLE],
    "published_visible_w2": [*_options(WEIGHT=2.0, SECOND_ORDER=True), *VISIBLE],
    "repooled_log_w1": _options(WEIGHT=1.0, **{**REPOOLED, "LOSS": "log"}),
}
