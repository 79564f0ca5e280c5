//! Why something could not be pulled or pushed, and whose fault it is.

/// Why something could not be pulled or pushed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The reference is wrong.
    #[error(
        "{reference:?} names nothing in a registry: {why}; expected oci://HOST/PATH:TAG or \
        oci://HOST/PATH@sha256:DIGEST, for example oci://ghcr.io/you/app:v1"
    )]
    Reference {
        /// As it was given.
        reference: String,
        /// What is wrong about it.
        why: &'static str,
    },
    /// It cannot be reached, or breaks off.
    #[error("the registry {host} cannot be asked{}", if *plain {""} else {
        " (if it speaks HTTP without TLS: --insecure)"})]
    Away {
        /// The registry.
        host: String,
        /// Whether it was asked without TLS.
        plain: bool,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
    /// It wants other credentials, or has no such thing for these.
    #[error(
        "the registry {host} refuses this ({status}): check the name, and log in with: docker \
        login {host}"
    )]
    Refused {
        /// The registry.
        host: String,
        /// Its status.
        status: u16,
    },
    /// There is no such thing.
    #[error("the registry {host} has no {what}")]
    NotFound {
        /// The registry.
        host: String,
        /// What was asked for.
        what: String,
    },
    /// Docker's configuration has credentials that cannot be used.
    #[error("the credentials for {host} cannot be had: {why}")]
    Credentials {
        /// The registry.
        host: String,
        /// What is wrong about them.
        why: String,
    },
    /// The registry answers something that is against the specification.
    #[error("the registry {host} answers wrongly: {why}")]
    Wrong {
        /// The registry.
        host: String,
        /// What it did.
        why: String,
    },
    /// What is there is not one WebAssembly file.
    #[error("{reference} is not one WebAssembly file: {why}")]
    NotWasm {
        /// What was pulled.
        reference: String,
        /// What it is instead, and what to do.
        why: String,
    },
}
