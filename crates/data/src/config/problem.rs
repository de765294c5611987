//! Contradictions inside a data-set file.

/// Why an entry of a data-set file can not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigProblem {
    /// A list of files is empty.
    #[error("`files` is empty; name at least one file")]
    NoFiles,
    /// Two entries of one kind have the same name.
    #[error("the name is used twice; names must differ")]
    DuplicateName,
    /// An entry needs a key.
    #[error("`{kind}` needs the key `{key}`; add it")]
    NeedsKey {
        /// The key.
        key: &'static str,
        /// The entry's kind.
        kind: &'static str,
    },
    /// A key that the entry's kind does not know.
    #[error("the key `{key}` does not go with `{kind}`; remove it")]
    KeyNotAllowed {
        /// The key.
        key: &'static str,
        /// The entry's kind.
        kind: &'static str,
    },
    /// A transform that the entry's kind does not know.
    #[error(
        "this transform does not go with `{kind}`: `log1p` is for numbers and statistics, `logit` for rates, the others are for categories"
    )]
    TransformNotAllowed {
        /// The entry's kind.
        kind: &'static str,
    },
    /// A value that makes no sense.
    #[error("`{key}` {must}; correct it")]
    BadSetting {
        /// The key.
        key: &'static str,
        /// What it must be.
        must: &'static str,
    },
    /// A named feature or table does not exist.
    #[error("`{key}` names `{name}`, which does not exist{}", hint(.nearest.as_deref()))]
    Unknown {
        /// The key.
        key: &'static str,
        /// The name.
        name: String,
        /// The most similar name.
        nearest: Option<String>,
    },
    /// A vocabulary is shared with a feature that has none of its own.
    #[error(
        "`vocabulary` names `{name}`, which has no vocabulary of its own; name the categorical, multi or sequence feature that owns it"
    )]
    NotAnOwner {
        /// The feature.
        name: String,
    },
    /// A feature comes from a kind of table that the file does not have.
    #[error("`from = \"{table}\"`, but there is no [[{table}]] table; add it")]
    NoSuchTable {
        /// "users" or "items".
        table: &'static str,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(|| "; correct it".to_owned(), |name| format!("; did you mean `{name}`?"))
}
