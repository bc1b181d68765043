"""What cityscapesScripts itself draws: run by the interpreter of envs/crosscheck.lock, not by ours.

For every `NAME_polygons.json` in the first folder it writes `NAME_labelIds.png` and `NAME_instanceIds.png` to the
second.
"""

import sys
from pathlib import Path

from cityscapesscripts.preparation.json2instanceImg import json2instanceImg
from cityscapesscripts.preparation.json2labelImg import json2labelImg


def main(annotations: Path, target: Path) -> None:
    for path in sorted(annotations.glob("*_polygons.json")):
        stem = path.name.removesuffix("_polygons.json")
        json2labelImg(str(path), str(target / f"{stem}_labelIds.png"), "ids")
        json2instanceImg(str(path), str(target / f"{stem}_instanceIds.png"), "ids")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
