//! The clocks of a machine: one that may be set wrong by minutes at any moment, and one that is never set and
//! goes a little too fast or too slow.

use std::time::Duration;

use crate::simulated::dice::Dice;

/// How far a wall clock that is right may be from the true time.
const SKEW_MS: u64 = 200;
/// How far one may be that was set wrong.
const WRONG_MS: u64 = 10 * 60 * 1_000;
/// How far the pace of the other clock may be from the true one, in millionths. Crystals are a hundred times better;
/// leases that end after 5 s here and are taken after 6 s there bear eight times as much.
const DRIFT_PPM: u64 = 20_000;
const MILLION: u128 = 1_000_000;

/// Both clocks of a machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clocks {
    /// How far the wall clock is ahead of the true time, in ms.
    pub(crate) ahead_ms: i64,
    /// What the other clock goes in a million of the true time.
    pace: u128,
}

impl Clocks {
    /// The clocks of some machine; the wall clock is about right.
    pub(crate) fn of(dice: &mut Dice) -> Self {
        Self {
            ahead_ms: skew(dice),
            pace: MILLION + u128::from(dice.roll(2 * DRIFT_PPM)) - u128::from(DRIFT_PPM),
        }
    }

    /// What the clock that is never set goes in so much of the true time.
    pub(crate) fn shown(&self, passed: Duration) -> Duration {
        nanos(passed.as_nanos() * self.pace / MILLION)
    }

    /// The least true time in which it goes so much.
    pub(crate) fn passed(&self, shown: Duration) -> Duration {
        nanos((shown.as_nanos() * MILLION).div_ceil(self.pace))
    }
}

/// How far a wall clock is ahead that is about right, in ms.
pub(crate) fn skew(dice: &mut Dice) -> i64 {
    around(dice, SKEW_MS)
}

/// How far a wall clock is ahead that somebody set: wrong, or right again.
pub(crate) fn set(dice: &mut Dice) -> i64 {
    let most = if dice.one_in(3) { SKEW_MS } else { WRONG_MS };
    around(dice, most)
}

fn around(dice: &mut Dice, most: u64) -> i64 {
    dice.roll(2 * most) as i64 - most as i64
}

/// So many nanoseconds, or as many as there can be.
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
