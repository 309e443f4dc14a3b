"""A run from its first update, or from a checkpoint, to its last: what happens between the updates."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, final

import jax
import numpy as np

from s5rl.key_data import keys_to_numbers, numbers_to_keys
from s5rl.launching import beat
from s5rl.training.checkpoints import CheckpointError
from s5rl.training.interrupts import Interrupts, TrainingInterrupted
from s5rl.training.loggers import Logger
from s5rl.training.loop import Loop, NonFiniteError, Snapshot
from s5rl.training.metrics import EPISODE_METRICS, MAY_BE_NAN, NAN_INPUTS, Columns
from s5rl.training.periodic_evaluation import PeriodicEvaluation
from s5rl.training.processes import Wishes, agree, from_first, on_first
from s5rl.training.progress import ProgressBar
from s5rl.training.records import Records
from s5rl.training.run_directory import RunDirectory, RunDirectoryError
from s5rl.training.tables import EVALUATIONS, METRICS, to_rows


class Watch(NamedTuple):
    """Who is told of a run while it goes on."""

    loggers: Sequence[Logger]
    progress: bool
    on_chunk: Callable[[int, Columns], None] | None


@final
class Run:
    """A loop, its records, and what is kept of it on disk.

    Attributes:
      metrics: one row an update.
      evaluations: one row a periodic evaluation.
    """

    def __init__(
        self,
        loop: Loop,
        seeds: Sequence[int],
        *,
        has_seed_axis: bool,
        evaluation: PeriodicEvaluation | None,
        path: Path | None,
        directory: RunDirectory | None,
        checkpoint_seconds: float,
        watch: Watch,
    ) -> None:
        """Takes a loop that has not begun.

        Args:
          loop: that has not begun.
          seeds: of the run.
          has_seed_axis: whether columns are [seeds, rows].
          evaluation: from time to time, or None.
          path: the folder of the run; None where nothing is saved.
          directory: the folder, in the process that writes to it; None in others.
          checkpoint_seconds: least time between two checkpoints.
          watch: who is told.
        """
        self.metrics, self.evaluations = Records(has_seed_axis), Records(has_seed_axis)
        self._loop, self._seeds, self._evaluation = loop, list(seeds), evaluation
        self._path, self._directory, self._checkpoint_seconds = path, directory, checkpoint_seconds
        self._watch = watch
        self._loggers = [*([directory.tables] if directory else []), *watch.loggers]
        self._done = 0
        self._last_saved = 0

    def restore(self) -> None:
        """Goes back to the latest checkpoint of the folder, if there is one.

        Raises:
          CheckpointError: it is damaged.
          TableError: the tables in the folder do not go with it.
        """
        if self._path is None or not from_first(self._has_checkpoint):
            return
        like = self._snapshot()
        stored = from_first(lambda: self._read(like))
        states = stored.snapshot.environment_states
        snapshot = numbers_to_keys(stored.snapshot, like._replace(environment_states=states))
        for table, records in self._tables():
            if stored.columns[table]:
                records.add(stored.columns[table])
        loop_state, evaluation_state = snapshot.run_state
        self._loop.restore(snapshot._replace(run_state=loop_state))
        if self._evaluation is not None:
            self._evaluation.set_state(evaluation_state)
        self._done = self._last_saved = stored.num_updates

    def go_on(self, num_updates: int) -> None:
        """Trains until so many updates are done in all.

        Raises:
          TrainingInterrupted: Ctrl-C was pressed and there is a folder, where everything has been saved.
          NonFiniteError: a metric, an observation or a reward is not finite.
          CheckpointError: a checkpoint cannot be written.
          RunDirectoryError: a table cannot be written.
        """
        bar = ProgressBar(num_updates, self._done) if self._watch.progress else None
        try:
            on_first(self._start_loggers)
            is_stopped = self._updates(num_updates, bar)
        finally:
            if bar is not None:
                bar.close()
            for logger in self._loggers:
                logger.close()
        # The first may take long to close its loggers, and JAX ends it soon after another one has ended.
        on_first(lambda: None)
        if is_stopped:
            raise TrainingInterrupted(self._how_to_go_on())

    def _updates(self, num_updates: int, bar: ProgressBar | None) -> bool:
        """Trains and saves; returns whether it was stopped from outside."""
        interrupts = Interrupts(enabled=self._path is not None)
        with interrupts:
            saved_at = time.monotonic()
            while self._done < num_updates:
                self._chunk(num_updates, bar)
                beat()
                is_due = time.monotonic() - saved_at >= self._checkpoint_seconds
                wishes = agree(Wishes(save=is_due, stop=interrupts.requested))
                if wishes.save or wishes.stop or self._done == num_updates:
                    self._save()
                    saved_at = time.monotonic()
                if wishes.stop:
                    return True
        return False

    def _chunk(self, num_updates: int, bar: ProgressBar | None) -> None:
        length = min(self._loop.chunk_length, num_updates - self._done)
        if self._evaluation is not None:
            length = min(length, self._evaluation.updates_left(self._done))
        try:
            columns = self._loop.advance(length)
        except NonFiniteError as error:
            raise NonFiniteError(f"{error} {self._last_good()}") from error
        has_nan_inputs = bool(columns.pop(NAN_INPUTS).any())
        # Counted on the host: a long run has more steps than an int32 holds.
        steps = np.cumsum(columns["steps"], axis=-1, dtype=np.int64)
        columns = {
            "step": self.metrics.last_steps()[..., None] + steps,
            **{name: columns[name] for name in EPISODE_METRICS},
            **columns,
        }
        updates = range(self._done + 1, self._done + length + 1)
        self._record(METRICS, self.metrics, columns, updates)
        self._check(columns, updates, has_nan_inputs)
        self._done += length
        if self._evaluation is not None and self._evaluation.is_due(self._done):
            evaluation = self._evaluation.run(self._loop.agent_state, self._done)
            evaluation = {"step": columns["step"][..., -1:], **evaluation}
            self._record(EVALUATIONS, self.evaluations, evaluation, [self._done])
            if bar is not None:
                bar.show_evaluation(evaluation)
        if bar is not None:
            bar.update(self._done, columns)
        if self._watch.on_chunk is not None:
            self._watch.on_chunk(self._done, columns)

    def _record(self, table: str, records: Records, columns: Columns, updates: Sequence[int]) -> None:
        records.add(columns)
        rows = to_rows(columns, updates, self._seeds)
        try:
            for logger in self._loggers:
                logger.write(table, rows)
        except OSError as error:
            raise RunDirectoryError(
                f"the {table} of update {updates[-1]} could not be written: {error}. {self._last_good()}"
            ) from error

    def _check(self, columns: Columns, updates: Sequence[int], has_nan_inputs: bool) -> None:
        """Stops the run where a number is not finite."""
        for name in sorted(columns, key=lambda name: name != "loss"):  # the loss is what users look for
            column = columns[name]
            bad = ~np.isfinite(column) & (name not in MAY_BE_NAN)
            if not bad.any():
                continue
            row = int(np.argmax(bad.any(axis=0) if bad.ndim == 2 else bad))
            seed = int(np.argmax(bad[:, row])) if bad.ndim == 2 else 0
            value, step = (np.atleast_2d(each)[seed, row] for each in (column, columns["step"]))
            cause = ""
            if has_nan_inputs:
                cause = " The environment returned an observation or a reward that is NaN."
            raise NonFiniteError(
                f"{name} is {value} at step {step:,}, in update {updates[row]} of seed {self._seeds[seed]}."
                f"{cause} {self._last_good()}"
            )
        if has_nan_inputs:
            raise NonFiniteError(
                "the environment returned an observation or a reward that is NaN, in updates "
                f"{updates[0]} to {updates[-1]}. {self._last_good()}"
            )

    def _snapshot(self) -> Snapshot:
        snapshot = self._loop.snapshot()
        evaluation_state = None if self._evaluation is None else self._evaluation.get_state()
        return snapshot._replace(run_state=(snapshot.run_state, evaluation_state))

    def _save(self) -> None:
        if self._path is None:
            return
        snapshot = self._snapshot()
        on_first(lambda: self._write(snapshot))
        self._last_saved = self._done

    def _write(self, snapshot: Snapshot) -> None:
        assert self._directory is not None
        notes = {
            "dtypes": {table: records.dtypes() for table, records in self._tables()},
            "num_rows": {table: records.num_rows() for table, records in self._tables()},
            "num_processes": jax.process_count(),
        }
        self._directory.checkpoints.save(self._done, snapshot, notes)
        try:
            self._directory.write_summary(self._done, self.metrics.columns())
        except OSError as error:
            raise CheckpointError(
                f"the summary could not be written: {error}. {self._last_good()}"
            ) from error

    def _has_checkpoint(self) -> bool:
        assert self._directory is not None
        return bool(self._directory.checkpoints.all())

    def _read(self, like: Snapshot) -> _Stored:
        assert self._directory is not None
        checkpoints, tables = self._directory.checkpoints, self._directory.tables
        done = checkpoints.all()[-1]
        notes = checkpoints.notes(done)
        if notes["num_processes"] != jax.process_count():
            like = like._replace(environment_states=None)  # each was that of one process
        snapshot = checkpoints.restore(done, like)
        tables.start(done)
        columns = {
            table: records.read_back(
                self._directory.path, table, notes["dtypes"][table], notes["num_rows"][table], self._seeds
            )
            for table, records in self._tables()
        }
        return _Stored(done, jax.device_get(keys_to_numbers(snapshot)), columns)

    def _start_loggers(self) -> None:
        for logger in self._loggers:
            logger.start(self._done)

    def _tables(self) -> list[tuple[str, Records]]:
        return [(METRICS, self.metrics), (EVALUATIONS, self.evaluations)]

    def _last_good(self) -> str:
        if self._path is None:
            return "Nothing is saved: the run has no directory."
        if not self._last_saved:
            return f"There is no checkpoint in {self._path} yet."
        return f"The last good checkpoint is that after {self._last_saved} updates in {self._path}."

    def _how_to_go_on(self) -> str:
        return (
            f"stopped after {self._done} updates, which are saved. Go on with the same call of train(...), "
            f"or with: s5rl resume {self._path}"
        )


class _Stored(NamedTuple):
    """What is found in the folder of a run."""

    num_updates: int
    snapshot: Snapshot
    """In numpy, with random keys as numbers."""
    columns: dict[str, Columns]
    """Of each table."""
