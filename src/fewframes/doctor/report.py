"""What an examination found, and how it reads on a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field

from fewframes.core.errors import UserError

FAULT = "fault"
"""Would break a run, or make its result worthless: do not start."""
WARNING = "warning"
"""Worth knowing before a long run; it may start."""

_WIDTH = 100
_NAMED = 3
"""Examples of one finding in the text; `Report.rows` has them all."""


@dataclass(frozen=True)
class Finding:
    """One thing found.

    `what` says what is wrong, in words that several findings share and that stand before their count; `name` is
    the file or key it is about, `detail` what is particular to it, `mend` what to do about all of its kind.
    """

    severity: str
    group: str
    what: str
    name: str
    mend: str
    detail: str = ""


@dataclass
class Group:
    """One heading of the report: a summary of what was looked at, lines of facts, and what was found."""

    name: str
    summary: str = ""
    facts: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    examined: bool = True

    def add(self, severity: str, what: str, name: str, mend: str, detail: str = "") -> None:
        """Note a finding; the same one twice counts once."""
        finding = Finding(severity, self.name, what, name, mend, detail)
        if finding not in self.findings[-1:]:
            self.findings.append(finding)

    def refused(self, what: str, name: str, error: UserError) -> None:
        """Note as a fault what a part of the package refused; its sentence ends with the mend."""
        detail, _, mend = str(error).rpartition(": ")
        self.add(FAULT, what, name, mend[:1].upper() + mend[1:] if detail else "", detail or mend)


def skipped(name: str, why: str) -> Group:
    """A group that could not be examined."""
    return Group(name, f"not examined: {why}", examined=False)


@dataclass
class Report:
    """An examination: its title and its groups in order."""

    title: str
    groups: list[Group]

    @property
    def rows(self) -> list[Finding]:
        """Every finding, group by group, faults first."""
        return [f for group in self.groups for severity in (FAULT, WARNING) for f in _of(group, severity)]

    @property
    def exit_code(self) -> int:
        """0: go on, perhaps with warnings; 1: there are faults, do not start."""
        return int(any(finding.severity == FAULT for finding in self.rows))

    def text(self) -> str:
        """The report for a terminal of 100 columns."""
        lines = [*_wrapped("", self.title), ""]
        for group in self.groups:
            block = list(_group(group))
            # Groups of one line stand together, longer ones apart.
            if len(block) > 1 and lines[-1]:
                lines.append("")
            lines += [*block, *([""] if len(block) > 1 else [])]
        return "\n".join([*lines, *([""] if lines[-1] else []), self._verdict()])

    def _verdict(self) -> str:
        kinds = {(f.severity, f.group, f.what, f.mend) for f in self.rows}
        faults, warnings = (sum(kind[0] == severity for kind in kinds) for severity in (FAULT, WARNING))
        found = " and ".join(plural(n, word) for n, word in ((faults, FAULT), (warnings, WARNING)) if n)
        if faults:
            return f"Do not start: {found}. Mend the faults and run the doctor again."
        unseen = [group.name for group in self.groups if not group.examined]
        blind = f" Not examined: {', '.join(unseen)}." if unseen else ""
        return f"Go on{f', with {found}' if found else ': nothing found'}.{blind}"


def plural(count: int, word: str) -> str:
    """`1 fault`, `2 faults`, `1,234 faults`, `2 classes`."""
    return f"{count:,} {word}{'' if count == 1 else 'es' if word.endswith('s') else 's'}"


def _of(group: Group, severity: str) -> list[Finding]:
    return [finding for finding in group.findings if finding.severity == severity]


def _group(group: Group) -> Iterator[str]:
    mark = "✗" if _of(group, FAULT) else "·" if not group.examined else "!" if group.findings else "✓"
    yield from _wrapped(f"{mark} {group.name:<10}", group.summary)
    for fact in group.facts:
        yield from _wrapped(" " * 12, fact)
    for severity, sign in ((FAULT, "✗"), (WARNING, "!")):
        kinds: dict[tuple[str, str], list[Finding]] = {}
        for finding in _of(group, severity):
            kinds.setdefault((finding.what, finding.mend), []).append(finding)
        for (what, mend), findings in kinds.items():
            yield from _wrapped(f"  {sign} ", f"{severity}: {what} ({len(findings):,})")
            for finding in findings[:_NAMED]:
                yield from _example(finding)
            if len(findings) > _NAMED:
                yield f"        and {len(findings) - _NAMED:,} more"
            if mend:
                yield from _wrapped("      → ", mend)


def _example(finding: Finding) -> Iterator[str]:
    # A name is never broken, so that it can be copied; one with a line end in it is shown escaped.
    name = f"        {finding.name if finding.name.isprintable() else repr(finding.name)}"
    detail = finding.detail if finding.detail.isprintable() else repr(finding.detail)
    if not detail:
        yield name
    elif len(name) + 2 + len(detail) <= _WIDTH:
        yield f"{name}: {detail}"
    else:
        yield f"{name}:"
        yield from _wrapped(" " * 12, detail)


def _wrapped(head: str, text: str) -> list[str]:
    if not text:
        return [head.rstrip()]
    options = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.wrap(text, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head), **options)  # type: ignore[arg-type]
