//! Sections declare each key once. Flags, variables, file keys, the documentation and `kindred
//! config` come from these declarations.

use super::origin::{Origin, Origins};
use super::secret::Secrecy;
use super::{ConfigError, PREFIX};

/// Programs that a key applies to. Every program accepts every key and ignores those of others, so
/// that one file or environment can serve all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `kindred standalone`.
    Standalone,
    /// Services in one process with a temporary directory: `kindred demo`, `kindred bench`.
    Temporary,
    /// `kindred model-service`.
    ModelService,
    /// `compute-worker`.
    ComputeWorker,
    /// Commands that send HTTP requests to a service: `import`, `similar`, `status`.
    Client,
    /// Commands that connect to broker and database: `publish`, `schema`, `doctor`.
    Operator,
    /// Commands that compute on files, without a service: `neighbours`.
    Tool,
}

use Role::{ComputeWorker, ModelService, Operator, Standalone, Temporary};

/// Roles that run the model service.
pub(super) const DECIDING: &[Role] = &[Standalone, Temporary, ModelService];
/// Roles that connect to broker and database.
pub(super) const CLUSTERED: &[Role] = &[ModelService, ComputeWorker, Operator];

/// The description of a key, apart from how its value is read.
#[derive(Debug)]
pub struct Key {
    /// The name, as in the file.
    pub name: &'static str,
    /// The purpose, in one or two sentences.
    pub help: &'static str,
    /// The default, in configuration syntax.
    pub default: &'static str,
    /// What a value looks like.
    pub expects: &'static str,
    /// The roles it applies to.
    pub roles: &'static [Role],
    /// How much of its value may be shown.
    pub secrecy: Secrecy,
}

impl Key {
    /// The environment variable: `KINDRED_DATA_DIR` for `data_dir`.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.to_ascii_uppercase())
    }

    /// The flag without its dashes: `data-dir` for `data_dir`.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }
}

/// The keys of a section, and how their values are read and shown; implemented by [`section!`].
pub(super) trait Section: Sized {
    /// The keys, in display order.
    const KEYS: &'static [Key];

    /// Reads every key's text; `chosen` returns the text that won and where it comes from.
    fn read(chosen: impl Fn(&'static str) -> (String, Origin)) -> Result<Self, ConfigError>;

    /// The value of every key in configuration syntax, in the order of [`Self::KEYS`]; secrets are
    /// not masked.
    fn texts(&self) -> Vec<String>;
}

/// The rules between the keys of a section, beyond what each key checks of its own value.
pub(super) trait Validate: Section {
    /// Returns [`ConfigError`], naming the key, for the first value that is inconsistent with another.
    fn validate(&self, _: &Origins) -> Result<(), ConfigError> {
        Ok(())
    }
}

/// Declares a section: the struct of its values, and the description of its keys.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        struct $section:ident;
        $(
            $(#[doc = $help:literal])+
            $name:ident: $type:ty = $default:literal {
                roles: $roles:expr,
                expects: $expects:literal,
                read: $read:expr,
                show: $show:expr,
                $(secrecy: $secrecy:expr,)?
            }
        )+
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $section {
            $(
                $(#[doc = $help])+
                pub $name: $type,
            )+
        }

        impl $crate::config::section::Section for $section {
            const KEYS: &'static [$crate::config::Key] = &[$(
                $crate::config::Key {
                    name: stringify!($name),
                    help: concat!($($help),+).trim_ascii(),
                    default: $default,
                    expects: $expects,
                    roles: $roles,
                    secrecy: section!(@secrecy $($secrecy)?),
                }
            ),+];

            fn read(
                chosen: impl Fn(&'static str) -> (String, $crate::config::Origin),
            ) -> Result<Self, $crate::config::ConfigError> {
                Ok(Self {$(
                    $name: {
                        let (text, origin) = chosen(stringify!($name));
                        let read: fn(&str) -> Option<$type> = $read;
                        read(text.trim()).ok_or_else(|| {
                            $crate::config::ConfigError::invalid(stringify!($name), &text, origin)
                        })?
                    },
                )+})
            }

            fn texts(&self) -> Vec<String> {
                vec![$({
                    let show: fn(&$type) -> String = $show;
                    show(&self.$name)
                }),+]
            }
        }
    };
    (@secrecy) => { $crate::config::Secrecy::Open };
    (@secrecy $secrecy:expr) => { $secrecy };
}

pub(super) use section;
