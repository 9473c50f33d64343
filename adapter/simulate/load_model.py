"""A load in words, as its author writes it in YAML: shapes that add up, seasons, noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field

from adapter.schema.durations import DAY_MS, SECOND_MS, Duration
from adapter.schema.strict import Lax, Path, Strict
from adapter.schema.text import Text
from scaler.simulate_shapes import DAY_S, DAYS, Description, Noise, Ramp, Recorded, Shape, Spike, Steps, Wave

MAX_DAYS = 60

Moment = Annotated[int, Duration(0, MAX_DAYS * DAY_MS)]
Span = Annotated[int, Duration(SECOND_MS, MAX_DAYS * DAY_MS)]
Rate = Annotated[float, Field(ge=0, le=1e9)]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class StepModel(Strict):
    """A rate from a moment on."""

    at: Moment
    rate: Rate


class RampModel(Strict):
    """From one rate to another, in a straight line."""

    begin: Moment
    end: Moment
    from_: Rate = Field(alias="from")
    to: Rate

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """It takes time."""
        if not unread & {"begin", "end"} and self.end <= self.begin:
            yield ("end",), "must be after begin; a jump is written with steps"


class WaveModel(Strict):
    """From low to high and back, once a period."""

    low: Rate = 0.0
    high: Rate
    peak: Moment
    period: Span = DAY_MS

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """Low is not above high."""
        if not unread & {"low", "high"} and self.low > self.high:
            yield ("low",), f"must be at most high ({self.high:g}), got {self.low:g}"


class SpikeModel(Strict):
    """A rate for a while, on top of the rest, once or again and again."""

    at: Moment
    for_: Span = Field(alias="for")
    rate: Rate
    rise: Moment = 0
    fall: Moment = 0
    every: Span | None = None

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """One is over before the next begins."""
        if self.every is not None and not unread and self.every < self.rise + self.for_ + self.fall:
            yield ("every",), "must be at least rise + for + fall: spikes do not overlap"


class RecordedModel(Strict):
    """A recording: a file of times and values."""

    file: Annotated[str, Text("must be the path of a file", max_chars=4_096)]
    is_: Literal["rate", "count", "total"] | None = Field(default=None, alias="is")
    metric: Annotated[str, Text("must not be empty")] | None = None


class ShapeModel(Strict):
    """One shape: exactly one kind."""

    constant: Rate | None = None
    steps: Annotated[tuple[StepModel, ...], Lax, Field(min_length=1, max_length=100_000)] | None = None
    ramp: RampModel | None = None
    daily: WaveModel | None = None
    wave: WaveModel | None = None
    spike: SpikeModel | None = None
    recorded: RecordedModel | None = None

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """There is one kind; steps ascend; a day is a day."""
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) + len(unread) != 1:
            yield (), f"must have exactly one of {', '.join(type(self).model_fields)}"
        for index, (one, after) in enumerate(zip(self.steps or (), (self.steps or ())[1:], strict=False), start=1):
            if after.at <= one.at:
                yield ("steps", index, "at"), "must be after the step before it"
        if self.daily is not None and self.daily.period != DAY_MS:
            yield ("daily", "period"), "must not be set: a day has 24h; use wave"

    def shape(self, recordings: Mapping[RecordedModel, Recorded]) -> Shape:
        """Return the shape. `recordings`: those that were read."""
        if self.constant is not None:
            return Steps((0.0,), (self.constant,))
        if self.steps is not None:
            return Steps(tuple(one.at / 1_000 for one in self.steps), tuple(one.rate for one in self.steps))
        if self.ramp is not None:
            ramp = self.ramp
            return Ramp(ramp.begin / 1_000, ramp.end / 1_000, ramp.from_, ramp.to)
        if (wave := self.daily or self.wave) is not None:
            return Wave(wave.low, wave.high, wave.peak / 1_000, wave.period / 1_000)
        if self.recorded is not None:
            return recordings[self.recorded]
        if self.spike is None:
            raise ValueError("a shape without a kind is not valid")
        spike = self.spike
        moments = {"at_s": spike.at, "for_s": spike.for_, "rise_s": spike.rise, "fall_s": spike.fall}
        if spike.every is not None:
            moments["every_s"] = spike.every
        return Spike(rate=spike.rate, **{name: moment / 1_000 for name, moment in moments.items()})


class NoiseModel(Strict):
    """What is random about the load."""

    deviation: float = Field(gt=0, le=10)
    memory: Moment = 5 * 60_000
    every: Span = 60_000


class LoadModel(Strict):
    """The whole file."""

    duration: Span | None = None
    start: Day = "mon"
    step: Annotated[int, Duration(SECOND_MS, DAY_MS)] = 15_000
    scale: float = Field(default=1.0, ge=0, le=1e6)
    rate: Annotated[tuple[ShapeModel, ...], Lax, Field(min_length=1, max_length=1_000)]
    weekdays: dict[Day, Annotated[float, Field(ge=0, le=1e6)]] = Field(default_factory=dict)
    noise: NoiseModel | None = None

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """It is known how long the load lasts."""
        if self.duration is None and not unread & {"duration", "rate"} and not self.recordings:
            yield ("duration",), "is required, a duration such as 24h, where nothing is recorded"

    @property
    def recordings(self) -> Sequence[RecordedModel]:
        """The recordings it names."""
        return [one.recorded for one in self.rate if one.recorded is not None]

    def description(self, recordings: Mapping[RecordedModel, Recorded]) -> Description:
        """Return the load in words of the core."""
        recorded_s = max((one.end_s for one in recordings.values()), default=0.0)
        end_s = recorded_s if self.duration is None else self.duration / 1_000
        noise = self.noise
        return Description(
            end_s=end_s,
            shapes=[one.shape(recordings) for one in self.rate],
            weekdays=tuple(self.weekdays.get(day, 1.0) for day in DAYS_OF_WEEK),
            first_day=DAYS.index(self.start),
            noise=Noise(noise.deviation, noise.memory / 1_000, noise.every / 1_000) if noise else None,
            scale=self.scale,
            step_s=self.step / 1_000,
        )


DAYS_OF_WEEK: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAX_LOAD_S = MAX_DAYS * DAY_S
