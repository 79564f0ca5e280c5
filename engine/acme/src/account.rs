//! The account with the CA, whose private key stands sealed in the store. Owns no fds.
//!
//! The key is written before the CA hears of it, and a CA gives the same account to the same key.
//! So a crash in between makes no second account. Only with an external account the key is written
//! afterwards, since the library makes it itself there.

use instant_acme::{Account, ExternalAccountKey, Key, NewAccount};
use zeroize::Zeroizing;

use crate::certificate::Parts;
use crate::client::CaClient;
use crate::error::AcmeError;
use crate::place::{FOLDER, Place};
use crate::problem::{self, Stage};
use crate::sealed;
use crate::settings::Settings;
use crate::shelf::Shelf;

const WHAT: &str = "the private key of the account with the CA";

/// An account, as it stands in the store.
pub(crate) struct Stored {
    /// The object's key.
    key: String,
    pkcs8: Zeroizing<Vec<u8>>,
    /// The account's URL, once the CA has given one.
    url: Option<String>,
}

impl Stored {
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let url = self.url.as_deref().unwrap_or_default();
        let mut bytes = Vec::with_capacity(8 + self.pkcs8.len() + url.len());
        for part in [&self.pkcs8[..], url.as_bytes()] {
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        Zeroizing::new(bytes)
    }

    fn of_bytes(key: String, bytes: &[u8]) -> Option<Self> {
        let mut parts = Parts(bytes);
        let pkcs8 = Zeroizing::new(parts.next()?.to_vec());
        let url = String::from_utf8(parts.next()?.to_vec()).ok()?;
        Some(Self { key, pkcs8, url: Some(url).filter(|url| !url.is_empty()) })
    }

    async fn put(&self, shelf: &Shelf) -> Result<(), AcmeError> {
        let object = sealed::seal(&shelf.keys, &self.key, WHAT, &self.to_bytes())?;
        Ok(shelf.objects.put(&self.key, object).await?)
    }
}

/// Reads the account of the store. If nodes made several at once, the first by the store's clock
/// counts.
///
/// # Errors
/// When the store cannot be read, or the account is sealed with another key.
pub(crate) async fn find(shelf: &Shelf) -> Result<Option<Stored>, AcmeError> {
    let listed = shelf.objects.list(&format!("{FOLDER}{}/accounts/", shelf.ca), "").await?;
    let accounts = listed.into_iter().filter(|listed| Place::of(&listed.key).is_some());
    let Some(first) = accounts.min_by_key(|listed| (listed.modified, listed.key.clone())) else {
        return Ok(None);
    };
    let Some(object) = shelf.objects.get(&first.key, sealed::OBJECT_BYTES_MAX).await? else {
        return Ok(None);
    };
    let bytes = sealed::open(&shelf.keys, &first.key, WHAT, object)?;
    let unfit = || AcmeError::Unfit { what: WHAT.to_owned(), key: first.key.clone() };
    Stored::of_bytes(first.key.clone(), &bytes).ok_or_else(unfit).map(Some)
}

/// Returns the account, and makes one if there is none.
///
/// # Errors
/// When there is none to be had, or it cannot be kept.
pub(crate) async fn open(
    shelf: &Shelf,
    client: &CaClient,
    settings: &Settings,
) -> Result<Account, AcmeError> {
    let failed = |error| problem::of_library(client, "", Stage::Account, error);
    let mut stored = find(shelf).await?;
    if stored.is_none() {
        let id = uuid::Uuid::now_v7().to_string();
        let (_, pkcs8) = Key::generate_pkcs8().map_err(failed)?;
        let pkcs8 = Zeroizing::new(pkcs8.secret_pkcs8_der().to_vec());
        let key = Place::Account { ca: &shelf.ca, id: &id }.key();
        Stored { key, pkcs8, url: None }.put(shelf).await?;
        // Another node may have been the first.
        stored = find(shelf).await?;
    }
    let gone = || AcmeError::Crypto { what: WHAT.to_owned(), reason: "it has gone".to_owned() };
    let stored = stored.ok_or_else(gone)?;
    match &stored.url {
        Some(url) => {
            let builder = Account::builder_with_http(Box::new(client.clone()));
            let (url, key) = (url.clone(), (&stored.pkcs8[..]).into());
            builder.from_parts(url, key, client.directory().to_owned()).await.map_err(failed)
        }
        None => register(shelf, client, settings, stored).await,
    }
}

/// Has the CA make an account, or return the one that it has for the key, and keeps it.
async fn register(
    shelf: &Shelf,
    client: &CaClient,
    settings: &Settings,
    mut stored: Stored,
) -> Result<Account, AcmeError> {
    let failed = |error| problem::of_library(client, "", Stage::Account, error);
    let builder = Account::builder_with_http(Box::new(client.clone()));
    let directory = client.directory().to_owned();
    let contact = format!("mailto:{}", settings.email);
    let account = if let Some(external) = &settings.external_account {
        let new = NewAccount {
            contact: &[&contact],
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let key = ExternalAccountKey::new(external.key_id.clone(), &external.hmac);
        let made = builder.create(&new, directory, Some(&key)).await.map_err(failed)?;
        stored.pkcs8 = Zeroizing::new(made.1.private_key().secret_pkcs8_der().to_vec());
        made.0
    } else {
        let malformed =
            |reason: &str| AcmeError::Crypto { what: WHAT.to_owned(), reason: reason.to_owned() };
        let key = Key::from_pkcs8_der((&stored.pkcs8[..]).into()).map_err(failed)?;
        let der = stored.pkcs8.to_vec().try_into().map_err(malformed)?;
        let (account, _) = builder.create_from_key((key, der), directory).await.map_err(failed)?;
        if let Err(error) = account.update_contacts(&[&contact]).await {
            let directory = client.directory();
            tracing::warn!("the CA {directory} does not take {contact:?}: {error}");
        }
        account
    };
    stored.url = Some(account.id().to_owned());
    stored.put(shelf).await?;
    tracing::info!("the CA {} has given an account: {}", client.directory(), account.id());
    Ok(account)
}

/// Forgets the account's URL, which the CA does not know any more. The next attempt asks for
/// another account with the same key.
///
/// # Errors
/// When the store cannot be written.
pub(crate) async fn forget(shelf: &Shelf) -> Result<(), AcmeError> {
    match find(shelf).await? {
        Some(stored) => Stored { url: None, ..stored }.put(shelf).await,
        None => Ok(()),
    }
}
