//! Configuration of texts.

use std::path::PathBuf;

use super::section::Role::{ComputeWorker, ModelService, Standalone, Temporary};
use super::section::{DECIDING, Role, Validate, section};
use super::values::{self, LanguageVectors};
use super::{ConfigError, Origins};

/// Roles that extract features: a model service does while no worker takes jobs.
const EXTRACTING: &[Role] = &[Standalone, Temporary, ModelService, ComputeWorker];

section! {
    /// Languages and their word vectors.
    struct Texts;

    /// Languages that are distinguished; the default is all that detection knows.
    languages: Vec<String> = "en,de,fr,es,it,pt,nl,sv,\
        af,ak,am,ar,az,be,bg,bn,ca,cs,cy,da,el,eo,et,fa,fi,gu,he,hi,hr,hu,hy,id,ja,jv,ka,km,kn,ko,la,lt,\
        lv,mk,ml,mr,my,ne,no,or,pa,pl,ro,ru,si,sk,sl,sn,sr,ta,te,th,tk,tl,tr,uk,ur,uz,vi,yi,zh,zu" {
        roles: DECIDING,
        expects: "language codes of two letters separated by commas, each once, such as en,de",
        read: values::languages,
        show: |list| list.join(","),
    }

    /// Language of a text whose language is neither given nor recognised; one of languages.
    default_language: String = "en" {
        roles: DECIDING,
        expects: "a language code of two letters, such as en",
        read: values::language,
        show: String::clone,
    }

    /// Word vectors of more languages, as made by `kindred vectors prepare`; the same for all programs of a cluster.
    vectors: Vec<LanguageVectors> = "" {
        roles: EXTRACTING,
        expects: "language=path pairs separated by commas, each language once, such as de=de.fifu",
        read: values::vectors,
        show: |list| values::show_vectors(list),
    }

    /// A folder of sentence encoders: each is a folder in it, with model.onnx and tokenizer.json; the same for all
    /// programs of a cluster.
    encoders: Option<PathBuf> = "" {
        roles: EXTRACTING,
        expects: "a path",
        read: values::optional_path,
        show: values::show_path,
    }
}

impl Validate for Texts {
    fn validate(&self, origins: &Origins) -> Result<(), ConfigError> {
        let languages = self.languages.join(",");
        if !self.languages.contains(&self.default_language) {
            return Err(ConfigError::unsuitable(
                "default_language",
                &self.default_language,
                origins.of("default_language"),
                format!("one of languages ({languages})"),
            ));
        }
        let is_other = |one: &&LanguageVectors| !self.languages.contains(&one.language);
        if let Some(other) = self.vectors.iter().find(is_other) {
            return Err(ConfigError::unsuitable(
                "vectors",
                &values::show_vectors(std::slice::from_ref(other)),
                origins.of("vectors"),
                format!("a language of languages ({languages})"),
            ));
        }
        Ok(())
    }
}
