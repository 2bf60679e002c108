//! Made-up items: texts with subjects, and own vectors.

use serde_json::{Value, json};

use crate::support::random::Random;

/// Words that the English vectors know.
const COMMON: [&str; 96] = [
    "river",
    "bridge",
    "harbor",
    "ship",
    "sailor",
    "island",
    "storm",
    "coast",
    "fish",
    "net",
    "engine",
    "wheel",
    "road",
    "driver",
    "race",
    "speed",
    "truck",
    "garage",
    "fuel",
    "traffic",
    "bread",
    "oven",
    "flour",
    "butter",
    "recipe",
    "kitchen",
    "cook",
    "sugar",
    "dinner",
    "cheese",
    "court",
    "judge",
    "law",
    "trial",
    "witness",
    "verdict",
    "lawyer",
    "prison",
    "crime",
    "police",
    "forest",
    "tree",
    "leaf",
    "bird",
    "nest",
    "wolf",
    "bear",
    "hunter",
    "trail",
    "valley",
    "piano",
    "song",
    "concert",
    "violin",
    "singer",
    "stage",
    "music",
    "drum",
    "album",
    "melody",
    "planet",
    "star",
    "orbit",
    "moon",
    "rocket",
    "telescope",
    "galaxy",
    "comet",
    "space",
    "gravity",
    "goal",
    "match",
    "coach",
    "league",
    "player",
    "stadium",
    "referee",
    "score",
    "team",
    "season",
    "doctor",
    "nurse",
    "clinic",
    "fever",
    "vaccine",
    "surgery",
    "patient",
    "heart",
    "blood",
    "virus",
    "bank",
    "loan",
    "market",
    "trade",
    "profit",
    "tax",
];
/// Neighbouring words of the list that make up one subject.
const SUBJECT_WORDS: usize = 10;
/// Made-up words, which no vectors know.
const RARE: usize = 2_000;

/// `title` and `text` of an item: mostly words of one subject, some of all, some made up.
pub(crate) fn text_item(random: &mut Random, words: usize) -> Value {
    let subject = random.below(COMMON.len() - SUBJECT_WORDS);
    let mut word = || {
        if random.chance(0.25) {
            rare_word(random.below(RARE))
        } else if random.chance(0.2) {
            (*random.pick(&COMMON)).to_owned()
        } else {
            COMMON[subject + random.below(SUBJECT_WORDS)].to_owned()
        }
    };
    let title: Vec<String> = (0..4).map(|_| word()).collect();
    let text: Vec<String> = (0..words).map(|_| word()).collect();
    json!({"title": title.join(" "), "text": text.join(" "), "language": "en"})
}

/// The n-th made-up word: pronounceable, and unlike the others.
pub(crate) fn rare_word(n: usize) -> String {
    const SYLLABLES: [&str; 16] = [
        "zor", "vek", "lum", "quix", "dra", "fen", "jol", "mip", "tus", "gah", "wex", "rud", "pyl",
        "hov", "kez", "nib",
    ];
    let mut word = String::from("x");
    let mut rest = n;
    for _ in 0..4 {
        word.push_str(SYLLABLES[rest % SYLLABLES.len()]);
        rest /= SYLLABLES.len();
    }
    word
}

/// `vector` of an item: all values in [0.05, 1), so that every two have a score above 0.
pub(crate) fn vector_item(random: &mut Random, length: usize) -> Value {
    let vector: Vec<f32> = (0..length)
        .map(|_| (0.05 + 0.95 * random.unit()) as f32)
        .collect();
    json!({"title": "an own vector", "vector": vector})
}
