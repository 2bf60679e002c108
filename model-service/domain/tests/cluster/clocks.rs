//! The clocks of a machine: a wall clock that may be wrong by minutes at any time, and a monotonic clock that is never
//! set but slightly too fast or too slow.

use std::time::Duration;

use crate::simulated::dice::Dice;

/// Deviation of a correct wall clock from the true time.
const SKEW_MS: u64 = 200;
/// Deviation of a wall clock that was set wrong.
const WRONG_MS: u64 = 10 * 60 * 1_000;
/// Deviation of the monotonic clock's rate, in millionths. Crystals are a hundred times better; leases that end after 5
/// s on one clock, and are taken after 6 s on another, tolerate eight times as much.
const DRIFT_PPM: u64 = 20_000;
const MILLION: u128 = 1_000_000;

/// Both clocks of a machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clocks {
    /// How far the wall clock is ahead of the true time, in ms.
    pub(crate) ahead_ms: i64,
    /// The rate of the monotonic clock, in millionths of the true rate.
    pace: u128,
}

impl Clocks {
    /// The clocks of a machine; the wall clock is about right.
    pub(crate) fn of(dice: &mut Dice) -> Self {
        Self {
            ahead_ms: skew(dice),
            pace: MILLION + u128::from(dice.roll(2 * DRIFT_PPM)) - u128::from(DRIFT_PPM),
        }
    }

    /// How much time the monotonic clock shows after this true time.
    pub(crate) fn shown(&self, passed: Duration) -> Duration {
        nanos(passed.as_nanos() * self.pace / MILLION)
    }

    /// The shortest true time after which it shows this much.
    pub(crate) fn passed(&self, shown: Duration) -> Duration {
        nanos((shown.as_nanos() * MILLION).div_ceil(self.pace))
    }
}

/// How far a wall clock that is about right is ahead, in ms.
pub(crate) fn skew(dice: &mut Dice) -> i64 {
    around(dice, SKEW_MS)
}

/// How far a wall clock is ahead that was set: wrong, or right again.
pub(crate) fn set(dice: &mut Dice) -> i64 {
    let most = if dice.one_in(3) { SKEW_MS } else { WRONG_MS };
    around(dice, most)
}

fn around(dice: &mut Dice, most: u64) -> i64 {
    dice.roll(2 * most) as i64 - most as i64
}

/// This many nanoseconds, limited to the highest possible duration.
fn nanos(nanos: u128) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    match u64::try_from(nanos / SECOND) {
        Ok(seconds) => Duration::new(seconds, (nanos % SECOND) as u32),
        Err(_) => Duration::MAX,
    }
}

#[test]
fn an_alarm_rings_when_its_moment_is_shown_and_not_before() {
    let mut dice = Dice::new(7);
    for _ in 0..10_000 {
        let clocks = Clocks::of(&mut dice);
        let moment = Duration::from_nanos(1 + dice.roll(u64::from(u32::MAX)) * 1_000);
        let rings = clocks.passed(moment);
        assert!(clocks.shown(rings) >= moment);
        assert!(clocks.shown(rings - Duration::from_nanos(1)) < moment);
    }
    assert_eq!(
        Clocks::of(&mut dice).passed(Duration::MAX).as_secs() >> 63,
        1
    );
}
