//! From texts to the tokens of a model, as `tokenizer.json` describes it.

use tokenizers::{Tokenizer, TruncationParams};

/// Most tokens of a text: what models of this kind are trained with.
const MOST_TOKENS: usize = 512;

/// Turns texts into tokens.
pub(crate) struct Tokens(Tokenizer);

/// The tokens of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tokenized {
    pub(crate) ids: Vec<i64>,
    pub(crate) types: Vec<i64>,
    /// Whether some of them are of the text itself.
    pub(crate) has_text: bool,
}

impl Tokens {
    /// The tokenizer in this file. A text has as many tokens as the file allows, but no more than 512.
    pub(crate) fn read(file: &[u8]) -> Result<Self, String> {
        let mut tokenizer = Tokenizer::from_bytes(file).map_err(|error| error.to_string())?;
        let stated = tokenizer.get_truncation().map(|stated| stated.max_length);
        let truncation = TruncationParams {
            max_length: stated.unwrap_or(MOST_TOKENS).min(MOST_TOKENS),
            ..TruncationParams::default()
        };
        tokenizer
            .with_truncation(Some(truncation))
            .map_err(|error| error.to_string())?;
        // Texts are run one by one, so that none has to be filled up to the length of another.
        tokenizer.with_padding(None);
        // What looks like a token of the model's own, such as `[SEP]`, is text like any other.
        tokenizer.set_encode_special_tokens(true);
        Ok(Self(tokenizer))
    }

    /// The tokens of a text, with those that begin and end it.
    pub(crate) fn of(&self, text: &str) -> Result<Tokenized, String> {
        let encoding = self
            .0
            .encode_fast(text, true)
            .map_err(|error| error.to_string())?;
        let wide = |ids: &[u32]| ids.iter().copied().map(i64::from).collect();
        Ok(Tokenized {
            ids: wide(encoding.get_ids()),
            types: wide(encoding.get_type_ids()),
            has_text: encoding.get_special_tokens_mask().contains(&0),
        })
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}
