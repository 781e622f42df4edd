"""Errors of the proofs."""

import click
from sympy import S

from retconv.proofs import find
from retconv.proofs.__main__ import main
from tests.error_table import Error

INVERSE = find(["causal_inverse"])[0]

PROOFS: dict[str, Error] = {
    "unknown name": (lambda: find(["chunkwize"]), ValueError, "unknown proof 'chunkwize': did you mean 'chunkwise'"),
    "name like no other": (lambda: find(["?"]), ValueError, "choose from causal_transfer, causal_inverse, "),
    "command": (
        lambda: main(["?"], standalone_mode=False),
        click.BadParameter,
        r"unknown proof '\?': choose from causal_transfer, ",
    ),
    "claim of another proof": (
        lambda: INVERSE.claiming({"symbol": S.One}),
        ValueError,
        r"proof 'causal_inverse' claims \['below', 'diagonal'\], not \['symbol'\]",
    ),
    "function of another proof": (
        lambda: INVERSE.function("symbol", "gamma"),
        ValueError,
        r"proof 'causal_inverse' claims \['below', 'diagonal'\], not 'symbol'",
    ),
    "symbol not given": (
        lambda: INVERSE.function("below", "sigma"),
        ValueError,
        r"'below' of proof 'causal_inverse' depends on \['gamma'\]: \['gamma'\] not given",
    ),
}

TABLES = {"proofs": PROOFS}
