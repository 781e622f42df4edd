"""What an experiment says, and all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

#: An experiment that cannot tell right from wrong is inconclusive, never passed.
Verdict = Literal["passed", "failed", "inconclusive"]
#: The experiments in their order, with the question that each answers.
QUESTIONS: dict[str, str] = {
    "neutral": "a neutral mask leaves the outputs as they are",
    "one token": "a mask that hides every other token leaves no weight off the diagonal, and nothing else mixes tokens",
    "position": "the token that moves when a patch of the image is changed is the one at the patch's place",
    "gradient": "gradients reach every mask",
    "batch": "an image's output does not depend on the other images of its batch",
}


@dataclass(frozen=True)
class Outcome:
    """What one experiment says of one attention module, or of the model.

    Attributes:
        check: The experiment, a key of ``QUESTIONS``.
        verdict: ``"passed"``, ``"failed"`` or ``"inconclusive"``.
        detail: What was measured, or why nothing can be said.
        module: The attention module, empty if it is of the whole model.
        told: Whether a report names it though it passed.
    """

    check: str
    verdict: Verdict
    detail: str
    module: str = ""
    told: bool = False

    def __str__(self) -> str:
        where = f" of '{self.module}'" if self.module else ""
        return f"{self.check}{where}: {self.verdict} ({self.detail})"


@dataclass(frozen=True)
class MaskReport:
    """What the experiments say of the masks of a model.

    Attributes:
        model: The model's class.
        modules: Number of its masked attention modules.
        outcomes: Of every experiment and module.
    """

    model: str
    modules: int
    outcomes: tuple[Outcome, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed; what is inconclusive is in ``verdicts``."""
        return not self.failures

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """What failed."""
        return tuple(outcome for outcome in self.outcomes if outcome.verdict == "failed")

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """By experiment: failed if it failed anywhere, inconclusive if it is so anywhere, else passed."""
        return {check: _together(self.outcomes, check) for check in QUESTIONS}

    def __str__(self) -> str:
        lines = [f"masks in {self.modules} attention modules of {self.model}"]
        for check, verdict in self.verdicts.items():
            lines.append(f"{verdict:>12}  {check}: {QUESTIONS[check]}")
            lines += [
                f"              {outcome}"
                for outcome in self.outcomes
                if outcome.check == check and (outcome.told or outcome.verdict != "passed")
            ]
        return "\n".join(lines)


def _together(outcomes: Sequence[Outcome], check: str) -> Verdict:
    verdicts = {outcome.verdict for outcome in outcomes if outcome.check == check}
    if "failed" in verdicts:
        return "failed"
    return "passed" if verdicts == {"passed"} else "inconclusive"
