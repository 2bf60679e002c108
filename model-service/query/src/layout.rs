//! Positions in two dimensions: rows start along the two directions in which they differ most, and are then moved by
//! forces, so that linked rows are close and none overlap.
//!
//! The same input gives the same positions. The work is bounded: a fixed number of steps, each looking only at a row's
//! surroundings.

use std::sync::atomic::{AtomicBool, Ordering};

/// The side of the square.
pub(crate) const SIDE: f32 = 1_000.0;
/// The margin.
const EDGE: f32 = 30.0;
/// Iterations of the search for a direction.
const ROUNDS: usize = 40;
/// Steps in which forces move rows.
const STEPS: usize = 240;

/// Two rows that should be close, and their similarity.
pub(crate) type Link = (usize, usize, f32);

type Point = [f32; 2];

/// Positions of as many rows as `dense` has; rows without values follow their links. `None`: cancelled.
pub(crate) fn places(
    dense: &[&[f32]],
    links: &[Link],
    cancelled: &AtomicBool,
) -> Option<Vec<Point>> {
    let by_values = |axis: &[f32]| directions_of_values(dense, axis);
    let by_links = |axis: &[f32]| directions_of_links(dense.len(), links, axis);
    let has_values = 2 * dense.iter().filter(|row| !row.is_empty()).count() >= dense.len();
    let first = if has_values {
        by_values(&[])
    } else {
        by_links(&[])
    };
    let second = if has_values {
        by_values(&first)
    } else {
        by_links(&first)
    };
    let (xs, ys) = (spread(&first), spread(&second));
    let mut at: Vec<Point> = xs.into_iter().zip(ys).map(|(x, y)| [x, y]).collect();
    for step in 0..STEPS {
        if cancelled.load(Ordering::Relaxed) {
            return None;
        }
        forces(&mut at, links, 1.0 - step as f32 / STEPS as f32);
    }
    fit(&mut at);
    Some(at)
}

/// A pseudo-random number from -0.5 to 0.5.
fn chance(of: usize, axis: usize) -> f32 {
    let mut hash = (of as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ (axis as u64 + 1).wrapping_mul(0xd1b5_4a32_d192_ed03);
    hash = (hash ^ hash >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (hash >> 40) as f32 / (1 << 24) as f32 - 0.5
}

/// The position of each row along the direction in which rows differ most, orthogonal to `before` (principal
/// components, by power iteration). A row without values is in the middle.
fn directions_of_values(rows: &[&[f32]], before: &[f32]) -> Vec<f32> {
    let length = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let known = rows.iter().filter(|row| !row.is_empty()).count().max(1);
    let mut mean = vec![0.0; length];
    for row in rows {
        for (sum, value) in mean.iter_mut().zip(*row) {
            *sum += value / known as f32;
        }
    }
    let along = |direction: &[f32]| -> Vec<f32> {
        let project = |row: &&[f32]| {
            let values = row.iter().zip(&mean).zip(direction);
            values
                .map(|((value, mean), one)| (value - mean) * one)
                .sum()
        };
        rows.iter().map(project).collect()
    };
    let mut direction: Vec<f32> = (0..length)
        .map(|at| chance(at, usize::from(!before.is_empty())))
        .collect();
    for _ in 0..ROUNDS {
        let mut far = along(&direction);
        without(&mut far, before);
        let mut next = vec![0.0; length];
        for (row, far) in rows.iter().zip(&far) {
            for ((sum, value), mean) in next.iter_mut().zip(*row).zip(&mean) {
                *sum += (value - mean) * far;
            }
        }
        unit(&mut next);
        direction = next;
    }
    let mut far = along(&direction);
    without(&mut far, before);
    far
}

/// The same if there are only links: each row is placed among the rows linked with it, while all are kept from
/// collapsing into one place (the slowest modes of the graph, by power iteration).
fn directions_of_links(rows: usize, links: &[Link], before: &[f32]) -> Vec<f32> {
    let ones = vec![1.0; rows];
    let mut at: Vec<f32> = (0..rows)
        .map(|row| chance(row, usize::from(!before.is_empty())))
        .collect();
    for _ in 0..2 * ROUNDS {
        let mut sums = vec![(0.0, 0.0_f32); rows];
        for &(a, b, weight) in links {
            sums[a] = (sums[a].0 + weight * at[b], sums[a].1 + weight);
            sums[b] = (sums[b].0 + weight * at[a], sums[b].1 + weight);
        }
        for (at, (sum, weight)) in at.iter_mut().zip(sums) {
            if weight > 0.0 {
                *at = 0.5 * *at + 0.5 * sum / weight;
            }
        }
        without(&mut at, &ones);
        without(&mut at, before);
        unit(&mut at);
    }
    at
}

/// Removes the component of a vector along another one.
fn without(vector: &mut [f32], other: &[f32]) {
    let square: f32 = other.iter().map(|value| value * value).sum();
    if square > 0.0 {
        let share = vector.iter().zip(other).map(|(a, b)| a * b).sum::<f32>() / square;
        for (value, other) in vector.iter_mut().zip(other) {
            *value -= share * other;
        }
    }
}

fn unit(vector: &mut [f32]) {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value /= length);
    }
}

/// Positions of rows along a side of the square: half by their distance, half by their order, so that a few distant
/// rows do not squeeze all others together.
fn spread(far: &[f32]) -> Vec<f32> {
    let mut order: Vec<usize> = (0..far.len()).collect();
    order.sort_by(|a, b| far[*a].total_cmp(&far[*b]).then(a.cmp(b)));
    let (low, high) = match (order.first(), order.last()) {
        (Some(low), Some(high)) => (far[*low], far[*high]),
        _ => return Vec::new(),
    };
    let width = if high > low { high - low } else { 1.0 };
    let mut places = vec![0.0; far.len()];
    for (rank, row) in order.iter().enumerate() {
        let by_order = (rank as f32 + 0.5) / far.len() as f32;
        let by_value = (far[*row] - low) / width;
        places[*row] = SIDE * (0.5 * by_order + 0.5 * by_value);
    }
    places
}

/// Moves all rows one step: linked ones towards each other, and those that are too close apart. `heat` goes from 1 to
/// 0.
fn forces(at: &mut [Point], links: &[Link], heat: f32) {
    let room = SIDE / (at.len().max(1) as f32).sqrt();
    let reach = 1.8 * room;
    let mut moves = vec![[0.0_f32; 2]; at.len()];
    for &(a, b, weight) in links {
        let way = [at[b][0] - at[a][0], at[b][1] - at[a][1]];
        let far = (way[0] * way[0] + way[1] * way[1]).sqrt();
        let pull = 0.12 * (0.4 + weight) * (far - 0.4 * room).max(0.0) / far.max(1e-3);
        moves[a] = [moves[a][0] + pull * way[0], moves[a][1] + pull * way[1]];
        moves[b] = [moves[b][0] - pull * way[0], moves[b][1] - pull * way[1]];
    }
    let cells = Cells::new(at, reach);
    for (row, place) in at.iter().enumerate() {
        cells.near(place, |other| {
            if other == row {
                return;
            }
            let mut way = [place[0] - at[other][0], place[1] - at[other][1]];
            if way == [0.0, 0.0] {
                way = [chance(row, 3), chance(row, 4)];
            }
            let far = (way[0] * way[0] + way[1] * way[1]).sqrt().max(1e-3);
            if far < reach {
                let push = 0.3 * (1.0 - far / reach) * room / far;
                moves[row][0] += push * way[0];
                moves[row][1] += push * way[1];
            }
        });
    }
    let most = room * (0.15 + 1.6 * heat);
    for (place, way) in at.iter_mut().zip(moves) {
        let far = (way[0] * way[0] + way[1] * way[1]).sqrt();
        let scale = if far > most { most / far } else { 1.0 };
        place[0] += scale * way[0];
        place[1] += scale * way[1];
    }
}

/// Rows by the cell in which they are; a cell is as wide as forces reach.
struct Cells {
    width: f32,
    low: Point,
    columns: usize,
    rows: Vec<Vec<usize>>,
}

impl Cells {
    /// One more cell on each side, so that neighbouring cells always exist.
    fn new(at: &[Point], width: f32) -> Self {
        let edge = |axis: usize, of: fn(f32, f32) -> f32, begin: f32| {
            at.iter().map(|place| place[axis]).fold(begin, of)
        };
        let low = [edge(0, f32::min, f32::MAX), edge(1, f32::min, f32::MAX)];
        let high = [edge(0, f32::max, f32::MIN), edge(1, f32::max, f32::MIN)];
        // Wide enough that there are never many more cells than rows.
        let width = width
            .max((high[0] - low[0]).max(high[1] - low[1]) / 128.0)
            .max(1e-3);
        let count = |axis: usize| ((high[axis] - low[axis]) / width).max(0.0) as usize + 3;
        let columns = count(0);
        let mut cells = Self {
            width,
            low,
            columns,
            rows: vec![Vec::new(); columns * count(1)],
        };
        for (row, place) in at.iter().enumerate() {
            let cell = cells.cell(place);
            cells.rows[cell].push(row);
        }
        cells
    }

    fn cell(&self, place: &Point) -> usize {
        let of = |axis: usize| ((place[axis] - self.low[axis]) / self.width).max(0.0) as usize + 1;
        of(0) + of(1) * self.columns
    }

    fn near(&self, place: &Point, mut found: impl FnMut(usize)) {
        let cell = self.cell(place);
        for above in [cell - self.columns, cell, cell + self.columns] {
            for rows in &self.rows[above - 1..=above + 1] {
                rows.iter().for_each(|row| found(*row));
            }
        }
    }
}

/// Scales everything into the square, within the margin.
fn fit(at: &mut [Point]) {
    for axis in 0..2 {
        let low = at.iter().map(|place| place[axis]).fold(f32::MAX, f32::min);
        let high = at.iter().map(|place| place[axis]).fold(f32::MIN, f32::max);
        let scale = if high > low {
            (SIDE - 2.0 * EDGE) / (high - low)
        } else {
            0.0
        };
        for place in at.iter_mut() {
            place[axis] = if scale > 0.0 {
                EDGE + (place[axis] - low) * scale
            } else {
                SIDE / 2.0
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static GO_ON: AtomicBool = AtomicBool::new(false);

    /// Two groups, with links inside each and one between them.
    fn links() -> Vec<Link> {
        let inside =
            |from: usize| (0..10).flat_map(move |a| (0..a).map(move |b| (from + a, from + b, 0.8)));
        inside(0).chain(inside(10)).chain([(0, 10, 0.1)]).collect()
    }

    fn apart(at: &[Point]) -> (f32, f32) {
        let far = |a: usize, b: usize| {
            ((at[a][0] - at[b][0]).powi(2) + (at[a][1] - at[b][1]).powi(2)).sqrt()
        };
        let mean = |pairs: Vec<(usize, usize)>| {
            pairs.iter().map(|(a, b)| far(*a, *b)).sum::<f32>() / pairs.len() as f32
        };
        let inside = (0..20)
            .flat_map(|a| (0..a).map(move |b| (a, b)))
            .filter(|(a, b)| (*a < 10) == (*b < 10));
        let between = (0..10).flat_map(|a| (10..20).map(move |b| (a, b)));
        (mean(inside.collect()), mean(between.collect()))
    }

    #[test]
    fn what_is_linked_lies_closer_with_values_and_without() {
        let values: Vec<[f32; 3]> = (0..20)
            .map(|n| {
                [
                    if n < 10 { 1.0 } else { -1.0 },
                    chance(n, 7) * 0.2,
                    chance(n, 8) * 0.2,
                ]
            })
            .collect();
        let with: Vec<&[f32]> = values.iter().map(|row| row.as_slice()).collect();
        let none: Vec<&[f32]> = vec![&[]; 20];
        for dense in [with, none] {
            let at = places(&dense, &links(), &GO_ON).expect("places");
            let (inside, between) = apart(&at);
            assert!(inside * 1.5 < between, "{inside} {between}");
            assert!(
                at.iter()
                    .flatten()
                    .all(|value| (EDGE - 1.0..=SIDE - EDGE + 1.0).contains(value)),
                "{at:?}"
            );
            assert_eq!(places(&dense, &links(), &GO_ON), Some(at), "the same again");
        }
    }

    #[test]
    fn whatever_there_is_has_a_place() {
        for rows in [0, 1, 2, 500] {
            let same: Vec<&[f32]> = vec![&[0.5, 0.5]; rows];
            let at = places(&same, &[], &GO_ON).expect("places");
            assert!(
                at.len() == rows && at.iter().flatten().all(|value| value.is_finite()),
                "{rows}"
            );
        }
    }

    #[test]
    fn nobody_waits_for_what_is_cancelled() {
        assert_eq!(places(&[&[1.0], &[2.0]], &[], &AtomicBool::new(true)), None);
    }
}
