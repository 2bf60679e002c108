//! What a section is made of: keys, each declared once. Flags, variables, file keys, the
//! documentation and `kindred config` come from these declarations.

use super::origin::{Origin, Origins};
use super::secret::Secrecy;
use super::{ConfigError, PREFIX};

/// Whom a key means something to. Every program accepts every key and ignores those that mean
/// nothing to it, so that one file or environment can serve all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `kindred standalone`.
    Standalone,
    /// Services in one process and a temporary directory: `kindred demo`, `kindred bench`.
    Temporary,
    /// `kindred model-service`.
    ModelService,
    /// `compute-worker`.
    ComputeWorker,
    /// Commands that speak HTTP to a service: `import`, `similar`, `status`.
    Client,
    /// Commands that speak to broker and database: `publish`, `schema`, `doctor`.
    Operator,
    /// Commands that compute on files, without any service: `neighbours`.
    Tool,
}

use Role::{ComputeWorker, ModelService, Operator, Standalone, Temporary};

/// Those that decide what is done.
pub(super) const DECIDING: &[Role] = &[Standalone, Temporary, ModelService];
/// Those that speak to broker and database.
pub(super) const CLUSTERED: &[Role] = &[ModelService, ComputeWorker, Operator];

/// What is known about a key, besides how its value is read.
#[derive(Debug)]
pub struct Key {
    /// Its name: the file key.
    pub name: &'static str,
    /// What it is for, one or two sentences.
    pub help: &'static str,
    /// Its default, as one would write it.
    pub default: &'static str,
    /// What a value looks like.
    pub expects: &'static str,
    /// Whom it means something to.
    pub roles: &'static [Role],
    /// What of its value may be shown.
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

/// The keys of a section and how their values are read and shown; made by [`section!`].
pub(super) trait Section: Sized {
    /// Its keys, in the order in which they are shown.
    const KEYS: &'static [Key];

    /// Reads every key's text; `chosen` gives the text that won and where it is from.
    fn read(chosen: impl Fn(&'static str) -> (String, Origin)) -> Result<Self, ConfigError>;

    /// The value of every key as one would write it, in the order of [`Self::KEYS`]; secrets are
    /// not masked.
    fn texts(&self) -> Vec<String>;
}

/// What the keys of a section ask of one another, beyond what each asks of its own value.
pub(super) trait Validate: Section {
    /// [`ConfigError`], naming the key, for the first value that does not suit another's.
    fn validate(&self, _: &Origins) -> Result<(), ConfigError> {
        Ok(())
    }
}

/// Declares a section: the struct of its values, and all that is known about its keys.
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
