//! The cores that this process may use, as taskset, cgroups and containers restrict them
//! (sched_getaffinity(2)). Owns no fds.

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// Why there are no cores to run on.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CoresError {
    #[error("the allowed cores cannot be read: {0}")]
    Read(nix::Error),
    #[error("{given:?} is no list of cores; expected for example 0-3 or 0,2,4-5")]
    List { given: String },
    #[error(
        "core {core} is not among those this process may use ({allowed:?}); see taskset(1) or the container's cpuset"
    )]
    NotAllowed { core: usize, allowed: Vec<usize> },
}

/// Returns the allowed cores, in order.
///
/// # Errors
/// [`CoresError::Read`] when the kernel does not answer.
pub fn allowed() -> Result<Vec<usize>, CoresError> {
    let set = sched_getaffinity(Pid::from_raw(0)).map_err(CoresError::Read)?;
    Ok((0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false)).collect())
}

/// A list of cores as the command line has it: "0-3,5".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreList(Vec<usize>);

/// Reads a list of cores.
///
/// # Errors
/// [`CoresError::List`] when `list` is not one.
pub fn parse(list: &str) -> Result<CoreList, CoresError> {
    let unfit = || CoresError::List { given: list.to_owned() };
    let mut chosen = std::collections::BTreeSet::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number =
            |text: &str| text.trim().parse::<usize>().ok().filter(|core| *core < CpuSet::count());
        let (first, last) = number(first).zip(number(last)).ok_or_else(unfit)?;
        if first > last {
            return Err(unfit());
        }
        chosen.extend(first..=last);
    }
    Ok(CoreList(chosen.into_iter().collect()))
}

/// Returns those of `allowed` that `list` names. Returns all of them if there is no list.
///
/// # Errors
/// [`CoresError::NotAllowed`] when the list names a core that is not allowed.
pub fn choose(list: Option<CoreList>, allowed: Vec<usize>) -> Result<Vec<usize>, CoresError> {
    let Some(CoreList(chosen)) = list else { return Ok(allowed) };
    match chosen.iter().find(|core| !allowed.contains(core)) {
        Some(core) => Err(CoresError::NotAllowed { core: *core, allowed }),
        None => Ok(chosen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_choose_among_the_allowed() {
        let allowed = vec![0, 1, 2, 3, 5];
        assert_eq!(choose(None, allowed.clone()), Ok(allowed.clone()));
        assert_eq!(choose(parse("0-2, 5").ok(), allowed.clone()), Ok(vec![0, 1, 2, 5]));
        assert_eq!(choose(parse("3,3").ok(), allowed.clone()), Ok(vec![3]));
        for list in ["", "a", "1-", "3-1", "-1", "99999999"] {
            assert!(matches!(parse(list), Err(CoresError::List { .. })), "{list}");
        }
        assert!(matches!(
            choose(parse("4").ok(), allowed),
            Err(CoresError::NotAllowed { core: 4, .. })
        ));
    }
}
