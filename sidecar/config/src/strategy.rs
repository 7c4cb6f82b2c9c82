//! `Strategy`: the seed's three ways of choosing a node.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// How a node is chosen among those that are not dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// One after the other, a step per client.
    #[default]
    Round,
    /// Uniformly at random.
    Random,
    /// The first in the list.
    Fifo,
}

impl Strategy {
    /// The seed's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Round => "round",
            Self::Random => "random",
            Self::Fifo => "fifo",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no strategy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown strategy; write round, random or fifo")]
pub struct UnknownStrategy;

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(text: &str) -> Result<Self, UnknownStrategy> {
        match text {
            "round" => Ok(Self::Round),
            "random" => Ok(Self::Random),
            "fifo" => Ok(Self::Fifo),
            _ => Err(UnknownStrategy),
        }
    }
}
