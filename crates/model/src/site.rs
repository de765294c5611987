//! Sites: the places where a backbone can be changed.

/// Position of a site in its backbone's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId(pub usize);

/// What can be changed at a site, and its widths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteKind {
    /// A linear map; its weights and its output can be changed.
    Linear {
        /// Width of the input (of a causal convolution: kernel times channels).
        d_in: usize,
        /// Width of the output.
        d_out: usize,
    },
    /// A normalisation; its gain and shift can be changed.
    Norm {
        /// Width.
        d: usize,
    },
    /// A hidden state between layers, such as a residual branch's end.
    Hidden {
        /// Width.
        d: usize,
    },
    /// Attention between its queries, keys and values and its output map; keys and values can be added.
    Attention {
        /// Width of all heads.
        d: usize,
        /// Number of heads.
        heads: usize,
    },
    /// The gathered embedding rows that enter the network.
    Rows {
        /// Width.
        d: usize,
    },
}

/// Where in the backbone's order of computation a linear site stands. Gradient-based methods and `last`-layer scopes ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A layer of the body.
    Body,
    /// The layer that turns the last hidden state into a score. Where there are several, the score is a mean of their outputs with weights that add up to 1:
    /// what is added to each of them is added to the score. A hidden state of this role, of width 1, is the score itself, in a network that adds something to what comes out of the layer.
    Head,
    /// A layer beside the body that weighs or gates: methods that change the layers of the body leave it out. Where it runs over the entries of a list, T a row, its
    /// hidden states are `[G, N * T, d]`, and what differs from row to row can not be applied there.
    Side,
}

/// What a row of a group sees of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sight {
    /// Nothing: rows have nothing to do with each other.
    #[default]
    Itself,
    /// Those before it.
    Earlier,
    /// All.
    All,
}

/// One place where a backbone can be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its path, a prefix of its parameters' paths: `tower.1.linear`.
    pub path: String,
    /// What can be changed.
    pub kind: SiteKind,
    /// Body or head.
    pub role: Role,
    /// Width of the hidden state that goes in: `d_in` of a linear map, the channels of a convolution.
    pub d_x: usize,
}
