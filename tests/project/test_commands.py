"""Commands in new interpreters: help comes soon, models are known by name, and what lacks an extra says which."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import retconv
from retconv.__main__ import COMMANDS, main
from retconv.bench.__main__ import main as benchmarks
from retconv.results.__main__ import main as results
from retconv.train.cli import budget_option
from tests.project.modules import MODULES, PACKAGE, ROOT

#: Libraries that take longer to import than a help text may take, most of them longer than retconv itself.
SLOW = (
    *("IPython", "PIL", "datasets", "huggingface_hub", "jinja2", "joblib", "matplotlib", "pandas", "pyarrow"),
    *("safetensors", "scipy", "seaborn", "sklearn", "sympy", "tensorboard", "timm", "torch._dynamo"),
    *("torch._inductor", "torchvision"),
)
#: ``retconv.models`` is for timm's models, and enters its own among them.
HELP = [f"{name.removesuffix('.__main__')} --help" for name in MODULES if name.endswith(".__main__")]
HELP.remove("retconv.models --help")
HELP += ["retconv.describe --help", *(f"retconv.results {name} --help" for name in results.commands)]
HELP += [f"retconv.bench {name} --help" for name in benchmarks.commands]
HELP += [f"retconv {name} --help" for name in COMMANDS if name != "models"]
#: Run in a new interpreter: each command in a fork of it, so that none hides what another loads; a line for each, with
#: its text and what is loaded.
FORKS = """
import contextlib, io, json, os, runpy, sys
import torch
for command in json.loads(sys.argv[1]):
    if os.fork() == 0:
        sys.argv = command.split()
        with contextlib.redirect_stdout(io.StringIO()) as written, contextlib.suppress(SystemExit):
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        print(json.dumps([command, written.getvalue(), sorted(sys.modules)]), flush=True)
        os._exit(0)
    os.wait()
"""


@click.command()
@budget_option
def probe(budget: object) -> None:
    """Has a budget; what it does with it is patched."""


@pytest.fixture(scope="module")
def helped() -> dict[str, tuple[str, set[str]]]:
    """By command, its help and the modules that are loaded then."""
    run = subprocess.run([sys.executable, "-c", FORKS, json.dumps(HELP)], cwd=ROOT, capture_output=True, check=True)
    lines = map(json.loads, run.stdout.splitlines())
    return {command: (text, set(loaded)) for command, text, loaded in lines}


@pytest.mark.parametrize("command", HELP)
def test_help_waits_for_no_slow_library(command: str, helped: dict[str, tuple[str, set[str]]]) -> None:
    """A command imports what it runs when it runs."""
    text, loaded = helped[command]
    assert text.startswith(f"Usage: python -m {command.removesuffix(' --help')} [OPTIONS]")
    assert loaded.isdisjoint(SLOW), f"{command} loads {sorted(loaded & {*SLOW})}"


def test_every_command_is_a_subcommand_and_a_module() -> None:
    """``retconv train`` is what ``python -m retconv.train`` runs, and a package that is a program is listed."""
    programs = {name.removesuffix(".__main__") for name in MODULES if name.endswith(".__main__")} - {"retconv"}
    assert {f"retconv.{name}" for name in COMMANDS} == programs | {"retconv.describe", "retconv.look"}
    for name, (where, _) in COMMANDS.items():
        module = where.partition(":")[0]
        assert name == "look" or module.removesuffix(".__main__") == f"retconv.{name}"
        assert isinstance(main.get_command(click.Context(main), name), click.Command)


def test_its_own_help_lists_the_commands_and_imports_none() -> None:
    program = "import sys, retconv.__main__ as r; r.main(['--help'], 'retconv', standalone_mode=False)"
    program += "; print(*{'torch', 'numpy'} & {*sys.modules})"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    *text, loaded = run.stdout.splitlines()
    assert loaded == ""
    assert text[0] == "Usage: retconv [OPTIONS] COMMAND [ARGS]..."
    assert [line.split()[0] for line in text[text.index("Commands:") + 1 :] if line] == list(COMMANDS)
    assert all(len(line) <= 80 for line in text)


def test_it_knows_its_version_and_what_is_near_an_unknown_command() -> None:
    result = CliRunner().invoke(main, ["--version"], prog_name="retconv")
    assert result.output == f"retconv, version {retconv.__version__}\n"
    result = CliRunner().invoke(main, ["studis"], prog_name="retconv")
    assert result.exit_code == 2
    assert result.output.endswith("Error: unknown command 'studis': did you mean 'studies'?\n")


def test_a_subcommand_counts_its_budget_from_the_start_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As its module does when it is the program."""
    budgets = []
    monkeypatch.setattr("retconv.__main__.process_start", lambda: 1000.0)
    monkeypatch.setitem(COMMANDS, "probe", (f"{__name__}:probe", ""))
    monkeypatch.setattr(probe, "callback", lambda budget: budgets.append(budget))
    assert CliRunner().invoke(main, ["probe", "--budget", "60"]).exit_code == 0
    assert budgets[0].until == 1060


#: Run in a new interpreter: each module in a fork of it; exits with the names of those that know no small model.
KNOWS = """
import importlib, os, sys
import timm
ignorant = []
for module in sys.argv[1:]:
    if os.fork() == 0:
        importlib.import_module(module)
        os._exit(not timm.is_model("retconv_vit_tiny"))
    if os.wait()[1]:
        ignorant.append(module)
sys.exit(", ".join(ignorant) or 0)
"""


def test_what_makes_models_by_name_knows_the_small_ones() -> None:
    """Packages give their names when asked for, so a module that needs the registry filled imports what fills it."""
    makes = re.compile(r"^(?! *>>>).*timm\.create_model\(", re.MULTILINE)
    makers = [name for name, path in MODULES.items() if makes.search(path.read_text())]
    assert "retconv.bench.models" in makers
    run = subprocess.run([sys.executable, "-c", KNOWS, *makers], cwd=ROOT, capture_output=True, text=True)
    assert not run.returncode, run.stderr


#: What the extras bring, and the core dependencies do not, by the name under which it is imported.
EXTRAS = (
    *("IPython", "ipykernel", "ipywidgets", "jupyterlab", "jupytext", "nbclient", "nbformat"),
    *("datasets", "pyarrow", "sklearn", "tensorboard"),
    *("dask", "distributed", "joblib", "loky", "ray", "submitit"),
    *("onnx", "onnxruntime", "onnxscript"),
    *("llvmlite", "numba"),
    "triton",
)
#: Run in a new interpreter: commands one after the other, each with its exit code and what it wrote.
ONE_BY_ONE = """
import contextlib, io, json, runpy, sys, traceback
extras, commands = json.loads(sys.argv[1])
sys.modules.update(dict.fromkeys(extras))
import retconv
[getattr(retconv, name) for name in retconv.__all__]
found = {}
for command in commands:
    sys.argv = command.split()
    code = 0
    with contextlib.redirect_stdout(io.StringIO()) as written, contextlib.redirect_stderr(written):
        try:
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code
        except BaseException:
            code = traceback.format_exc()
    found[command] = (code, written.getvalue())
print(json.dumps(found))
"""


def test_without_extras_and_git_commands_run_or_name_what_they_lack(tmp_path: Path) -> None:
    """The core is whole without the extras; what needs one says which, and how to get it."""
    working = [f"retconv.{path.parent.name} --help" for path in sorted(PACKAGE.glob("*/__main__.py"))]
    working += ["retconv.sweep --list"]
    refused = {"retconv.train --recipe smoke": "the digits data set needs sklearn, which is not installed: pip install"}
    run = subprocess.run(
        [sys.executable, "-c", ONE_BY_ONE, json.dumps([EXTRAS, [*working, *refused]])],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        check=True,
    )
    found = json.loads(run.stdout)
    failed = {command: found[command] for command in working if found[command][0]}
    assert not failed, failed
    for command, reason in refused.items():
        code, written = found[command]
        assert code == 2, found[command]
        assert reason in written
