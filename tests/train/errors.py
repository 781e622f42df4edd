"""Errors of training; ``test_errors`` raises each."""

from __future__ import annotations

import errno
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

import click
import filelock
import timm
import yaml

from retconv.train import Config, Replicas, RunFolder, Trainer, load, parse, train
from retconv.train.__main__ import main
from retconv.train.checkpoint import load as load_checkpoint
from retconv.train.checkpoint import save
from retconv.train.config import DataConfig, ModelConfig, OptimConfig, ScheduleConfig
from retconv.train.files import append_line, sync, write_whole
from retconv.train.parsing import override
from tests.error_table import Error
from tests.train.small import few_digits, tiny


def in_folder(call: Callable[[Path], object]) -> Callable[[], object]:
    """A call that is given an empty folder."""

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            call(Path(folder))

    return run


def run(config: Config | list[Config], folder: Path) -> None:
    train(config, folder, data=few_digits(), device="cpu", progress=False)


def run_that_is_claimed(folder: Path) -> None:
    path = RunFolder(folder, tiny()).path
    path.mkdir()
    with filelock.FileLock(path / "lock"):
        run(tiny(), folder)


def run_whose_config_was_edited(folder: Path) -> None:
    path = RunFolder(folder, tiny()).path
    path.mkdir()
    write_whole(path / "config.yaml", b"seed: 1\n")
    run(tiny(), folder)


def damaged_checkpoint(folder: Path) -> None:
    (folder / "checkpoint-000000001.pt").write_bytes(b"PK")
    load_checkpoint(folder, 1, {})


def altered_checkpoint(folder: Path) -> None:
    save(folder, 1, {"config": {}, "text": "x" * 10_000})
    path = folder / "checkpoint-000000001.pt"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"xxx", b"xyx", 1))
    load_checkpoint(folder, 1, {})


def checkpoint_of_another_recipe(folder: Path) -> None:
    save(folder, 1, {"config": {"seed": 0}})
    load_checkpoint(folder, 1, {"seed": 1})


def forms_that_differ() -> None:
    Replicas([timm.create_model("test_vit", num_classes=n) for n in (2, 3)])


def no_folder_below_a_file(folder: Path) -> None:
    (folder / "file").touch()
    run(tiny(), folder / "file")


def run_without_weights(folder: Path) -> None:
    run = RunFolder(folder, tiny())
    run.path.mkdir()
    result = {"test_accuracy": 0.5, "test_loss": 1.0, "epochs": 1, "test_images": 10}
    (run.path / "result.json").write_text(json.dumps(result), encoding="utf-8")
    run.weights()


def disk_that_fails(folder: Path) -> None:
    append_line(folder / "lines", "{}", sync=False)
    with mock.patch("os.fsync", side_effect=OSError(errno.EIO, "I/O error")):
        sync(folder / "lines")


def step_that_fails(folder: Path, weight: float = 0.0) -> None:
    def spoil(trainer: Trainer) -> None:
        trainer.replicas.packs[0].matrix.data.fill_(weight)
        trainer.step = mock.Mock(side_effect=RuntimeError("out of order"))  # type: ignore[method-assign]

    train(tiny(), folder, data=few_digits(), device="cpu", progress=False, on_step=spoil)


def step_that_fails_of_divergence(folder: Path) -> None:
    step_that_fails(folder, float("inf"))


def recipe(text: str) -> Callable[[], object]:
    """Read a recipe from a file."""

    def call(folder: Path) -> None:
        (folder / "x.yaml").write_text(text, encoding="utf-8")
        load(folder / "x.yaml")

    return in_folder(call)


def command(*arguments: str) -> Callable[[], object]:
    """The command line, its exception not yet turned into an exit code."""
    return lambda: main.main(list(arguments), standalone_mode=False)


def diverging_command(folder: Path) -> None:
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(diverging.as_dict()), encoding="utf-8")
    command("--recipe", str(file), "--root", str(folder), "--device", "cpu")()


diverging = tiny(
    optim=OptimConfig(name="sgd", lr=float("inf")), schedule=ScheduleConfig(epochs=1, warmup_epochs=0, min_lr=0.0)
)
dropping = replace(tiny().model, options={**tiny().model.options, "proj_drop_rate": 0.2})
mixing = replace(tiny().augment, mixup=1.0)

TABLES: dict[str, dict[str, Error]] = {
    "train": {
        "unknown option": (lambda: parse({"sede": 1}), ValueError, "1 fault:\n  no option sede; did you mean 'seed'"),
        "range": (lambda: parse({"smoothing": 2}), ValueError, "smoothing must be from 0 to 0.99, got 2"),
        "best without validation": (
            lambda: parse({"select": "best", "data": {"validation": 0}}),
            ValueError,
            "set data.validation above 0",
        ),
        "warm-up": (
            lambda: parse({"schedule": {"epochs": 5}}),
            ValueError,
            "schedule.warmup_epochs 10 must be below schedule.epochs 5",
        ),
        "decay of masks, twice": (
            lambda: parse({"optim": {"decay_all": True, "decay_masks": True}}),
            ValueError,
            "optim.decay_all decays masks too: leave out optim.decay_masks, or set optim.decay_all: false",
        ),
        "odd batch": (lambda: parse({"batch_size": 7, "augment": {"mixup": 1}}), ValueError, "must be even, got 7"),
        "no recipe": (lambda: load("standart"), ValueError, "no recipe.*'standart'; did you mean 'standard'"),
        "not YAML": (recipe("a: ["), ValueError, "recipe .*x.yaml' is not valid YAML: line 2, column 1: "),
        "no mapping": (recipe("[1]"), ValueError, r"must be a mapping of options, got \[1\]"),
        "setting that is no YAML": (
            lambda: override({}, ["optim.lr=["]),
            ValueError,
            r"optim.lr=\[: .* not valid YAML",
        ),
        "deep setting": (
            lambda: override({}, ["a." * 3000 + "a=1"]),
            ValueError,
            r"no option (a\.){20}…: it is 3000 deep, and options are at most 64",
        ),
        "setting": (lambda: override({}, ["seed"]), ValueError, "KEY=VALUE.*'seed'"),
        "model options": (
            lambda: Trainer([tiny(model=ModelConfig("retconv_vit_tiny", {"pooling": "x"}))], few_digits()),
            ValueError,
            "'retconv_vit_tiny' cannot be built from .*pooling='x'",
        ),
        "start that nothing sets": (
            lambda: Trainer([tiny(model=ModelConfig("retconv_vit_tiny", {"weight_init": "skip"}))], few_digits()),
            ValueError,
            "leaves pos_embed without a start.*such as reset",
        ),
        "misspelt model option": (
            lambda: Trainer([tiny(model=ModelConfig("retconv_vit_tiny", {"maks": "gmm"}))], few_digits()),
            ValueError,
            "unexpected keyword argument 'maks'; did you mean 'mask'",
        ),
        "model option of the data": (
            lambda: parse({"model": {"options": {"img_size": 16}}}),
            ValueError,
            "model.options.img_size comes from the data: leave it out",
        ),
        "no device": (
            in_folder(lambda folder: train(tiny(), folder, data=few_digits(), device="cpuu")),
            ValueError,
            "device 'cpuu' cannot be used here .*choose cpu",
        ),
        "large batch": (
            lambda: Trainer([tiny(batch_size=1000)], few_digits()),
            ValueError,
            "batch_size 1000 is more than the 128 training images",
        ),
        "batch not shared": (
            lambda: Trainer([tiny(augment=mixing)], few_digits(), world=3),
            ValueError,
            "3 processes cannot share a batch of 32 evenly",
        ),
        "dropout of replicas": (
            in_folder(partial(run, [tiny(seed=seed, model=dropping) for seed in (0, 1)])),
            ValueError,
            r"replicas cannot have dropout, .* blocks\.0\.attn\.proj_drop drops 0\.2: train them one after",
        ),
        "forms": (forms_that_differ, ValueError, "one functional form, but num_classes is 2 in one and 3"),
        "nothing": (in_folder(partial(run, [])), ValueError, "nothing to train"),
        "no replicas": (
            in_folder(partial(run, [tiny(), tiny(data=DataConfig("digits", 0.5))])),
            ValueError,
            "replicas may differ in seed and model.options only, but here in data.validation: 0.2 against 0.5",
        ),
        "diverged": (
            in_folder(partial(run, diverging)),
            RuntimeError,
            "training diverged: .* seed 0 is not finite at step 2 .*no checkpoint yet; lower optim.lr",
        ),
        "claimed": (in_folder(run_that_is_claimed), RuntimeError, "another process is training run"),
        "no folder": (
            in_folder(no_folder_below_a_file),
            RuntimeError,
            "cannot make .*make room, or choose another folder",
        ),
        "edited": (in_folder(run_whose_config_was_edited), RuntimeError, "was changed since the run began"),
        "damaged": (in_folder(damaged_checkpoint), RuntimeError, "truncated or damaged .*remove it to start anew"),
        "altered": (in_folder(altered_checkpoint), RuntimeError, "truncated or damaged .*data.pkl"),
        "other recipe": (
            in_folder(checkpoint_of_another_recipe),
            RuntimeError,
            "saved by another recipe .*\n  seed: 0 against 1",
        ),
        "a section as a whole": (
            lambda: override({}, ["optim={lr: 0.1}"]),
            ValueError,
            r"optim has options of its own: set each by its key, such as optim\.lr",
        ),
        "an option that is no number": (
            lambda: parse({"model": {"options": {"mask_options": {"gamma": float("nan")}}}}),
            ValueError,
            r"model.options must hold no NaN, got .*gamma",
        ),
        "no heads": (
            lambda: Trainer([tiny(model=ModelConfig("retconv_vit_tiny", {"num_heads": 0}))], few_digits()),
            ValueError,
            "'retconv_vit_tiny' cannot be built from .*: .*by zero",
        ),
        "a seed beyond all": (lambda: parse({"seed": 2**63}), ValueError, "seed must be from 0 to 9223372036854775807"),
        "command without recipe": (command(), click.ClickException, "which recipe"),
        "command with a wrong recipe": (command("--recipe", "smok"), click.ClickException, "did you mean 'smoke'"),
        "command that diverges": (in_folder(diverging_command), click.ClickException, "is not finite at step 2"),
        "command that cannot train": (
            in_folder(lambda folder: command("--recipe", "smoke", "--set", "batch_size=5000", "--root", str(folder))()),
            click.ClickException,
            "batch_size 5000 is more than",
        ),
        "without weights": (
            in_folder(run_without_weights),
            RuntimeError,
            "was merged without its weights: merge an archive packed with --weights, or remove the folder",
        ),
        "diverged in a step": (
            in_folder(step_that_fails_of_divergence),
            RuntimeError,
            "training diverged: the loss or a weight of seed 0 is not finite at step 1",
        ),
        "step that fails": (in_folder(step_that_fails), RuntimeError, "^out of order$"),
        "sync": (in_folder(disk_that_fails), RuntimeError, "cannot write .* to disk: I/O error. Make room"),
        "unfinished": (in_folder(lambda folder: RunFolder(folder, tiny()).weights()), RuntimeError, "is not finished"),
        "write": (
            in_folder(lambda folder: write_whole(folder / "no" / "file", b"")),
            RuntimeError,
            "cannot write .*No such file",
        ),
        "append": (
            in_folder(lambda folder: append_line(folder, "line")),
            RuntimeError,
            "cannot append to .*Is a directory",
        ),
    }
}
