//! Precedence: flags override the environment, which overrides the file, which overrides defaults.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{
    Config, ConfigError, FILE_NAME, FILE_VARIABLE, Flags, Origin, Origins, PREFIX, TEST_PREFIX,
    key, keys,
};

/// Each key's text and where it comes from.
type Chosen = BTreeMap<&'static str, (String, Origin)>;

impl Config {
    /// The effective configuration and where each value comes from. Reads no file but the
    /// configuration file; [`FILE_NAME`] is looked up in `cwd`.
    ///
    /// # Errors
    /// [`ConfigError`] for the first unknown key or unsuitable value, by name and place.
    pub fn resolve(
        flags: &Flags,
        env: impl IntoIterator<Item = (OsString, OsString)>,
        cwd: &Path,
    ) -> Result<(Self, Origins), ConfigError> {
        let (named, variables) = read_environment(env)?;
        let mut chosen: Chosen = keys()
            .map(|key| (key.name, (key.default.to_owned(), Origin::Default)))
            .collect();
        chosen.extend(read_file(flags.file.as_deref(), named.as_deref(), cwd)?);
        chosen.extend(variables);
        for (name, text) in &flags.values {
            if let Some(key) = key(name) {
                let origin = Origin::Flag(format!("--{}", key.flag()));
                chosen.insert(key.name, (text.clone(), origin));
            }
        }
        let origins = Origins(
            chosen
                .iter()
                .map(|(name, (_, origin))| (*name, origin.clone()))
                .collect(),
        );
        let config = Self::read(|name| {
            chosen
                .get(name)
                .cloned()
                .unwrap_or_else(|| (String::new(), Origin::Default))
        })?;
        config.validate(&origins)?;
        Ok((config, origins))
    }
}

/// The file that the environment names, and the keys that it sets.
fn read_environment(
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(Option<PathBuf>, Chosen), ConfigError> {
    let mut file = None;
    let mut chosen = Chosen::new();
    for (name, value) in env {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        if name.starts_with(TEST_PREFIX) {
            continue;
        }
        if name == FILE_VARIABLE {
            file = Some(PathBuf::from(value));
            continue;
        }
        let key = keys()
            .find(|key| key.variable() == name)
            .ok_or_else(|| ConfigError::unknown_variable(name))?;
        let origin = Origin::Environment(name.to_owned());
        let text = value.into_string().map_err(|value| {
            ConfigError::invalid(key.name, &value.to_string_lossy(), origin.clone())
        })?;
        chosen.insert(key.name, (text, origin));
    }
    Ok((file, chosen))
}

fn read_file(
    flag: Option<&Path>,
    variable: Option<&Path>,
    cwd: &Path,
) -> Result<Chosen, ConfigError> {
    let named = flag.or(variable);
    let file = cwd.join(named.unwrap_or(Path::new(FILE_NAME)));
    let refuse = |detail: String| ConfigError::File {
        file: file.clone(),
        detail,
    };
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == ErrorKind::NotFound => {
            return Ok(Chosen::new());
        }
        Err(error) => return Err(refuse(format!("cannot be read: {error}"))),
    };
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| refuse(format!("is not TOML: {error}")))?;
    let origin = Origin::File(file.clone());
    table
        .into_iter()
        .map(|(name, value)| {
            let key = key(&name).ok_or_else(|| ConfigError::unknown_key(file.clone(), &name))?;
            let text = plain(&value).ok_or_else(|| {
                ConfigError::invalid(key.name, &value.to_string(), origin.clone())
            })?;
            Ok((key.name, (text, origin.clone())))
        })
        .collect()
}

/// A file's value in the syntax of a variable; lists are joined by commas.
fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        toml::Value::Array(list) => {
            let texts: Option<Vec<&str>> = list.iter().map(toml::Value::as_str).collect();
            Some(texts?.join(","))
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}
