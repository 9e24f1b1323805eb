//! Secrets in configuration are references, never values.

use std::fmt;
use std::path::PathBuf;

/// Where a secret is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// An environment variable (`env:NAME`).
    Env(String),
    /// A file whose content, trimmed, is the secret (`file:PATH`).
    File(PathBuf),
}

/// A resolved secret; prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Why a reference could not be read or resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Not of the form `env:NAME` or `file:PATH`.
    #[error("a secret is written as `env:NAME` or `file:PATH`, never as the value itself")]
    NotAReference,
    /// The variable is not set, or empty.
    #[error("{0} is not set")]
    Unset(String),
    /// The file could not be read.
    #[error("{} could not be read: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

impl SecretRef {
    /// Reads a reference.
    ///
    /// # Errors
    /// [`SecretError::NotAReference`].
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(PathBuf::from(path))),
            _ => Err(SecretError::NotAReference),
        }
    }

    /// Looks the secret up.
    ///
    /// # Errors
    /// [`SecretError::Unset`] or [`SecretError::Unreadable`].
    pub fn resolve(&self) -> Result<Secret, SecretError> {
        match self {
            Self::Env(name) => match std::env::var(name) {
                Ok(value) if !value.trim().is_empty() => Ok(Secret(value.trim().to_owned())),
                _ => Err(SecretError::Unset(name.clone())),
            },
            Self::File(path) => std::fs::read_to_string(path)
                .map(|text| Secret(text.trim().to_owned()))
                .map_err(|error| SecretError::Unreadable { path: path.clone(), reason: error.to_string() }),
        }
    }
}

impl Secret {
    /// The value, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_not_a_reference() {
        assert_eq!(SecretRef::parse("sk-abc"), Err(SecretError::NotAReference));
        assert_eq!(SecretRef::parse("env:X"), Ok(SecretRef::Env("X".into())));
        assert_eq!(format!("{:?}", Secret("sk-abc".into())), "***");
    }
}
