//! Configuration of keys: who may send requests, and which key this program sends.

use std::path::{Path, PathBuf};

use super::secret::{Secrecy, Secret};
use super::section::Role::{self, Client, ModelService, Standalone, Temporary};
use super::section::{Validate, section};
use super::{ConfigError, Origins, values};

/// Shortest cluster secret, in bytes.
const LEAST_SECRET: usize = 16;
/// Commands that send requests to a service.
const ASKING: &[Role] = &[Client];

section! {
    /// Keys, and access without keys.
    struct Access;

    /// Key that commands send to a service.
    key: Option<Secret> = "" {
        roles: ASKING,
        expects: "a key, kk_ and 43 characters, or nothing",
        read: values::optional_secret,
        show: |secret| secret.as_ref().map(values::show_secret).unwrap_or_default(),
        secrecy: Secrecy::Whole,
    }

    /// File with the key that commands send to a service.
    key_file: Option<PathBuf> = "" {
        roles: ASKING,
        expects: "a path, or nothing; not together with key",
        read: values::optional_path,
        show: values::show_path,
    }

    /// File with a key that grants everything, in addition to stored keys; re-read every other second.
    admin_key_file: Option<PathBuf> = "" {
        roles: &[Standalone, ModelService],
        expects: "a path, or nothing",
        read: values::optional_path,
        show: values::show_path,
    }

    /// Secret with which instances sign requests to each other; the same for all, required once there are keys.
    cluster_key: Option<Secret> = "" {
        roles: &[ModelService],
        expects: "16 characters or more, or nothing",
        read: values::optional_secret,
        show: |secret| secret.as_ref().map(values::show_secret).unwrap_or_default(),
        secrecy: Secrecy::Whole,
    }

    /// File with the secret of cluster_key.
    cluster_key_file: Option<PathBuf> = "" {
        roles: &[ModelService],
        expects: "a path, or nothing; not together with cluster_key",
        read: values::optional_path,
        show: values::show_path,
    }

    /// Whether a service without any key may listen on addresses that others can reach.
    open_to_network: bool = "false" {
        roles: &[Standalone, Temporary, ModelService],
        expects: "true or false",
        read: values::truth,
        show: bool::to_string,
    }
}

impl Validate for Access {
    fn validate(&self, origins: &Origins) -> Result<(), ConfigError> {
        let both = |name, other: &str| {
            let expected = format!("nothing, because {other} has a value");
            Err(ConfigError::unsuitable(
                name,
                "",
                origins.of(name),
                expected,
            ))
        };
        if self.key.is_some() && self.key_file.is_some() {
            return both("key_file", "key");
        }
        if self.cluster_key.is_some() && self.cluster_key_file.is_some() {
            return both("cluster_key_file", "cluster_key");
        }
        let is_short = |secret: &Secret| secret.expose().len() < LEAST_SECRET;
        if self.cluster_key.as_ref().is_some_and(is_short) {
            let (name, expected) = ("cluster_key", format!("{LEAST_SECRET} characters or more"));
            return Err(ConfigError::unsuitable(
                name,
                "***",
                origins.of(name),
                expected,
            ));
        }
        Ok(())
    }
}

/// A file with a secret cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {}: {detail}", path.display())]
pub struct SecretError {
    key: &'static str,
    path: PathBuf,
    detail: String,
}

impl Access {
    /// The key that commands send, if one is configured.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn sent_key(&self) -> Result<Option<Secret>, SecretError> {
        either(self.key.as_ref(), "key_file", self.key_file.as_deref(), 1)
    }

    /// The secret that instances sign with, if one is configured.
    ///
    /// # Errors
    /// When its file cannot be read, or its secret is too short.
    pub fn shared_secret(&self) -> Result<Option<Secret>, SecretError> {
        let file = self.cluster_key_file.as_deref();
        either(
            self.cluster_key.as_ref(),
            "cluster_key_file",
            file,
            LEAST_SECRET,
        )
    }
}

/// A secret given directly or in a file, without surrounding white space.
fn either(
    said: Option<&Secret>,
    key: &'static str,
    file: Option<&Path>,
    least: usize,
) -> Result<Option<Secret>, SecretError> {
    let Some(path) = file else {
        return Ok(said.cloned());
    };
    let fault = |detail: String| SecretError {
        key,
        path: path.to_owned(),
        detail,
    };
    let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
    let text = text.trim();
    if text.len() < least {
        return Err(fault(format!("it holds fewer than {least} characters")));
    }
    Ok(Some(Secret::new(text)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::super::{Config, Flags};
    use super::*;

    fn access(flags: &[(&'static str, &str)]) -> Result<Access, ConfigError> {
        let values = flags.iter().map(|(key, text)| (*key, (*text).to_owned()));
        let flags = Flags {
            file: None,
            values: values.collect(),
        };
        let (config, _) = Config::resolve(&flags, [], Path::new("/nonexistent"))?;
        Ok(config.access)
    }

    #[test]
    fn a_secret_is_given_directly_or_in_a_file() {
        let directory = tempfile::TempDir::new().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, "  a secret of some length\n").unwrap();
        let path = file.display().to_string();
        let of_files = access(&[("key_file", &path), ("cluster_key_file", &path)]).unwrap();
        let secret = Some(Secret::new("a secret of some length"));
        assert_eq!(of_files.sent_key().unwrap(), secret);
        assert_eq!(of_files.shared_secret().unwrap(), secret);
        assert_eq!(access(&[]).unwrap().sent_key().unwrap(), None);
        let said = access(&[("key", "kk_x")]).unwrap();
        assert_eq!(said.sent_key().unwrap(), Some(Secret::new("kk_x")));

        std::fs::write(&file, "short").unwrap();
        let error = of_files.shared_secret().unwrap_err().to_string();
        assert!(
            error.contains("cluster_key_file") && error.contains("16"),
            "{error}"
        );
        std::fs::remove_file(&file).unwrap();
        assert!(of_files.sent_key().is_err());
    }

    #[test]
    fn what_contradicts_itself_is_refused_by_name() {
        for (flags, name) in [
            (&[("key", "a"), ("key_file", "b")], "key_file"),
            (
                &[
                    ("cluster_key", "a secret of some length"),
                    ("cluster_key_file", "b"),
                ],
                "cluster_key_file",
            ),
        ] {
            let error = access(flags).unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
        let error = access(&[("cluster_key", "short")]).unwrap_err().to_string();
        assert!(
            error.contains("cluster_key") && !error.contains("short"),
            "{error}"
        );
    }
}
