//! Bytes of the fuzzer as numbers, and the score as the contract defines it.

/// What is left of the input; zeros when it is used up.
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&first, rest)) => {
                self.0 = rest;
                first
            }
            None => 0,
        }
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (usize::from(self.byte()) << 8 | usize::from(self.byte())) % limit.max(1)
    }

    /// A finite value: mostly ordinary, at times denormal, huge or of few bits.
    pub fn value(&mut self) -> f32 {
        let value = match self.byte() {
            0..=99 => f32::from(self.byte().cast_signed()) / 128.0,
            100..=179 => f32::from(self.byte().cast_signed()) * 1e-3,
            180..=199 => f32::from(self.byte().cast_signed()) * 1e-42,
            200..=215 => f32::from(self.byte().cast_signed()) * 1e36,
            216..=225 => 0.0,
            _ => {
                let bytes = [self.byte(), self.byte(), self.byte(), self.byte()];
                f32::from_bits(u32::from_le_bytes(bytes))
            }
        };
        if value.is_finite() { value } else { 1.0 }
    }
}

type Terms<'a> = (&'a [u32], &'a [f32]);

/// The contract's score, written anew and slowly.
#[allow(dead_code)] // not every target scores
pub fn canonical(left: &[f32], right: &[f32], terms: Option<(Terms<'_>, Terms<'_>)>) -> f32 {
    let mut lanes = [0.0_f32; 16];
    for k in 0..left.len().next_multiple_of(16) {
        let at = |row: &[f32]| row.get(k).copied().unwrap_or(0.0);
        lanes[k % 16] = at(left).mul_add(at(right), lanes[k % 16]);
    }
    let eight: Vec<f32> = (0..8).map(|l| lanes[l] + lanes[l + 8]).collect();
    let four: Vec<f32> = (0..4).map(|l| eight[l] + eight[l + 4]).collect();
    let dense = (four[0] + four[2]) + (four[1] + four[3]);
    let Some(((ids, weights), (others, other_weights))) = terms else {
        return dense;
    };
    let mut sparse = 0.0_f32;
    for (id, weight) in ids.iter().zip(weights) {
        if let Ok(at) = others.binary_search(id) {
            sparse = weight.mul_add(other_weights[at], sparse);
        }
    }
    dense + sparse
}
