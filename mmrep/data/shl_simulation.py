"""Simulated SHL 2018: minutes of a phone's sensors in eight modes of transport, from a seed.

A person makes one journey after another, the same number of each mode every day, in another order.
Each journey has a mode, a length of some minutes, a vehicle or
gait of its own (drawn about the medians in `MODES`) and a place for the phone (`PLACEMENTS`). From
a speed that starts, cruises and stops follow all sensors, so that they tell one story:

* linear acceleration: gait harmonics, speeding up, turning, vibration of road or rail through the
  suspension, and lines of engine, wheels, motors and rail joints whose pitch follows the speed;
* rotation: the swing of a gait, a rocking vehicle, hands, and turns about the vertical. Gravity,
  orientation and gyroscope come from the same angles;
* magnetic field: the Earth's, turning with the heading, and the steel about the phone, the ground
  that passes by, magnetised wheels, and the currents of electric traction;
* pressure: weather, height, and the waves that a train pushes through a tunnel.

A stop inside a journey keeps the journey's label: modes are mistaken for each other where they
look alike, never because a label is wrong. Axes are (ahead, left, up) of the vehicle or person
until `Ride.place` turns them into the phone's. Units: m/s^2, rad/s, uT, hPa; 100 Hz.

The constants are plausible sizes, set so that `SpectrogramCNN` finds this set as hard as the paper
found SHL (macro F1 89, 80 and 67 for acc_norm, gyr_y and mag_norm); they were not fitted to SHL.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int64
from numpy.random import Generator, default_rng
from scipy.fft import irfft
from scipy.spatial.transform import Rotation

from mmrep.data.shl_files import SIGNALS

RATE = 100  # Hz
SECONDS = 60  # of one segment
SAMPLES = RATE * SECONDS
TIME = np.arange(SAMPLES) / RATE  # s
FREQUENCY = np.arange(SAMPLES // 2 + 1) / SECONDS  # Hz

GRAVITY = 9.8  # m/s^2
EARTH_FIELD = (20.0, -44.0)  # uT to the north and up: southern England
HECTOPASCAL_PER_METRE = 0.12
ACC_NOISE, GYR_NOISE, MAG_NOISE, PRESSURE_NOISE = 0.012, 0.004, 0.85, 0.01  # rms, white

Trace = Float[np.ndarray, "6000"]
Vector = Float[np.ndarray, "3 6000"]  # along three axes
Bump = tuple[float, float, float]  # Hz, width, rms: a resonance
Spectrum = Float[np.ndarray, "3 3001"]  # root of a density along three axes, unit / sqrt(Hz)


class Mode(NamedTuple):
    """Medians of one mode; each journey draws its own values about them."""

    name: str
    rides: int  # journeys in a day
    minutes: float  # mean length of a journey
    speed: float = 0.0  # cruising, m/s
    spread: float = 0.0  # of journeys' speeds: standard deviation of the logarithm
    push: float = 1.0  # acceleration after a stop, m/s^2; braking is 1.2 times as hard
    hold: float = 60.0  # mean seconds of a cruise
    dwell: float = 10.0  # mean seconds of a stop
    turns: float = 0.0  # a minute
    turn_seconds: float = 5.0
    step: float = 0.0  # Hz: steps of a gait, turns of the pedals
    stride: float = 0.0  # m/s^2: amplitude at the step's frequency
    vibration: float = 0.0  # m/s^2 at the cruising speed
    rocking: float = 0.0  # rad/s at the cruising speed
    bounce: float = 1.3  # Hz: the body on its suspension
    hop: float = 10.0  # Hz: the wheels below it
    line: float = 0.0  # m/s^2: amplitude of engine or motor; wheels and joints have half of it
    wheel: float = 0.0  # turns a metre
    joint: float = 0.0  # rail joints a metre
    motor: float = 0.0  # traction motor, turns a metre
    idle: float = 0.0  # engine, turns a second at rest
    shift: float = 0.0  # engine, turns a second where the next gear comes
    gears: tuple[float, ...] = ()  # m/s at which each gear ends
    steel: float = 0.0  # uT: field of the vehicle's body
    ground: float = 0.0  # uT: field of what passes by
    wheels: float = 0.0  # uT: field of magnetised wheels
    traction: float = 0.0  # uT: field of the current at full push
    tunnel: float = 0.0  # hPa: pressure waves


# A day's rides and their minutes give each mode its share of SHL's 16,310 segments.
MODES = (
    Mode("Still", 3, 9.4),
    Mode("Walk", 4, 6.7, 1.4, 0.1, 0.8, 80.0, 8.0, turns=0.8, step=1.85, stride=1.9, ground=2.5),
    Mode("Run", 1, 8.4, 2.9, 0.12, 1.0, 150.0, 8.0, turns=0.6, step=2.7, stride=7.0, ground=2.5),
    Mode(
        "Bike", 2, 12.9, 4.5, 0.2, 0.7, 90.0, 12.0, turns=0.8, step=1.15, stride=0.5,
        vibration=1.0, rocking=0.18, bounce=3.5, hop=16.0, line=0.1, wheel=0.47,
        steel=6.0, ground=1.2, wheels=0.15,
    ),
    Mode(
        "Car", 2, 15.2, 13.0, 0.4, 1.4, 70.0, 14.0, turns=0.9,
        vibration=0.21, rocking=0.025, bounce=1.45, hop=11.5, line=0.6, wheel=0.53,
        idle=13.0, shift=44.0, gears=(4.0, 8.0, 13.0, 19.0, 50.0),
        steel=12.0, ground=0.8, wheels=0.5,
    ),
    Mode(
        "Bus", 2, 12.8, 9.0, 0.3, 1.0, 40.0, 16.0, turns=0.9, turn_seconds=8.0,
        vibration=0.25, rocking=0.028, bounce=1.2, hop=9.5, line=0.6, wheel=0.33,
        idle=9.5, shift=28.0, gears=(5.0, 10.0, 16.0, 40.0), steel=12.0, ground=0.8, wheels=0.3,
    ),
    Mode(
        "Train", 2, 15.5, 24.0, 0.35, 0.5, 200.0, 50.0, turns=0.4, turn_seconds=20.0,
        vibration=0.085, rocking=0.014, bounce=1.3, hop=6.0, line=0.3, wheel=0.38, joint=0.055,
        motor=1.7, steel=20.0, ground=2.5, traction=12.0, tunnel=0.1,
    ),
    Mode(
        "Subway", 2, 12.0, 14.0, 0.25, 1.0, 65.0, 25.0, turns=0.6, turn_seconds=12.0,
        vibration=0.14, rocking=0.021, bounce=1.6, hop=8.0, line=0.4, wheel=0.43,
        motor=2.4, steel=25.0, ground=5.0, traction=30.0, tunnel=0.4,
    ),
)  # fmt: skip


class Placement(NamedTuple):
    """Where the phone is, and how the body there passes motion on."""

    share: float
    up: tuple[float, float, float]  # the vertical in the phone's axes
    corner: float  # Hz above which vibration is damped
    swing: float  # rad at half the step's frequency while walking
    tremor: float  # m/s^2 rms of hand and body at rest
    handling: float  # bouts a minute


HAND = Placement(0.3, (0.0, 0.6, 0.8), corner=9.0, swing=0.10, tremor=0.042, handling=2.0)
POCKET = Placement(0.4, (0.0, -1.0, 0.1), corner=14.0, swing=0.35, tremor=0.014, handling=0.5)
BAG = Placement(0.2, (1.0, 0.2, 0.0), corner=18.0, swing=0.15, tremor=0.006, handling=0.2)
TABLE = Placement(0.1, (0.0, 0.0, 1.0), corner=50.0, swing=0.0, tremor=0.0007, handling=0.1)
PLACEMENTS = (HAND, POCKET, BAG, TABLE)  # whoever walks, runs or cycles has no table


class Journey(NamedTuple):
    """One ride or walk: `minutes` segments of one mode, from segment `first` on."""

    number: int
    mode: Mode
    first: int
    minutes: int


def journeys(num_segments: int, seed: int) -> Iterator[Journey]:
    """Journeys one after another until `num_segments` segments are covered.

    Every day has the same rides in another order. The last journey may reach beyond the end. A day
    depends on the seed and its number alone, so a shorter set is the beginning of a longer one.
    """
    rides = [number for number, mode in enumerate(MODES) for _ in range(mode.rides)]
    first = number = 0
    for day in count():
        rng = default_rng([seed, 0, day])
        for mode in rng.permutation(rides):
            if first >= num_segments:
                return
            minutes = max(2, round(rng.gamma(3.0, MODES[mode].minutes / 3.0)))
            yield Journey(number, MODES[mode], first, minutes)
            first += minutes
            number += 1


def simulate_labels(num_segments: int, seed: int) -> Int64[np.ndarray, "{num_segments}"]:
    """The mode of each segment, 0 (Still) to 7 (Subway), in chronological order."""
    labels = np.empty(num_segments, np.int64)
    for journey in journeys(num_segments, seed):
        labels[journey.first : journey.first + journey.minutes] = MODES.index(journey.mode)
    return labels


def simulate_signals(
    names: Sequence[str], num_segments: int, seed: int, *, start: int = 0, stop: int | None = None
) -> dict[str, Float32[np.ndarray, "segments 6000"]]:
    """The signals `names` of the segments from `start` to before `stop`, one a row.

    A segment's values depend on the seed and its number alone, not on the names or the range.
    """
    for name in names:
        if name not in SIGNALS:
            raise ValueError(f"signal {name!r} is not one of {', '.join(SIGNALS)}")
    stop = num_segments if stop is None else stop
    if not 0 <= start <= stop <= num_segments:
        raise ValueError(
            f"start={start} and stop={stop} do not lie in order within 0 to {num_segments}: "
            "choose segments of this set, or raise num_segments"
        )
    sensors = {name.split("_")[0] for name in names}
    signals = {name: np.empty((stop - start, SAMPLES), np.float32) for name in names}
    for journey in journeys(stop, seed):
        wanted = range(max(start, journey.first), min(stop, journey.first + journey.minutes))
        if not wanted:
            continue
        ride = Ride(journey, seed)
        for segment in wanted:
            minute = ride.minute(segment, sensors)
            for name in names:
                sensor, _, axis = name.partition("_")
                signals[name][segment - start] = minute[sensor]["xyzw".index(axis or "x")]
    return signals


class Line(NamedTuple):
    """A tone that follows the speed; above 50 Hz it folds back, as in a phone without a filter."""

    frequency: Trace  # Hz
    wave: Trace  # of amplitude 1
    loudness: Trace  # m/s^2
    field: Trace  # uT


class Motion(NamedTuple):
    """How the person or vehicle moves in one minute."""

    speed: Trace  # m/s
    push: Trace  # m/s^2 along the way
    yaw: Trace  # rad, anticlockwise from north
    yaw_rate: Trace  # rad/s
    pace: Trace  # 0 at rest, about 1 at the cruising speed
    steps: Trace  # phase of the gait, in steps
    bouts: Trace  # 0 to about 1: handling of the phone
    lines: list[Line]


class Ride:
    """What one journey has of its own, and the minutes that follow from it.

    The spreads below are standard deviations of logarithms: 0.1 is about 10 %.
    """

    def __init__(self, journey: Journey, seed: int) -> None:
        rng = default_rng([seed, 1, journey.number])
        self.journey, self.seed, self.mode = journey, seed, journey.mode
        mode = self.mode
        shares = np.array([p.share if p.swing or not mode.step else 0.0 for p in PLACEMENTS])
        self.placement = PLACEMENTS[rng.choice(len(PLACEMENTS), p=shares / shares.sum())]
        self.place = _attitude(self.placement, rng)  # (ahead, left, up) to the phone's axes
        self.heading = rng.uniform(-np.pi, np.pi)
        self.speed = mode.speed * rng.lognormal(0, mode.spread)
        self.step = mode.step * rng.lognormal(0, 0.06)
        self.loudness = rng.lognormal(0, 0.5, 9)  # of the gait's harmonics, and of the lines
        self.directions = _unit(rng.normal(size=(24, 3)))  # of lines, steel, current, swings
        self.wheel = mode.wheel * rng.lognormal(0, 0.08)
        self.motor = mode.motor * rng.lognormal(0, 0.12)
        self.idle = mode.idle * rng.lognormal(0, 0.05) * (rng.random() > 0.1)  # else electric
        self.gears = np.array(mode.gears) * rng.lognormal(0, 0.1)
        damping = _damping(FREQUENCY, self.placement.corner).astype(np.float32)
        rough = [(mode.bounce, 0.2, 1.0), (mode.hop, 0.25, 0.6), (25.0, 0.8, 0.5), (4.0, 0.8, 0.15)]
        self.vibration = mode.vibration * damping * _rough(rough, (0.5, 0.6, 1.0), rng)
        rough = [(0.8 * mode.bounce, 0.3, 1.0), (mode.hop, 0.3, 0.4), (20.0, 0.8, 0.3)]
        turning = 2 * np.pi * np.maximum(FREQUENCY, 0.1).astype(np.float32)  # from rad/s to rad
        self.rocking = mode.rocking / turning * _rough(rough, (1.0, 1.0, 1.0), rng)
        self.steel = mode.steel * rng.lognormal(0, 0.5)
        self.ground = mode.ground * rng.lognormal(0, 0.8)
        self.traction = mode.traction * rng.lognormal(0, 1.0)
        self.ambient = 1.2 * rng.lognormal(0, 1.0)  # uT: lifts, passing cars, the phone's currents
        self.mag_noise = MAG_NOISE * rng.lognormal(0, 0.5)
        self.iron = rng.normal(0, 1.0, (3, 1))  # uT: what the phone's calibration left of itself
        climbs = rng.normal(0, 0.4 * self.speed + 0.05, 3 * journey.minutes + 1)  # m in 20 s
        self.pressure = rng.normal(1013, 5) - HECTOPASCAL_PER_METRE * np.cumsum(climbs)
        self.timetable = _timetable(mode, self.speed, journey.minutes * SECONDS, rng)

    def minute(self, segment: int, sensors: set[str]) -> dict[str, Float[np.ndarray, "_ 6000"]]:
        """All axes of at least these sensors in one segment of the journey.

        Each component has a random stream of its own: what is left out changes nothing else.
        """

        def rng(component: int) -> Generator:
            return default_rng([self.seed, 2, segment, component])

        begin = (segment - self.journey.first) * SECONDS  # s
        motion = _motion(self, begin, rng(0))
        angles = _angles(self, motion, rng(2))
        up = _seen(angles, self.place[:, 2:])
        signals: dict[str, Float[np.ndarray, "_ 6000"]] = {}
        if sensors & {"Acc", "Gra", "LAcc"}:
            signals["Gra"] = (GRAVITY * up).astype(np.float32)
        if sensors & {"Acc", "LAcc"}:
            linear = _seen(angles, self.place @ _acceleration(self, motion, rng(3)))
            signals["LAcc"] = (linear + _white(rng(4), ACC_NOISE)).astype(np.float32)
            signals["Acc"] = signals["Gra"] + signals["LAcc"]
        if "Gyr" in sensors:
            rate = np.gradient(angles, axis=1) * RATE + motion.yaw_rate * up
            signals["Gyr"] = rate + _white(rng(5), GYR_NOISE)
        if "Mag" in sensors:
            field = _seen(angles, self.place @ _magnetic_field(self, motion, rng(6)))
            signals["Mag"] = field + self.iron + _white(rng(7), self.mag_noise)
        if "Ori" in sensors:
            signals["Ori"] = _orientation(self, motion, angles)
        if "Pressure" in sensors:
            signals["Pressure"] = _pressure(self, motion, begin, rng(1))[None]
        return signals


def _timetable(
    mode: Mode, speed: float, seconds: int, rng: Generator
) -> tuple[list[float], list[float]]:
    """Knots (s, m/s) of the speed: start, cruise, brake, stop, again and again."""
    time, times, speeds = -rng.uniform(0, mode.hold + mode.dwell), [0.0], [0.0]
    if speed:
        times[0] = time
    while time < seconds and speed:
        cruise = speed * rng.lognormal(0, 0.25)
        hold = max(5.0, rng.gamma(2, mode.hold / 2))
        marks = np.arange(0, hold, 8.0)  # every 8 s traffic has changed
        times += [time, *(time + cruise / mode.push + marks)]
        speeds += [0.0, *(cruise * np.maximum(rng.normal(1, 0.1, len(marks)), 0.2))]
        time += cruise / mode.push + hold + cruise / (1.2 * mode.push)
        times.append(time)
        speeds.append(0.0)
        time += 0.5 + rng.gamma(2, mode.dwell / 2)
    return times, speeds


def _motion(ride: Ride, begin: int, rng: Generator) -> Motion:
    speed = np.interp(TIME + begin, *ride.timetable)
    push = np.gradient(speed) * RATE
    pace = speed / ride.speed if ride.speed else speed
    yaw_rate = np.zeros(SAMPLES)
    for _ in range(rng.poisson(ride.mode.turns)):
        seconds = ride.mode.turn_seconds * rng.lognormal(0, 0.3)
        angle = rng.normal(0, 1.0)
        since = np.clip((TIME - rng.uniform(-seconds, SECONDS)) / seconds, 0, 1)
        yaw_rate += angle / seconds * (1 - np.cos(2 * np.pi * since))
    yaw_rate *= np.minimum(2 * pace, 1)
    bouts = np.zeros(SAMPLES)
    for _ in range(rng.poisson(ride.placement.handling)):
        middle, seconds = rng.uniform(0, SECONDS), rng.lognormal(0.7, 0.6)
        bouts += np.exp(-0.5 * np.square((TIME - middle) / seconds))
    cadence = ride.step * (0.75 + 0.25 * pace) * _slow(rng, 4.0, 0.03)
    yaw = ride.heading + np.cumsum(yaw_rate) / RATE
    steps = _phase(cadence, rng)
    lines = _lines(ride, speed, push, pace, rng)
    return Motion(speed, push, yaw, yaw_rate, pace, steps, bouts, lines)


def _lines(ride: Ride, speed: Trace, push: Trace, pace: Trace, rng: Generator) -> list[Line]:
    """Tones of engine, wheels, traction motor and rail joints, as far as the mode has them."""
    mode, loudness, lines = ride.mode, ride.mode.line * ride.loudness, []
    effort = np.minimum(np.abs(push) / mode.push, 1)
    if ride.idle:
        gear = np.searchsorted(ride.gears[:-1], speed)
        turns = np.maximum(mode.shift * speed / ride.gears[gear], ride.idle)
        labour = 0.6 + 0.6 * effort
        lines += _harmonics(
            turns * _slow(rng, 1.0, 0.015), [loudness[1] * labour, loudness[2] * labour], 0.0, rng
        )
    if mode.wheel:
        field = mode.wheels * ride.loudness[6] * np.minimum(10 * pace, 1)
        loud = [0.5 * loudness[3] * pace, 0.5 * loudness[4] * pace]
        lines += _harmonics(ride.wheel * speed, loud, field, rng)
    if mode.motor:
        loud = [loudness[5] * (0.3 + effort) * (speed > 0.1)]
        lines += _harmonics(ride.motor * speed, loud, 10 * loud[0], rng)
    if mode.joint:
        lines += _harmonics(mode.joint * speed, [0.5 * loudness[7] * pace] * 6, 0.0, rng)
    return lines


def _harmonics(
    turns: Trace, loudness: list[Trace], field: Trace | float, rng: Generator
) -> list[Line]:
    """One line for each loudness, the first at `turns` a second; it alone has a field."""
    phase = _phase(turns, rng)
    return [
        Line(order * turns, _sine(order * phase), loud, field * (order == 1) + 0 * loud)
        for order, loud in enumerate(loudness, start=1)
    ]


def _acceleration(ride: Ride, motion: Motion, rng: Generator) -> Vector:
    """Linear acceleration (m/s^2): hands, the way, vibration, the gait, lines."""
    mode, corner = ride.mode, ride.placement.corner
    linear = _noise(rng, TREMOR) * (ride.placement.tremor + 0.7 * motion.bouts)
    linear[0] += motion.push
    linear[1] += motion.speed * motion.yaw_rate
    if mode.vibration:
        linear += _noise(rng, ride.vibration) * _roughness(motion, rng)
    if mode.step:
        orders = np.array([1, 2, 3, 4, 5, 6, 0.5, 1.5])  # halves: left and right leg differ
        heights = mode.stride * 0.6 ** (orders - 1) * ride.loudness[:8]
        heights *= _damping(orders * ride.step, 2 * corner)
        axes = np.outer([0.3, 0.3, 1.0], heights)
        axes[:, 6:] = np.outer([0.08, 0.16, 0.06], heights[6:])
        linear += axes @ _gait(motion, orders)
    lines = [_damping(line.frequency, corner) * line.loudness * line.wave for line in motion.lines]
    return (linear + _along(ride.directions[:9], lines)).astype(np.float32)


def _angles(ride: Ride, motion: Motion, rng: Generator) -> Vector:
    """How the phone has turned from its place: a rotation vector in its own axes (rad)."""
    placement = ride.placement
    angles = _noise(rng, SWAY) * (0.15 * placement.tremor + 0.21 * motion.bouts)
    if ride.mode.rocking:
        angles += _noise(rng, ride.rocking) * _roughness(motion, rng)
    if ride.mode.step:
        gait = _gait(motion, np.array([0.5, 1, 1.5, 2]))
        gait *= placement.swing * np.array([[1.0], [0.35], [0.15], [0.1]])
        angles += _along(ride.directions[20:], list(gait))
    swings = []  # of the lines: 1 m/s^2 comes with 0.11 rad/s
    for line in motion.lines:
        rate = 0.11 * line.loudness * _damping(line.frequency, placement.corner)
        swings.append(rate / (2 * np.pi * np.maximum(line.frequency, 1)) * line.wave)
    return (angles + _along(ride.directions[5:14], swings)).astype(np.float32)


def _magnetic_field(ride: Ride, motion: Motion, rng: Generator) -> Vector:
    """Magnetic field (uT) along the axes of the vehicle."""
    north, up = EARTH_FIELD
    ahead, left = north * np.cos(motion.yaw), -north * np.sin(motion.yaw)
    field = np.stack([ahead, left, np.full(SAMPLES, up)])
    field += ride.steel * ride.directions[18, :, None]
    way = np.cumsum(motion.speed) / RATE  # m; the ground differs every 8 m and every 2 m
    ground, ambient = ride.ground, ride.ambient
    for knot, size in ((way / 8, ground), (way / 2, 0.4 * ground), (TIME / 3, ambient)):
        knots = rng.normal(0, size, (3, int(knot[-1]) + 2))
        field += [np.interp(knot, np.arange(knots.shape[1]), axis) for axis in knots]
    if ride.traction:
        current = np.clip(motion.push / ride.mode.push, -0.7, 1)
        current += 0.15 * motion.pace * _slow(rng, 3.0, 0.5)
        current *= _slow(rng, 0.5, 0.1)
        field += np.outer(ride.directions[19], ride.traction * current)
    return field + _along(ride.directions[10:19], [line.field * line.wave for line in motion.lines])


def _orientation(ride: Ride, motion: Motion, angles: Vector) -> Float[np.ndarray, "4 6000"]:
    """Unit quaternion (x, y, z, w) that turns the phone's axes into (north, west, up)."""
    zero, angle = np.zeros(SAMPLES), np.linalg.norm(angles, axis=0) + np.float32(1e-12)
    yaw = np.stack([zero, zero, np.sin(motion.yaw / 2), np.cos(motion.yaw / 2)])
    place = Rotation.from_matrix(ride.place.T).as_quat()
    turned = np.stack([*(np.sin(angle / 2) / angle * angles), np.cos(angle / 2)])
    return _product(_product(yaw, place), turned)


def _pressure(ride: Ride, motion: Motion, begin: int, rng: Generator) -> Trace:
    """Pressure (hPa): weather and height, waves in tunnels, the sensor's noise."""
    slow = np.interp(begin + TIME, 20 * np.arange(len(ride.pressure)), ride.pressure)
    waves = ride.mode.tunnel * motion.pace * _noise(rng, SWAY)[0]
    return slow + waves + _white(rng, PRESSURE_NOISE)[0]


def _attitude(placement: Placement, rng: Generator) -> Float[np.ndarray, "3 3"]:
    """Rotation from (ahead, left, up) to the phone's axes: upright as the placement has it."""
    up = _unit(np.array(placement.up) + rng.normal(0, 0.3, 3))
    ahead = _unit(np.cross(rng.normal(size=3), up))
    return np.stack([ahead, np.cross(up, ahead), up], axis=1).astype(np.float32)


def _seen(angles: Vector, vector: Float[np.ndarray, "3 _"]) -> Vector:
    """A vector, fixed or (3, 6000), in the axes of a phone turned by the rotation vector."""
    angle = np.sqrt(np.square(angles).sum(axis=0)) + np.float32(1e-12)
    once = _cross(angles, vector)
    twice = _cross(angles, once)
    return vector - np.sin(angle) / angle * once + 2 * (np.sin(angle / 2) / angle) ** 2 * twice


def _product(
    p: Float[np.ndarray, "4 6000"], q: Float[np.ndarray, "4 *samples"]
) -> Float[np.ndarray, "4 6000"]:
    """Of quaternions (x, y, z, w): first turned by q, then by p."""
    (a, b, c, d), (x, y, z, w) = p, q
    return np.stack(
        [
            a * w + d * x + b * z - c * y,
            b * w + d * y + c * x - a * z,
            c * w + d * z + a * y - b * x,
            d * w - a * x - b * y - c * z,
        ]
    )


def _cross(a: Vector, b: Float[np.ndarray, "3 _"]) -> Vector:
    """As np.cross, which is slow along the first axis."""
    x, y, z = a
    return np.stack([y * b[2] - z * b[1], z * b[0] - x * b[2], x * b[1] - y * b[0]])


def _gait(motion: Motion, orders: Float[np.ndarray, "orders"]) -> Float[np.ndarray, "orders 6000"]:
    """Harmonics of the gait, of amplitude 1; between stops the legs rest."""
    walking = np.minimum(1.5 * motion.pace, 1) ** 2
    return np.stack([walking * _sine(order * motion.steps) for order in orders])


def _along(directions: Float[np.ndarray, "_ 3"], waves: list[Trace]) -> Vector:
    """Each wave along its own direction, added up."""
    if not waves:
        return np.zeros((3, SAMPLES))
    return directions[: len(waves)].T @ np.stack(waves)


def _roughness(motion: Motion, rng: Generator) -> Trace:
    """Vibration grows with the speed and changes with the ground every 6 s."""
    return (motion.pace + 0.02) * _slow(rng, 6.0, 0.35)


def _rough(bumps: list[Bump], axes: tuple[float, float, float], rng: Generator) -> Spectrum:
    """Root density of a vehicle's resonances, which no two vehicles share."""
    density = np.zeros((3, len(FREQUENCY)))
    for middle, width, rms in bumps:
        heights = rms * np.array(axes) * rng.lognormal(0, 0.8, 3)
        density += np.outer(np.square(heights), _bump(middle * rng.lognormal(0, 0.3), width))
    return (np.sqrt(density) * rng.lognormal(0, 0.5)).astype(np.float32)


def _bump(middle: float, width: float) -> Float[np.ndarray, "3001"]:
    """A density (1/Hz) of integral 1 about `middle` Hz; width is of the frequency's logarithm."""
    bump = np.exp(-0.5 * (np.log(np.maximum(FREQUENCY, 1e-3) / middle) / width) ** 2)
    return bump / bump.sum() * SECONDS


TREMOR = np.tile(np.sqrt(0.9 * _bump(2.0, 0.9) + 0.1 * _bump(9.0, 0.25)), (3, 1)).astype(np.float32)
SWAY = np.tile(np.sqrt(_bump(0.3, 0.8)), (3, 1)).astype(np.float32)


def _noise(rng: Generator, spectrum: Spectrum) -> Vector:
    """Gaussian noise with this root density on each axis."""
    waves = rng.standard_normal((*spectrum.shape, 2), np.float32).view(np.complex64)[..., 0]
    return irfft(spectrum * waves, n=SAMPLES) * np.float32(SAMPLES / 2 / SECONDS**0.5)


def _white(rng: Generator, rms: float) -> Vector:
    return rng.standard_normal((3, SAMPLES), np.float32) * np.float32(rms)


def _slow(rng: Generator, seconds: float, sigma: float) -> Trace:
    """A factor about 1 that wanders from knot to knot, `seconds` apart."""
    knots = rng.normal(0, sigma, int(SECONDS / seconds) + 2)
    return np.exp(np.interp(TIME / seconds, np.arange(len(knots)), knots))


def _phase(frequency: Trace, rng: Generator) -> Trace:
    """Turns so far, from a random start."""
    return np.cumsum(frequency) / RATE + rng.random()


def _sine(turns: Trace) -> Trace:
    return np.sin((2 * np.pi * (turns - np.floor(turns))).astype(np.float32))


def _damping(frequency: Float[np.ndarray, "_"], corner: float) -> Float[np.ndarray, "_"]:
    """What clothes, hand or table let through: second order."""
    return 1 / np.sqrt(1 + np.square(np.square(frequency / corner)))


def _unit(vector: Float[np.ndarray, "*rows 3"]) -> Float[np.ndarray, "*rows 3"]:
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)
