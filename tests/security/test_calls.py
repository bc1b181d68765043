"""What must not come into the code: calls that run what a file says, and data in a shell's words.

ruff's rules `S` look for most of it (pickle, eval, shells, unpacked archives); here is what they do not know.
"""

import ast
import re
from pathlib import Path

import pytest

from fewframes.experiments.parts import CURVES, SHEETS

REPOSITORY = Path(__file__).parents[2]
SOURCES = sorted((REPOSITORY / "src").rglob("*.py"))
RULES = [REPOSITORY / "Snakefile", *sorted((REPOSITORY / "rules").glob("*.smk"))]

NEEDED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "Image.open": ("formats", None),
}
"""Calls, the argument that makes each safe, and its value where only one is."""

ONLY_IN = {
    "cv2.VideoCapture": {"core/videos.py"},
    "cv2.imread": set(),
    "h5py.File": {"core/labelfile.py"},
    "hydra.utils.instantiate": set(),
    "instantiate": {"labelling/models/sam2.py"},
    "OmegaConf.load": {"labelling/models/sam2.py"},
    "torch.hub.load": set(),
    "torch.hub.load_state_dict_from_url": set(),
    "urllib.request.urlopen": set(),
    "subprocess.run": {"doctor/", "reporting/site/"},
    "subprocess.Popen": set(),
}
"""Calls, and the files whose tests or checks see to their being safe."""

ALREADY_OPENED = {"datasets/labelmaps.py"}
"""Files that open a picture which `core.images` has read before, and only look at its palette."""


def calls(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {k.arg: k.value for k in node.keywords}, node.lineno


def faults(path, package=REPOSITORY / "src" / "fewframes"):
    name = path.relative_to(package).as_posix()
    for call, keywords, line in calls(path):
        if call in NEEDED and not (call == "Image.open" and name in ALREADY_OPENED):
            argument, value = NEEDED[call]
            given = keywords.get(argument)
            if given is None or (value is not None and ast.unparse(given) != str(value)):
                yield f"{name}, line {line}: {call} without {argument}"
        if call in ONLY_IN and not any(name.startswith(place) for place in ONLY_IN[call]):
            yield f"{name}, line {line}: {call}"


def test_nothing_is_read_that_could_run_or_lead_elsewhere():
    assert len(SOURCES) > 100
    assert [fault for path in SOURCES for fault in faults(path)] == []


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(a)",
        "torch.load(a, weights_only=False)",
        "np.load(a, allow_pickle=True)",
        "cv2.imread(a)",
    ],
)
def test_it_would_be_seen(tmp_path, line):
    (tmp_path / "new.py").write_text(f"value = {line}")
    assert len(list(faults(tmp_path / "new.py", tmp_path))) == 1


# --- rules: what Snakemake puts into a shell's words --------------------------------------------------

UNQUOTED = {
    "{threads}": "a number",
    "{wildcards.seed}": "a number (common.smk)",
    "{wildcards.method}": "letters, digits and '_' (common.smk)",
    "{wildcards.figure}": "a figure of ours (figures.smk)",
    "{wildcards.selection}": "two words (selection.smk)",
    "{params.method}": "a method's name, checked by Study",
    "{params.device}": "auto, cpu or cuda, by the config's schema",
    "{params.reach}": "a number, by the config's schema",
    "{params.clips}": "a number, by the config's schema",
}
"""What stands without quotes, and what it is: no name from data, and nothing that a config could make a command of."""


def rules():
    """The text of each rule, and of what stands before the first in a file."""
    for path in RULES:
        yield from re.split(r"^ *(?:use )?(?:rule|checkpoint) .*:$", path.read_text(encoding="utf-8"), flags=re.M)


def shells(rule):
    """The text of a rule's shell command, if it has one."""
    lines = rule.splitlines()
    for number, line in enumerate(lines):
        if line.strip() == "shell:":
            deep = len(line) - len(line.lstrip())
            block = []
            for below in lines[number + 1 :]:
                if below.strip() and len(below) - len(below.lstrip()) <= deep:
                    break
                block.append(below)
            yield "\n".join(below for below in block if not below.lstrip().startswith("#"))


def test_whatever_reaches_a_shell_is_quoted_or_a_word_of_ours():
    commands = [command for rule in rules() for command in shells(rule)]
    fields = [field for command in commands for field in re.findall(r"\{[^{}]*\}", command)]
    assert len(commands) > 20 and len(fields) > 150
    assert {field for field in fields if not field.endswith(":q}")} == UNQUOTED.keys()


def test_rules_run_commands_alone():
    for path in RULES:
        assert not re.search(r"^\s+(run|script|notebook|wrapper|cwl):|\bshell\(", path.read_text(), re.MULTILINE), path


def constraints(text):
    """What wildcards may be, by the expressions that say so."""
    blocks = re.findall(r"^( *)wildcard_constraints:\n((?:\1 +.*\n)+)", text, re.MULTILINE)
    return {name: value for _, block in blocks for name, value in re.findall(r"^ *(\w+)=(.*),$", block, re.MULTILINE)}


def test_wildcards_are_words():
    of_all = constraints((REPOSITORY / "rules/common.smk").read_text())
    seen = set()
    for rule in rules():
        own = of_all | constraints(rule)
        for wildcard in {match for command in shells(rule) for match in re.findall(r"\{wildcards\.(\w+)\}", command)}:
            pattern = eval(own[wildcard], {"CURVES": CURVES, "SHEETS": SHEETS})
            for hostile in ("a;b", "$(a)", "a b", "a\nb", "../a", "{a}", "-a"):
                assert not re.fullmatch(pattern, hostile), (wildcard, hostile)
            seen.add(wildcard)
    assert {f"{{wildcards.{name}}}" for name in seen} == {field for field in UNQUOTED if "wildcards" in field}
