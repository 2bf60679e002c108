//! Formats figures for people.

use maud::{Markup, html};

/// A count, in groups of three digits.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            // A narrow no-break space.
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A duration, in seconds.
pub(crate) fn seconds(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "–".to_owned();
    }
    match seconds {
        s if s < 0.000_5 => "0 ms".to_owned(),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3_600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
}

pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        r if !r.is_finite() || r <= 0.0 => "0".to_owned(),
        r if r < 0.1 => "< 0.1".to_owned(),
        r if r < 10.0 => format!("{r:.1}"),
        r => count(r.round().min(1e18) as u64),
    }
}

/// A size in bytes.
pub(crate) fn bytes(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    match mib {
        m if m < 0.1 => format!("{} KiB", bytes.div_ceil(1 << 10)),
        m if m < 10.0 => format!("{m:.1} MiB"),
        m if m < 1_024.0 => format!("{m:.0} MiB"),
        m => format!("{:.1} GiB", m / 1_024.0),
    }
}

/// A score, with three decimals.
pub(crate) fn score(score: f64) -> String {
    format!("{score:.3}")
}

/// A time as the interface writes it: to the minute for people, complete for programs.
pub(crate) fn moment(rfc3339: &str) -> Markup {
    let shown = match (rfc3339.get(..10), rfc3339.get(11..16)) {
        (Some(day), Some("00:00")) => day.to_owned(),
        (Some(day), Some(minute)) => format!("{day} {minute}"),
        _ => rfc3339.to_owned(),
    };
    html! { time datetime=(rfc3339) title=(rfc3339) { (shown) } }
}

/// A line chart of measurements over time, newest at the right.
pub(crate) fn sparkline(values: &[f64], said: &str) -> Markup {
    const WIDTH: f64 = 240.0;
    const HEIGHT: f64 = 36.0;
    let most = values.iter().copied().fold(0.0, f64::max);
    let step = WIDTH / values.len().saturating_sub(1).max(1) as f64;
    let mut line = String::new();
    for (at, value) in values.iter().enumerate() {
        let height = if most > 0.0 { value / most } else { 0.0 };
        let (x, y) = (step * at as f64, HEIGHT - 2.0 - height * (HEIGHT - 4.0));
        line.push_str(&format!("{}{x:.1} {y:.1}", if at == 0 { "M" } else { "L" }));
    }
    let area = format!("{line}L{WIDTH} {HEIGHT}L0 {HEIGHT}Z");
    html! {
        svg.spark viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img" aria-label=(said) {
            @if values.len() > 1 {
                path.area d=(area) {}
                path.line d=(line) {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_say_their_unit() {
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(counted(1, "item", "items"), "1 item");
        for (given, text) in [
            (0.0, "0 ms"),
            (0.25, "250 ms"),
            (1.25, "1.2 s"),
            (59.0, "59 s"),
            (600.0, "10 min"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(seconds(given), text);
        }
        assert_eq!(
            (rate(0.0), rate(0.01), rate(3.12), rate(1_234.5)),
            (
                "0".into(),
                "< 0.1".into(),
                "3.1".into(),
                "1\u{202f}235".into()
            )
        );
        assert_eq!(
            (bytes(10), bytes(3 << 20), bytes(3 << 30)),
            ("1 KiB".into(), "3.0 MiB".into(), "3.0 GiB".into())
        );
    }

    #[test]
    fn a_moment_that_is_none_is_shown_as_it_is() {
        assert!(
            moment("2026-11-23T09:00:00.410Z")
                .into_string()
                .contains(">2026-11-23 09:00<")
        );
        assert!(
            moment("2026-11-23T00:00:00.000Z")
                .into_string()
                .contains(">2026-11-23<")
        );
        assert!(moment("é").into_string().contains(">é<"));
    }

    #[test]
    fn a_line_of_nothing_has_no_line() {
        assert!(!sparkline(&[], "none").into_string().contains("path"));
        assert!(
            sparkline(&[0.0, 0.0], "none")
                .into_string()
                .contains("M0.0 34.0L240.0 34.0")
        );
    }
}
