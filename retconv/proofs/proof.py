"""What a proof is: closed forms that are claimed, and the steps that reduce the claim to 0 = 0."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from string import Template
from types import MappingProxyType
from typing import Any, Literal, Protocol

from sympy import Abs, Add, Dummy, Expr, Indexed, S, lambdify, latex

from retconv.proofs.reduce import reduce

Claim = Mapping[str, Expr]
Relation = Literal["positive", "nonnegative", "nonzero"]

_SYMBOLS: dict[Relation, str] = {"positive": "> 0", "nonnegative": r"\ge 0", "nonzero": r"\ne 0"}


class Step(Protocol):
    """One step of a proof: a sentence, a formula, and a residual that must be exactly 0."""

    @property
    def reason(self) -> str:
        """What is shown and why, in words."""

    @property
    def latex(self) -> str:
        """The step's formula."""

    @property
    def residual(self) -> Expr:
        """0 if and only if SymPy shows the step."""


@dataclass(frozen=True)
class Equation:
    """The step ``left = right``; its residual is ``left − right``, reduced.

    Attributes:
        reason: What is shown and why, in words.
        left: One side, as derived.
        right: The other.
        of: LaTeX of what the left side is, where SymPy's form of it no longer tells.

    Example:
        >>> import sympy
        >>> x = sympy.Symbol("x")
        >>> Equation("a square", (x + 1) ** 2, x**2 + 2 * x + 1).residual
        0
    """

    reason: str
    left: Expr
    right: Expr
    of: str = ""

    @property
    def latex(self) -> str:
        """The equation; sides that read alike are written once where ``of`` names them."""
        sides = [latex(self.left), latex(self.right)]
        return " = ".join(dict.fromkeys([self.of, *sides]) if self.of else sides)

    @property
    def residual(self) -> Expr:
        """``left − right``, which reduces to exactly 0."""
        return reduce(self.left - self.right)


@dataclass(frozen=True)
class Sign:
    """The step that an expression is positive, nonnegative or nonzero, derived from its symbols' assumptions.

    Example:
        >>> import sympy
        >>> Sign("γ is positive", sympy.Symbol("gamma", positive=True)).residual
        0
    """

    reason: str
    value: Expr
    relation: Relation = "positive"

    @property
    def latex(self) -> str:
        """The inequality."""
        return f"{latex(self.value)} {_SYMBOLS[self.relation]}"

    @property
    def residual(self) -> Expr:
        """0 if SymPy derives the sign, else 1."""
        return S.Zero if getattr(self.value, f"is_{self.relation}") else S.One


@dataclass(frozen=True)
class Proof:
    """A law's closed forms and the derivation that shows them.

    Attributes:
        name: Name in ``PROOFS`` and on the command line.
        law: Number of the law in the package's list.
        title: The statement in words.
        assumptions: What the symbols stand for, as LaTeX.
        template: The statement as LaTeX, with ``$name`` where a claimed closed form stands.
        claim: The claimed closed forms by name.
        argue: Derives the steps from any claim: from a wrong one it derives a step that fails.

    Example:
        >>> (proof,) = retconv.proofs.find(["causal_transfer"])
        >>> proof.law
        6
    """

    name: str
    law: int
    title: str
    assumptions: str
    template: str
    claim: Claim
    argue: Callable[[Claim], Iterable[Step]] = field(repr=False)

    def __post_init__(self) -> None:
        """Freeze the claim."""
        object.__setattr__(self, "claim", MappingProxyType(dict(self.claim)))

    @property
    def statement(self) -> str:
        """The statement as LaTeX, with the closed forms as they are claimed."""
        return Template(self.template).substitute({name: latex(form) for name, form in self.claim.items()})

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps that this claim needs."""
        return tuple(self.argue(self.claim))

    @property
    def residual(self) -> Expr:
        """``Σ |residual of step|``: exactly 0 if and only if every step's is."""
        return Add(*(Abs(step.residual) for step in self.steps))

    @property
    def holds(self) -> bool:
        """Whether the residual is exactly 0."""
        return all(step.residual == 0 for step in self.steps)

    def function(self, form: str, *arguments: str) -> Callable[..., Any]:
        """A claimed closed form as a numeric function of NumPy arrays: what ties it to the package's numeric code.

        Args:
            form: Name of the closed form in ``claim``.
            *arguments: Names of its symbols in the order in which the function takes them, such as ``"gamma"`` or, for
                an indexed symbol, ``"sigma[c]"``.

        Raises:
            ValueError: If the proof claims no such form, or the arguments are not the form's symbols.
        """
        if form not in self.claim:
            raise ValueError(f"proof {self.name!r} claims {sorted(self.claim)}, not {form!r}")
        expression = self.claim[form]
        indexed = {str(entry): Dummy() for entry in expression.atoms(Indexed)}
        expression = expression.subs({entry: indexed[str(entry)] for entry in expression.atoms(Indexed)})
        known = indexed | {str(symbol): symbol for symbol in expression.free_symbols if symbol not in indexed.values()}
        missing = sorted(set(known) - set(arguments))
        if missing:
            raise ValueError(f"{form!r} of proof {self.name!r} depends on {sorted(known)}: {missing} not given")
        symbols = [known.get(name, Dummy()) for name in arguments]
        return lambdify(symbols, expression, modules=["scipy", "numpy"])

    def to_markdown(self) -> str:
        """Statement and numbered steps as Markdown with LaTeX, as a notebook shows them."""
        steps = "\n".join(f"{i}. {s.reason} $\\displaystyle {s.latex}$" for i, s in enumerate(self.steps, 1))
        return (
            f"**Law {self.law}: {self.title}.** For ${self.assumptions}$,\n\n$$ {self.statement} $$\n\n"
            f"*Proof.*\n\n{steps}\n\n$\\blacksquare$"
        )

    _repr_markdown_ = to_markdown

    def to_latex(self) -> str:
        """Statement and enumerated steps as LaTeX, to paste into a paper."""
        items = "\n".join(f"\\item {step.reason} \\[ {step.latex} \\]" for step in self.steps)
        return (
            f"\\paragraph{{Law {self.law}: {self.title}.}} For ${self.assumptions}$,\n\\[ {self.statement} \\]\n"
            f"\\begin{{enumerate}}\n{items}\n\\end{{enumerate}}"
        )

    def claiming(self, forms: Claim) -> Proof:
        """The same argument for other closed forms.

        Raises:
            ValueError: If the proof claims no form of that name.
        """
        unknown = sorted(set(forms) - set(self.claim))
        if unknown:
            raise ValueError(f"proof {self.name!r} claims {sorted(self.claim)}, not {unknown}")
        return replace(self, claim={**self.claim, **forms})
