//! Which of the compared servers are there. Holds no file descriptor.

use super::Missing;
use crate::cli::Peers;
use crate::server::{self, Instances, Kind};

impl Peers {
    /// sockhop and `wasmtime serve`, as it comes and tuned, with each kind of instances; and what was not found.
    pub fn find(&self, instances: &[Instances]) -> (Vec<Kind>, Vec<Missing>) {
        let (mut kinds, mut missing) = (Vec::new(), Vec::new());
        let sockhop = server::find_sockhop(self.sockhop_bin.as_deref());
        let wasmtime = server::find(self.wasmtime.as_deref(), "wasmtime");
        if sockhop.is_none() {
            missing.push(Missing { name: "sockhop", option: "--sockhop-bin" });
        }
        if wasmtime.is_none() {
            missing.push(Missing { name: "wasmtime", option: "--wasmtime" });
        }
        for &instances in instances {
            kinds.extend(sockhop.clone().map(|binary| Kind::Sockhop { binary, instances }));
            for tuned in [false, true] {
                kinds.extend(wasmtime.clone().map(|binary| Kind::Wasmtime { binary, tuned, instances }));
            }
        }
        (kinds, missing)
    }
}
