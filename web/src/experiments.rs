//! Experiments of a domain, and their results.

use kindred_api::domain::DomainAnswer;
use kindred_api::experiment::{ArmAnswer, ExperimentAnswer, ExperimentLine, LiftAnswer};
use kindred_api::path;
use kindred_api::problem::Problem;
use maud::{Markup, html};

use crate::figures::{count, moment};
use crate::frame::{Frame, Tab, copied};
use crate::items::of_domain;
use crate::links;
use crate::problem;

/// The significance level: with a p below it, the arms differ.
const LEVEL: f64 = 0.05;
/// Size of the plot: its width, and the height of each arm.
const WIDTH: f64 = 480.0;
const ROW: f64 = 28.0;

/// The experiment to show: the one requested, else the running one, else the last one.
pub fn chosen<'a>(all: &'a [ExperimentLine], asked: &str) -> Option<&'a ExperimentLine> {
    let named = all.iter().find(|line| line.name == asked);
    let running = || all.iter().find(|line| line.ended.is_none());
    named
        .or_else(running)
        .or_else(|| all.iter().max_by(|a, b| a.since.cmp(&b.since)))
}

/// The view.
pub fn page(
    frame: &Frame,
    domain: &DomainAnswer,
    all: &[ExperimentLine],
    shown: Option<&Result<ExperimentAnswer, Problem>>,
) -> String {
    let name = domain.domain.as_str();
    let head = frame.domain_head(name, &of_domain(domain));
    let body = html! {
        @match shown {
            Some(Ok(experiment)) => (one(experiment)),
            Some(Err(problem)) => (problem::note(problem)),
            None => p.empty { "No experiment yet." },
        }
        @if all.len() > 1 {
            h2 { "All experiments" }
            table {
                caption.unseen { "Experiments of this domain" }
                thead { tr { th scope="col" { "Experiment" } th scope="col" { "Since" } th scope="col" { "Until" } } }
                tbody { @for line in all {
                    tr {
                        th scope="row" { a href=(format!("{}{}", links::domain(name, "/experiments"), links::query([("name", line.name.as_str())]))) { (line.name) } }
                        td { (moment(&line.since)) }
                        td { @match &line.ended { Some(at) => (moment(at)), None => "running" } }
                    }
                } }
            }
        }
        (commands(frame, name, shown))
    };
    frame.domain_page(
        name,
        Tab::Experiments,
        &format!("Experiments of {name}"),
        &head,
        &body,
    )
}

fn one(experiment: &ExperimentAnswer) -> Markup {
    html! {
        h2 { (experiment.name) }
        p.beside {
            "Since " (moment(&experiment.since))
            @match &experiment.ended { Some(at) => { ", ended " (moment(at)) }, None => ", running" } "."
        }
        @for warning in &experiment.warnings { p.note role="alert" { (warning) } }
        p.lead { (verdict(experiment)) }
        (plot(&experiment.arms))
        table {
            caption.unseen { "Arms of the experiment" }
            thead { tr { th scope="col" { "Arm" } th.number scope="col" { "Readers" } th.number.wide scope="col" { "Views" }
                th.number.wide scope="col" { "Clicks" } th.number scope="col" { "Clicks per view" } th.number scope="col" { "Compared with the first" } } }
            tbody { @for arm in &experiment.arms {
                tr {
                    th scope="row" { (arm.name) small { " " (percent(arm.share)) } }
                    td.number { (count(arm.readers)) }
                    td.number.wide { (count(arm.seen)) }
                    td.number.wide { (count(arm.clicked)) }
                    td.number { (percent(arm.rate)) small { " " (percent(arm.low)) " to " (percent(arm.high)) } }
                    td.number { @match experiment.lift.get(&arm.name) { Some(lift) => (of_lift(lift)), None => "–" } }
                }
            } }
        }
        p.beside { "Intervals and result hold with 95 % confidence, whenever and however often you look." }
    }
}

/// The result in words.
fn verdict(experiment: &ExperimentAnswer) -> String {
    let p = experiment.p;
    if p >= LEVEL {
        return format!("No difference is proven yet (p = {p:.2}).");
    }
    let first = experiment.arms.first().map_or("", |arm| &arm.name);
    let surely = |lift: &LiftAnswer| lift.low > 0.0 || lift.high.is_some_and(|high| high < 0.0);
    let sure = experiment.lift.iter().filter(|(_, lift)| surely(lift));
    let told = sure.map(|(name, lift)| {
        let word = if lift.lift > 0.0 { "more" } else { "less" };
        format!(
            "{name} is clicked {} {word} than {first}",
            percent(lift.lift.abs())
        )
    });
    let told: Vec<String> = told.collect();
    let p = if p < 0.001 {
        "p < 0.001".to_owned()
    } else {
        format!("p = {p:.3}")
    };
    if told.is_empty() {
        return format!("The arms differ ({p}).");
    }
    format!("{} ({p}).", told.join("; "))
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

fn of_lift(lift: &LiftAnswer) -> Markup {
    let signed = |part: f64| format!("{:+.0} %", part * 100.0);
    html! {
        (signed(lift.lift))
        small { " " (signed(lift.low)) " to " @match lift.high { Some(high) => (signed(high)), None => "any" } }
    }
}

/// Intervals of the arms' rates, one below the other.
fn plot(arms: &[ArmAnswer]) -> Markup {
    let seen = || arms.iter().filter(|arm| arm.seen > 0);
    // The interval of an arm with few views is cut off.
    let most = 3.0 * seen().map(|arm| arm.rate).fold(0.0, f64::max);
    let most = seen().map(|arm| arm.high).fold(0.0, f64::max).min(most);
    let least = seen().map(|arm| arm.low).fold(most, f64::min);
    let span = (most - least).max(f64::MIN_POSITIVE);
    let at = |rate: f64| 8.0 + (WIDTH - 16.0) * ((rate - least) / span).clamp(0.0, 1.0);
    let height = ROW * arms.len() as f64;
    let said: Vec<String> = seen()
        .map(|arm| {
            let [rate, low, high] = [arm.rate, arm.low, arm.high].map(percent);
            format!("{}: {rate}, {low} to {high}", arm.name)
        })
        .collect();
    html! {
        @if most > 0.0 {
            svg.intervals viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(format!("Clicks per view. {}", said.join("; "))) {
                @for (row, arm) in arms.iter().enumerate().filter(|(_, arm)| arm.seen > 0) {
                    @let y = ROW * (row as f64 + 0.5);
                    line.reach x1=(format!("{:.1}", at(arm.low))) x2=(format!("{:.1}", at(arm.high))) y1=(y) y2=(y) {}
                    circle.rate cx=(format!("{:.1}", at(arm.rate))) cy=(y) r="4" {}
                }
            }
        }
    }
}

/// The commands that begin and end an experiment.
fn commands(
    frame: &Frame,
    domain: &str,
    shown: Option<&Result<ExperimentAnswer, Problem>>,
) -> Markup {
    let running = shown.and_then(|shown| shown.as_ref().ok());
    let running = running.filter(|experiment| experiment.ended.is_none());
    let base = &frame.base;
    let (name, text) = match running {
        Some(experiment) => {
            let at = path::experiment(domain, &experiment.name);
            ("End the experiment", format!("curl -X DELETE '{base}{at}'"))
        }
        None => {
            let at = path::experiment(domain, "fresh-first");
            let arms = r#"{"arms":[{"name":"as-ever","share":0.5},{"name":"fresh","share":0.5,"defaults":{"half_life":"7d"}}]}"#;
            let text = format!(
                "curl -X PUT '{base}{at}' \\\n  -H 'content-type: application/json' \\\n  -d '{arms}'"
            );
            ("Begin an experiment", text)
        }
    };
    copied(name, &text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::frame::tests::frame;

    fn domain() -> DomainAnswer {
        let domain = json!({"domain": "d", "model": "words-1", "state": "idle", "quiet": true, "live": 2, "visible": 2,
            "pending": 0, "registered_at": "2026-11-23T09:00:00.000Z", "trouble": null});
        serde_json::from_value(domain).expect("a domain")
    }

    fn experiment(p: f64, low: f64, warnings: &[&str]) -> ExperimentAnswer {
        let arm = |name: &str, rate: f64| {
            json!({"name": name, "share": 0.5, "readers": 10, "seen": 1000, "clicked": 50, "rate": rate,
                "low": rate / 2.0, "high": rate * 2.0})
        };
        let whole: Value = json!({"domain": "d", "name": "<x>", "salt": "s", "since": "2026-11-23T09:00:00.000Z",
            "arms": [arm("ever", 0.05), arm("fresh", 0.06)], "lift": {"fresh": {"lift": 0.2, "low": low, "high": 0.4}},
            "p": p, "sample_ratio_p": 1.0, "warnings": warnings});
        serde_json::from_value(whole).expect("an experiment")
    }

    fn line(name: &str, since: &str, ended: Option<&str>) -> ExperimentLine {
        ExperimentLine {
            name: name.to_owned(),
            since: since.to_owned(),
            ended: ended.map(str::to_owned),
        }
    }

    #[test]
    fn a_difference_is_called_one_when_it_is_proven() {
        let shown = Ok(experiment(0.4, -0.1, &["Look there."]));
        let text = page(&frame(), &domain(), &[], Some(&shown));
        assert!(text.contains("No difference is proven yet (p = 0.40)"));
        assert!(text.contains("&lt;x&gt;") && text.contains("Look there."));
        assert!(text.contains("curl -X DELETE") && text.contains("<svg class=\"intervals\""));
        let shown = Ok(experiment(0.0004, 0.1, &[]));
        let text = page(&frame(), &domain(), &[], Some(&shown));
        assert!(
            text.contains("fresh is clicked 20.0 % more than ever (p &lt; 0.001)"),
            "{text}"
        );
    }

    #[test]
    fn without_an_experiment_it_says_how_to_begin_one() {
        let text = page(&frame(), &domain(), &[], None);
        assert!(text.contains("No experiment yet.") && text.contains("curl -X PUT"));
        let problem = Problem::new(kindred_api::problem::ProblemKind::NotReady, "Later.");
        let text = page(&frame(), &domain(), &[], Some(&Err(problem)));
        assert!(text.contains("Later."));
    }

    #[test]
    fn what_runs_is_shown_unless_another_is_asked_for() {
        let all = [
            line("a", "2026-11-01", Some("2026-11-02")),
            line("b", "2026-11-05", None),
            line("c", "2026-11-03", Some("2026-11-04")),
        ];
        let name = |all, asked| chosen(all, asked).map(|line| line.name.as_str());
        assert_eq!(name(&all, ""), Some("b"));
        assert_eq!(name(&all, "a"), Some("a"));
        assert_eq!(name(&all[..1], "x"), Some("a"));
        assert_eq!(name(&[], "a"), None);
        let ended = [all[0].clone(), all[2].clone()];
        assert_eq!(name(&ended, ""), Some("c"));
    }
}
