"""The proofs hold, exactly; and not one of them survives a perturbation of what it claims."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from string import Template

import pytest
from click.testing import CliRunner
from sympy import Expr, Float, Indexed, Integer, N, Rational, S, Symbol, erfinv, symbols
from sympy.core.cache import clear_cache

from retconv.proofs import PROOFS, Equation, Sign, find
from retconv.proofs.__main__ import main
from retconv.proofs.reduce import closed, reduce
from retconv.proofs.tools import sigma

every_proof = pytest.mark.parametrize("name", PROOFS)
FORMS = [(name, form) for name, state in PROOFS.items() for form in state().claim]
PERTURBATIONS: dict[str, Callable[[Expr], Expr]] = {
    "added to": lambda form: form + Rational(1, 7),
    "scaled": lambda form: form * Rational(8, 7),
}


def test_all_proofs_together_take_less_than_a_minute() -> None:
    """Of a processor, with nothing remembered. First of this file, as the tests below remember what it reduces."""
    reduce.cache_clear()
    closed.cache_clear()
    clear_cache()
    start = time.process_time()
    result = CliRunner().invoke(main)
    assert time.process_time() - start < 60
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert {line.split()[0] for line in lines[:-1]} == {"PASS"}
    assert [line.split()[5] for line in lines[:-1]] == list(PROOFS)
    assert re.fullmatch(rf"{len(PROOFS)} of {len(PROOFS)} proved, every residual exactly 0, in [\d.]+ s", lines[-1])


@every_proof
def test_residual_is_exactly_zero(name: str) -> None:
    """SymPy's 0, not a small number."""
    proof = PROOFS[name]()
    assert proof.residual is S.Zero
    assert proof.holds


@every_proof
def test_steps_contain_no_floating_point_number(name: str) -> None:
    for step in PROOFS[name]().steps:
        sides = (step.left, step.right) if isinstance(step, Equation) else (step.value,)
        assert not any(side.atoms(Float) for side in sides)


@every_proof
def test_statement_shows_every_closed_form(name: str) -> None:
    """And nothing that is not claimed: what is read is what is proved."""
    proof = PROOFS[name]()
    assert set(Template(proof.template).get_identifiers()) == set(proof.claim)
    assert "$" not in proof.statement
    assert proof.name == name


def nonzero_somewhere(residual: Expr) -> bool:
    """Whether a residual is a number other than 0 at some point of its assumptions."""
    symbols = sorted(residual.free_symbols, key=str)
    point = {s: Integer(2) if s.is_integer else Rational(2 * i + 3, 2 * i + 9) for i, s in enumerate(symbols)}
    value = residual.subs({s: v for s, v in point.items() if not isinstance(s, Indexed)}).doit()
    entries = sorted(value.atoms(Indexed), key=str)
    value = value.subs({entry: Rational(3 + 2 * i, 5 + i) for i, entry in enumerate(entries)})
    # SymPy has numbers for erfinv but none for erfcinv.
    return abs(complex(N(value.rewrite(erfinv)))) > 1e-9


@pytest.mark.parametrize("how", PERTURBATIONS)
@pytest.mark.parametrize(("name", "form"), FORMS)
def test_no_perturbed_statement_survives(name: str, form: str, how: str) -> None:
    """The step that fails is truly false: its two sides differ at a point, not only in what SymPy can see."""
    proof = PROOFS[name]()
    perturbed = proof.claiming({form: PERTURBATIONS[how](proof.claim[form])})
    residuals = (step.residual for step in perturbed.steps if isinstance(step, Equation))
    assert any(residual != 0 and nonzero_somewhere(residual) for residual in residuals)


#: Only the square of a feature enters its Gram matrix: the negative is as true.
EVEN = {("schur_product", "feature")}


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_no_negated_statement_survives(name: str, form: str) -> None:
    """A proof that compares squares takes −√n σ for a width."""
    proof = PROOFS[name]()
    negated = proof.claiming({form: -proof.claim[form]})
    assert negated.holds == ((name, form) in EVEN)


_q, _k = symbols("p_q p_k", real=True)
#: Claims that sum up to the Gaussian's exponent as well, and are no channels.
NO_CHANNELS: dict[str, dict[str, Expr]] = {
    "the exponent itself": {"channel": -((_k - _q) ** 2) / (2 * sigma**2), "last": S.Zero, "row": S.Zero},
    "a sum of two products": {"channel": _q * _k / sigma**2 - _k**2 / (2 * sigma**2), "last": S.Zero},
    "the query in the key's channel": {"channel": S.Zero, "last": (2 * _q * _k - _k**2) / (2 * sigma**2)},
    "a row that knows its keys": {
        "channel": -_q * _k / sigma**2,
        "row": (_q**2 - 4 * _q * _k) / (2 * sigma**2),
    },
}


@pytest.mark.parametrize("claim", NO_CHANNELS.values(), ids=NO_CHANNELS.keys())
def test_a_channel_is_a_product(claim: dict[str, Expr]) -> None:
    """Of a number of the query and one of the key: what only adds up right is no attention with more channels."""
    proof = PROOFS["quadratic_encoding"]().claiming(claim)
    assert proof.steps[0].residual == 0, "the sum is right"
    assert not proof.holds


def test_one_failing_step_fails_the_proof() -> None:
    proof = find(["causal_inverse"])[0]
    wrong = proof.claiming({"below": Rational(1, 2)})
    assert [step.residual == 0 for step in wrong.steps].count(False) == 1
    assert not wrong.holds
    assert wrong.residual != 0


@pytest.mark.parametrize("relation", ["positive", "nonnegative", "nonzero"])
def test_sign_needs_the_assumption(relation: str) -> None:
    """A sign is derived, or the step fails."""
    assert Sign("", Symbol("x", positive=True), relation).residual == 0  # type: ignore[arg-type]
    assert Sign("", Symbol("x", real=True), relation).residual == 1  # type: ignore[arg-type]


def test_laws_that_must_have_a_proof() -> None:
    assert {6, 7, 8, 9, 10, 11, 12, 15, 18, 19} <= {proof.law for proof in find()}
    assert [proof.name for proof in find(["chunkwise", "causal_inverse"])] == ["causal_inverse", "chunkwise"]


def test_command_lists_without_proving() -> None:
    result = CliRunner().invoke(main, ["--list"])
    assert result.exit_code == 0
    assert [line.split()[2] for line in result.output.splitlines()] == list(PROOFS)


def test_command_prints_latex() -> None:
    result = CliRunner().invoke(main, ["--latex", "causal_inverse"])
    assert result.exit_code == 0
    assert r"\paragraph{Law 6: causal decay has a bidiagonal inverse.}" in result.output
    assert result.output.count(r"\item") == 5
    assert "% causal_inverse: PASS" in result.output


@pytest.mark.parametrize("options", [[], ["--latex"]])
def test_command_fails_with_what_is_left_over(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    proof = PROOFS["causal_inverse"]()
    wrong = proof.claiming({"below": -2 * proof.claim["below"]})
    monkeypatch.setitem(PROOFS, "causal_inverse", lambda: wrong)
    result = CliRunner().invoke(main, [*options, "causal_inverse", "log_form"])
    assert result.exit_code == 1
    assert "FAIL" in result.output
    if not options:
        assert "left over: " in result.output
        assert "1 of 2 proved" in result.output


def test_command_refuses_an_unknown_name() -> None:
    result = CliRunner().invoke(main, ["causal_invers"])
    assert result.exit_code == 2
    assert "did you mean 'causal_inverse'?" in result.output


def test_notebook_shows_statement_and_every_step() -> None:
    proof = PROOFS["two_sided_inverse"]()
    text = proof._repr_markdown_()
    assert proof.statement in text
    assert all(step.reason in text and step.latex in text for step in proof.steps)
