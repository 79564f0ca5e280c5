//! Whom a registry takes a user for: what `docker login` or `podman login` has written, in each of
//! the spellings that registries have there, by its helpers too. Owns the helper's process while it
//! runs.

use docker_credential::{
    CredentialRetrievalError as Failed, DockerCredential, get_credential, get_podman_credential,
};

use crate::RegistryError;

/// What Docker calls its own registry.
const DOCKER_HUB: &str = "docker.io";

/// Returns the credential for a registry. Returns `None` if there is none: then it is asked as
/// anybody.
pub(crate) fn find(host: &str) -> Result<Option<DockerCredential>, RegistryError> {
    for (spelling, find) in spellings(host)
        .iter()
        .flat_map(|text| [(text, get_credential as fn(&str) -> _), (text, get_podman_credential)])
    {
        match find(spelling) {
            Ok(found) => return Ok(Some(found)),
            // A helper says so of what it does not know.
            Err(
                Failed::NoCredentialConfigured
                | Failed::ConfigNotFound
                | Failed::ConfigReadError
                | Failed::HelperFailure { .. },
            ) => {}
            Err(error) => {
                let why = error.to_string();
                return Err(RegistryError::Credentials { host: host.to_owned(), why });
            }
        }
    }
    Ok(None)
}

/// Returns how a registry may be called in Docker's configuration.
fn spellings(host: &str) -> Vec<String> {
    let hosts: &[&str] = match host {
        DOCKER_HUB => &["index.docker.io", "registry-1.docker.io", DOCKER_HUB],
        other => &[other],
    };
    let forms = |host: &&str| {
        let host = *host;
        [
            host.to_owned(),
            format!("https://{host}"),
            format!("https://{host}/"),
            format!("https://{host}/v1/"),
            format!("https://{host}/v2/"),
            format!("http://{host}"),
        ]
    };
    hosts.iter().flat_map(forms).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_calls_its_own_registry_by_its_first_version() {
        assert!(spellings("docker.io").contains(&"https://index.docker.io/v1/".to_owned()));
        assert_eq!(spellings("ghcr.io")[0], "ghcr.io");
    }
}
