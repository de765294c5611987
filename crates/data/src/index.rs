//! Dense indices. Newtypes, so that a user can not be looked up as an item.

use serde::{Deserialize, Serialize};

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl $name {
            /// The index as a position in a slice.
            #[must_use]
            pub fn at(self) -> usize {
                self.0 as usize
            }
        }
    };
}

index!(
    /// Position of a user in [`Dataset::users`](crate::Dataset::users).
    UserIndex
);
index!(
    /// Position of an item in [`Dataset::items`](crate::Dataset::items).
    ItemIndex
);
index!(
    /// Position of a domain in [`Dataset::domains`](crate::Dataset::domains).
    DomainIndex
);
index!(
    /// Position of a vocabulary in [`Features::vocabularies`](crate::Features::vocabularies).
    VocabularyIndex
);
