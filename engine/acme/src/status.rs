//! The status of each name: `sockhop domain list`. Pure; owns no fds.

use std::collections::BTreeSet;

use crate::error::AcmeError;
use crate::names;
use crate::plan::{self, World};
use crate::shelf::View;

/// A name that is to have a certificate. Times are in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameStatus {
    pub name: String,
    /// Until when its certificate is valid. `None` if there is none.
    pub valid_until_ms: Option<u64>,
    /// When the next certificate is ordered, by this node and at the earliest. `None` if none is.
    pub next_order_ms: Option<u64>,
    /// Why the last attempt failed, with the next step; or why no certificate is ordered.
    pub error: Option<String>,
}

/// The names, told apart by whether a certificate can be ordered for them.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) names: BTreeSet<String>,
    refused: Vec<NameStatus>,
}

impl Wanted {
    pub(crate) fn of(given: &[String]) -> Self {
        let mut wanted = Self::default();
        for name in given {
            match names::check(name) {
                Ok(plain) => drop(wanted.names.insert(plain)),
                Err(error) => wanted.refused.push(NameStatus {
                    name: name.clone(),
                    valid_until_ms: None,
                    next_order_ms: None,
                    error: Some(error.to_string()),
                }),
            }
        }
        wanted
    }

    /// Returns the status of each name. `of_node` is what keeps this node from ordering at all.
    pub(crate) fn status(
        &self,
        view: &View,
        (ca, seed): (&str, u64),
        of_node: Option<&AcmeError>,
        now_ms: u64,
    ) -> Vec<NameStatus> {
        let (held, (attempts, authority)) = (view.held(ca), view.attempts(ca));
        let (held, attempts, authority) = (&held, &attempts, &authority);
        let world = World { wanted: &self.names, held, attempts, authority, seed };
        let status_of = |name: &String| {
            let error = attempts.get(name).and_then(|attempts| attempts.error.clone());
            let of_node = of_node.map(ToString::to_string);
            NameStatus {
                name: name.clone(),
                valid_until_ms: held.get(name).map(|validity| validity.ends_ms),
                next_order_ms: Some(plan::due_ms(world, name, now_ms).max(now_ms)),
                error: of_node.or(error).or_else(|| authority.error.clone()),
            }
        };
        let mut status: Vec<NameStatus> = self.names.iter().map(status_of).collect();
        status.extend(self.refused.iter().cloned());
        status.sort_by(|one, other| one.name.cmp(&other.name));
        status
    }
}
