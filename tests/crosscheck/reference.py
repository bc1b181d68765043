"""What cityscapesScripts itself draws and scores: run by the interpreter of envs/crosscheck.lock, not by ours.

`reference.py ANNOTATIONS TARGET` writes, for every `NAME_polygons.json` in the first folder, `NAME_labelIds.png` and
`NAME_instanceIds.png` to the second. `reference.py score RUNS SCORES` has its evaluator score each of the runs that a
JSON lists: `truth` and `predictions` are files, `labels` null or rows of its label table to take instead of its own.
"""

import json
import sys
from pathlib import Path

from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling
from cityscapesscripts.helpers.labels import Label
from cityscapesscripts.helpers.labels import labels as own_labels
from cityscapesscripts.preparation.json2instanceImg import json2instanceImg
from cityscapesscripts.preparation.json2labelImg import json2labelImg


def draw(annotations: Path, target: Path) -> None:
    for path in sorted(annotations.glob("*_polygons.json")):
        stem = path.name.removesuffix("_polygons.json")
        json2labelImg(str(path), str(target / f"{stem}_labelIds.png"), "ids")
        json2instanceImg(str(path), str(target / f"{stem}_instanceIds.png"), "ids")


def score(runs: Path, target: Path) -> None:
    evaluator = evalPixelLevelSemanticLabeling
    evaluator.args.evalInstLevelScore = False  # takes pictures of instances, and sizes of Cityscapes' own classes
    evaluator.args.JSONOutput, evaluator.args.quiet = False, True
    scores = []
    for run in json.loads(runs.read_text()):
        table = [Label(*row) for row in run["labels"]] if run["labels"] else own_labels
        evaluator.labels = table
        evaluator.id2label = {label.id: label for label in table}
        evaluator.category2labels = {
            category: [label for label in table if label.category == category]
            for category in dict.fromkeys(label.category for label in table)
        }
        scores.append(evaluator.evaluateImgLists(run["predictions"], run["truth"], evaluator.args))
    target.write_text(json.dumps(scores))


if __name__ == "__main__":
    if sys.argv[1] == "score":
        score(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        draw(Path(sys.argv[1]), Path(sys.argv[2]))
