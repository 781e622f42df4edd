"""Law 24: what is proved of roots of unity is what the package's recurrence does."""

from sympy import Indexed, Rational, Symbol

from retconv.approximate import roots_of_unity
from retconv.proofs import PROOFS
from tests.approximate.cases import causal
from tests.compare import assert_close
from tests.proofs.closed_forms import form
from tests.strategies import normal


def test_law_24_period_and_last_number() -> None:
    """Of n + 1 = 6 taps."""
    taps = normal(0, 1, 6)
    period = int(form("roots_of_unity", "period", "n")(5))
    response = roots_of_unity(causal(taps)).response(2 * period)
    assert_close(response[:, period:], response[:, :period])
    last = PROOFS["roots_of_unity"]().claim["last"]
    terms = last.subs(Symbol("n", integer=True, nonnegative=True), 5).doit()
    values = {entry: Rational(float(taps[0, int(entry.indices[0])])) for entry in terms.atoms(Indexed)}
    assert_close(response[0, 6], float(terms.subs(values)))
