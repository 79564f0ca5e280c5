//! Why a sandbox could not be set up, as a sentence for the operator. Owns no fds.

use std::io;

use abi::sandbox::Step;

/// What failed, and what the kernel said.
#[derive(Debug, thiserror::Error)]
#[error("{what} failed: {source}{}", advice(*.step, what, source))]
pub(super) struct Failure {
    /// What the init was at.
    pub(super) step: Step,
    what: String,
    source: io::Error,
}

impl Failure {
    /// Returns one.
    pub(super) fn new(step: Step, what: String, source: io::Error) -> Self {
        Self { step, what, source }
    }
}

/// Makes a failure of an error.
pub(super) trait OrFail<T> {
    /// Says at what, in words that "failed" can follow.
    fn or_fail(self, step: Step, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> OrFail<T> for Result<T, E> {
    fn or_fail(self, step: Step, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(step, what(), error.into()))
    }
}

/// Returns what would help, behind a semicolon.
fn advice(step: Step, what: &str, source: &io::Error) -> &'static str {
    let errno = source.raw_os_error().unwrap_or(0);
    match (step, errno) {
        (Step::Mount, libc::EPERM) if what.contains("/proc") => {
            "; the container that the node runs in hides parts of /proc: run it with an unmasked /proc (Docker: --security-opt systempaths=unconfined; Kubernetes: procMount: Unmasked)"
        }
        (Step::Mount | Step::Network | Step::Identity, libc::EPERM | libc::EACCES) => {
            "; the host gives user namespaces no powers: install an AppArmor profile with `userns,` for the node's binary, or set the sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        }
        (Step::Mount, libc::ENOSYS) => "; Linux 5.12 or newer is needed",
        (Step::Mount, libc::ENOENT) => "; was the folder of the version's code removed?",
        (Step::Network, libc::EADDRINUSE) => "; ask for another port",
        (Step::Execute, libc::ENOENT) => {
            "; the file is missing, or the interpreter that its first line or its ELF header names is not in the sandbox: build it static, or for this distribution"
        }
        (Step::Execute, libc::EACCES) => {
            "; the file, or a folder above it, may not be executed by others: set its x bits (chmod a+rx)"
        }
        (Step::Execute, libc::ENOEXEC) => {
            "; it is neither an ELF binary for this machine nor a script that begins with #!"
        }
        (Step::Execute, libc::E2BIG) => "; its arguments and environment are too long",
        (Step::WorkingDirectory, _) => "; it must be a folder inside the sandbox",
        (Step::Limits, libc::EAGAIN) => "; the host has no more processes for it",
        (Step::Privileges, libc::EINVAL | libc::ENOSYS) => {
            "; the kernel needs CONFIG_SECCOMP_FILTER, and CONFIG_SECURITY_LANDLOCK for the level basic"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_what_failed_and_what_helps() {
        let errno = |errno| Err::<(), _>(io::Error::from_raw_os_error(errno));
        let said = |step, what: &str, number| {
            errno(number).or_fail(step, || what.to_owned()).unwrap_err().to_string()
        };
        assert!(said(Step::Mount, "mounting /proc", libc::EPERM).contains("unmasked"));
        assert!(said(Step::Mount, "mounting /usr", libc::EPERM).contains("AppArmor"));
        let text = said(Step::Execute, "executing /var/task/bootstrap", libc::ENOENT);
        assert!(text.starts_with("executing /var/task/bootstrap failed: No such file"), "{text}");
        assert!(text.contains("interpreter"));
    }
}
