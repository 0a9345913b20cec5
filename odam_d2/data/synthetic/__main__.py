"""Writes synthetic images with annotations, or a video of people who pass behind each other with their tracks.

python -m odam_d2.data.synthetic --profile scene --split demo --num-images 6 --output DIR
python -m odam_d2.data.synthetic --profile scene crowd --split demo --num-images 4 2 --output DIR
python -m odam_d2.data.synthetic --clip --output DIR
"""

import argparse

from .clip import PassingPeople, write_clip
from .profiles import PROFILES, SPLITS
from .scenes import SyntheticScenes
from .writers import encode_jpeg, write_images


def demo_samples(profiles: list[str], counts: list[int], split: str, seed: int):
    """Yields images of one or several profiles with running numbers.

    Args:
        profiles: names of profiles. The first one's classes and kind of `bbox` hold for all, so that one annotation
            file serves them.
        counts: number of images of each.
        split, seed: as for `SyntheticScenes`.

    Yields:
        (JPEG bytes, record with `file_name`), as `write_images` takes them.
    """
    first = PROFILES[profiles[0]]
    number = 0
    for profile, count in zip(profiles, counts):
        scenes = SyntheticScenes(profile, split, count, seed)
        for index in range(count):
            image, record = scenes[index]
            for annotation in record["annotations"]:
                name = PROFILES[profile].thing_classes[annotation["category_id"]]
                annotation["category_id"] = first.thing_classes.index(name)
                annotation["bbox"] = list(annotation[first.box])
            record.update(image_id=number, file_name=f"{profile}_{split}_{index:06d}.jpg")
            number += 1
            yield encode_jpeg(image), record


def main(arguments: list[str] | None = None) -> None:
    """Writes images with annotations: `images/*.jpg`, `annotations.json` (COCO) and `annotations.odgt`.

    Or, with --clip, a video: `clip.mp4` and `tracks.json`.
    """
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--profile", nargs="+", choices=sorted(PROFILES), default=["scene"], help="one or several")
    parser.add_argument("--split", choices=sorted(SPLITS), default="demo")
    parser.add_argument("--num-images", nargs="+", type=int, default=[6], help="one number for each profile")
    parser.add_argument("--clip", action="store_true", help="instead, a video of people who pass behind each other")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", required=True, help="folder; made when missing")
    args = parser.parse_args(arguments)
    if args.clip:
        clip = PassingPeople(seed=args.seed)
        write_clip(clip, args.output)
        print(f"wrote a video of {len(clip)} frames and its tracks to {args.output}")
        return
    if len(args.profile) != len(args.num_images):
        parser.error(f"--num-images must give one number for each of {args.profile}; got {args.num_images}")
    samples = demo_samples(args.profile, args.num_images, args.split, args.seed)
    records = write_images(samples, args.output, PROFILES[args.profile[0]].thing_classes, "annotations.json")
    print(f"wrote {len(records)} images and their annotations to {args.output}")


if __name__ == "__main__":
    main()
